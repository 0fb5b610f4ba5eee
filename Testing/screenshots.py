"""Pictures of the panel, on the sample patient: python Testing/screenshots.py FOLDER

Writes panel.png (400 pixels wide, as the module panel is at first), panel-dark.png, panel-empty.png and window.png (the
panel beside slices and DVH). The windows are Qt's own with the stand-ins of the tests; the slices are blended by
Slicer's slice logic, the curves are those of the chart node.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "DeepDosePredict")]

import numpy as np
from PySide6 import QtCore, QtGui, QtWidgets

from mrml_scene import Scene
from qt_standins import SlicerSession, complaints
from qt_standins.pythonqt import unwrap

from vtk.util.numpy_support import vtk_to_numpy  # isort: skip

WINDOW = (1280, 800)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scene = Scene(tempfile.mkdtemp())
    session = SlicerSession(scene)
    panel = session.open()
    session.grab(folder / "panel-empty.png")
    panel.ui.sampleButton.click()
    session.wait()
    panel.ui.predictButton.click()
    panel.ui.isodoseCheckBox.click()
    session.wait()
    session.grab(folder / "panel.png")
    _window(session, folder / "window.png")
    QtWidgets.QApplication.setPalette(_dark())
    session.wait(100)
    panel.results._metrics._fill()  # colours are chosen for the background
    session.grab(folder / "panel-dark.png")
    session.close()
    if complaints:
        sys.exit("\n".join(complaints))


def _window(session, path: Path) -> None:
    """The panel beside three slices and the DVH chart."""
    width, height = WINDOW
    session.area.resize(400, height)
    session.app.processEvents()
    picture = QtGui.QPixmap(width, height)
    picture.fill(QtGui.QColor("black"))
    painter = QtGui.QPainter(picture)
    painter.drawPixmap(0, 0, unwrap(session.area).grab())
    half = QtCore.QSize((width - 404) // 2, (height - 4) // 2)
    places = [(404, 0), (404 + half.width() + 4, 0), (404, half.height() + 4)]
    for name, (x, y) in zip(session.layout.sliceViewNames(), places, strict=True):
        painter.drawImage(x, y, _slice(session, name, half))
    chart = session.module_widget.results.results.chartNode
    painter.drawImage(404 + half.width() + 4, half.height() + 4, _chart(chart, half))
    painter.end()
    picture.save(str(path))


def _slice(session, name: str, size: QtCore.QSize) -> QtGui.QImage:
    """A slice view as its logic blends it."""
    logic = session.layout.sliceWidget(name).sliceLogic()
    node = logic.GetSliceNode()
    node.SetDimensions(size.width(), size.height(), 1)
    logic.FitSliceToBackground(size.width(), size.height())
    logic.UpdatePipeline()
    logic.GetImageDataConnection().GetProducer().Update()
    image = logic.GetImageDataConnection().GetProducer().GetOutput()
    columns, rows, _ = image.GetDimensions()
    colors = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)
    colors = np.ascontiguousarray(colors[::-1, :, :3])
    return QtGui.QImage(colors.data, columns, rows, 3 * columns, QtGui.QImage.Format.Format_RGB888).copy()


def _chart(chart, size: QtCore.QSize) -> QtGui.QImage:
    """The curves of a chart node with its title, axes and legend."""
    import io

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(size.width() / 100, size.height() / 100), dpi=100, layout="constrained")
    for n in range(chart.GetNumberOfPlotSeriesNodes()):
        series = chart.GetNthPlotSeriesNode(n)
        table = series.GetTableNode().GetTable()
        x, y = (vtk_to_numpy(table.GetColumnByName(c)) for c in (series.GetXColumnName(), series.GetYColumnName()))
        style = "-" if series.GetLineStyle() == series.LineStyleSolid else "--"
        axes.plot(x, y, style, color=series.GetColor(), label=series.GetName(), lw=series.GetLineWidth())
    axes.set(title=chart.GetTitle(), xlabel=chart.GetXAxisTitle(), ylabel=chart.GetYAxisTitle())
    axes.set_xlim(chart.GetXAxisRange())
    axes.legend(fontsize=chart.GetLegendFontSize() * 0.8, loc="upper right")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    plt.close(figure)
    return QtGui.QImage.fromData(buffer.getvalue())


def _dark() -> QtGui.QPalette:
    """As Slicer's dark style has it."""
    palette, role = QtGui.QPalette(), QtGui.QPalette.ColorRole
    for roles, color in (
        ((role.Window, role.Button, role.AlternateBase), QtGui.QColor(53, 53, 53)),
        ((role.Base, role.ToolTipBase), QtGui.QColor(35, 35, 35)),
        ((role.WindowText, role.Text, role.ButtonText, role.ToolTipText), QtGui.QColor(235, 235, 235)),
        ((role.Highlight,), QtGui.QColor(42, 130, 218)),
    ):
        for one in roles:
            palette.setColor(one, color)
    palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role.Text, QtGui.QColor(130, 130, 130))
    palette.setColor(QtGui.QPalette.ColorGroup.Disabled, role.ButtonText, QtGui.QColor(130, 130, 130))
    return palette


if __name__ == "__main__":
    main(Path(sys.argv[1]))
