"""Pictures of the panel, on the sample patient: python Testing/screenshots.py FOLDER

Writes panel-empty.png, panel.png (400 pixels wide, as the module panel is at first) and window.png (the panel beside
slices and DVH); of fifty structures with long names questions.png, clinical.png and clinical-dvh.png with all curves;
three of these in Slicer's dark style, too. The windows are Qt's own with the stand-ins of the tests; the slices are
blended by Slicer's slice logic, the curves drawn by VTK's charts as its plot view does.
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
from plot_view import PlotView
from qt_standins import SlicerSession, complaints
from qt_standins.pythonqt import unwrap

import slicer  # isort: skip
from DeepDosePredictLib.mrml.charts import showStructure, structuresOf  # isort: skip
from vtk.util.numpy_support import vtk_to_numpy  # isort: skip

WINDOW = (1280, 800)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    scene = Scene(tempfile.mkdtemp())
    session = SlicerSession(scene)
    panel = session.open()
    session.grab(folder / "panel-empty.png")
    _in_the_dark(session, folder / "panel-empty-dark.png")
    panel.ui.sampleButton.click()
    session.wait()
    panel.ui.predictButton.click()
    panel.ui.isodoseCheckBox.click()
    session.wait()
    session.grab(folder / "panel.png")
    _window(session, folder / "window.png")
    _in_the_dark(session, folder / "panel-dark.png")
    _make_clinical(panel.ui.segmentationSelector.currentNode())
    session.wait()
    session.grab(folder / "questions.png")
    for row in range(panel.ui.structureTable.rowCount):
        combo = panel.ui.structureTable.cellWidget(row, 2)
        if combo.currentText.startswith("Confirm"):
            combo.setCurrentIndex(1)
            combo.activated.emit(1)
    panel.ui.predictButton.click()
    session.wait()
    session.grab(folder / "clinical.png")
    _in_the_dark(session, folder / "clinical-dark.png")
    chart = panel.results.results.chartNode
    for segment in structuresOf(chart):
        showStructure(chart, segment, True)
    _chart(chart, QtCore.QSize(440, 350)).save(str(folder / "clinical-dvh.png"))
    session.close()
    if complaints:
        sys.exit("\n".join(complaints))


def _in_the_dark(session, path: Path) -> None:
    light = QtWidgets.QApplication.palette()
    QtWidgets.QApplication.setPalette(_dark())
    session.wait(100)
    session.module_widget.refresh()  # colours are chosen for the background
    session.grab(path)
    QtWidgets.QApplication.setPalette(light)
    session.wait(100)
    session.module_widget.refresh()


def _make_clinical(segmentation) -> None:
    """Long names, one that must be asked, and forty structures more."""
    segments = segmentation.GetSegmentation()
    segments.GetSegment("PTV63").SetName("PTV_Mid_elective lymph nodes left and right")
    segments.GetSegment("Larynx").SetName("Larynx_SG")
    like = segments.GetSegment("Brainstem")
    for n in range(40):
        segment = slicer.vtkSegment()
        segment.DeepCopy(like)
        segment.SetName(f"Submandibular gland left minus high-risk target volume {n}")
        segment.SetColor(*np.random.default_rng(n).uniform(0.2, 1, 3))
        segments.AddSegment(segment)


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
    """The chart node as the plot view draws it."""
    colors = PlotView(chart, (size.width(), size.height())).image()
    rows, columns, _ = colors.shape
    return QtGui.QImage(colors.data, columns, rows, 3 * columns, QtGui.QImage.Format.Format_RGB888).copy()


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
