"""The Explore section as a planner uses it: sliders, what follows them, Reset, Keep, curves, objectives."""

from __future__ import annotations

import csv
import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest

from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS, ChannelSpec
from panel_patient import add_patient
from panel_user import predict
from synthetic import make_model

import slicer  # isort: skip
from DeepDosePredictLib.mrml.charts import structuresOf  # isort: skip
from DeepDosePredictLib.mrml.comparison import comparisonRows  # isort: skip
from DeepDosePredictLib.mrml.dose_node import provenanceOf  # isort: skip
from DeepDosePredictLib.mrml.results import exploredFrom  # isort: skip

NAME, PRIORITY, DOSE = range(3)


@pytest.fixture(scope="module")
def planning_model(tmp_path_factory):
    spec = ChannelSpec(names=(*DEFAULT_CHANNELS, "plan_dose"), gantry_angles=tuple(range(0, 360, 40)))
    return make_model(tmp_path_factory.mktemp("model") / "planning.safetensors", spec=spec)


@pytest.fixture
def patient(scene):
    return add_patient(scene)


@pytest.fixture
def explored(panel, session, planning_model):
    """The panel after a prediction that can be explored."""
    panel.logic.getParameterNode().model = str(planning_model)
    session.wait()
    predict(panel)
    session.wait()
    return panel


def move(panel, session, name: str, value: int) -> None:
    row(panel, name)[PRIORITY].setValue(value)
    session.wait()


def row(panel, name: str) -> tuple:
    """(name item, slider, dose item) of a structure."""
    table = panel.ui.exploreTable
    n = next(n for n in range(table.rowCount) if table.item(n, NAME).text() == name)
    return table.item(n, NAME), table.cellWidget(n, PRIORITY), table.item(n, DOSE)


def foreground(session):
    return session.layout.sliceWidget("Red").sliceLogic().GetSliceCompositeNode().GetForegroundVolumeID()


def test_a_slider_and_all_that_follows(explored, session):
    panel, predicted = explored, explored.results.results
    assert [panel.ui.exploreTable.item(n, NAME).text() for n in range(4)] == ["PTV70", "PTV63", "PTV56", "Brainstem"]
    before = row(panel, "Left parotid")[DOSE].text()
    assert "→" not in before and not panel.ui.exploreKeepButton.enabled
    dose = slicer.util.arrayFromVolume(predicted.doseNode).copy()
    move(panel, session, "Left parotid", 6)
    found = panel.exploring.found
    assert found.priorities == {"LeftParotid": 3}
    assert row(panel, "Left parotid")[DOSE].text().startswith(f"{before} → ")
    assert foreground(session) == found.doseNode.GetID()
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(predicted.doseNode), dose)
    tree = panel.ui.metricsTree
    assert not tree.isColumnHidden(5) and tree.isColumnHidden(3) and tree.headerItem().text(5) == "Expl"
    move(panel, session, "Left parotid", 12)
    assert found.doseNode.GetScene() is None and panel.exploring.found.priorities == {"LeftParotid": 6}
    assert exploredFrom(predicted.doseNode)[0].doseNode is panel.exploring.found.doseNode
    panel.ui.exploreResetButton.click()
    session.wait()
    assert foreground(session) == predicted.doseNode.GetID() and not exploredFrom(predicted.doseNode)
    assert row(panel, "Left parotid")[DOSE].text() == before and row(panel, "Left parotid")[PRIORITY].value == 0
    assert tree.isColumnHidden(5) and not tree.isColumnHidden(3)


def test_chart_isodoses_and_ticks_follow(explored, session):
    panel = explored
    view = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    view.SetPlotChartNodeID(panel.results.results.chartNode.GetID())
    panel.ui.isodoseCheckBox.click()
    tree = panel.ui.metricsTree
    ticked = next(
        tree.topLevelItem(n) for n in range(tree.topLevelItemCount) if tree.topLevelItem(n).text(0) == "PTV_7000"
    )
    ticked.setCheckState(0, type(ticked.checkState(0)).Unchecked)
    move(panel, session, "PTV70", 2)
    found = panel.exploring.found
    assert view.GetPlotChartNodeID() == found.chartNode.GetID()
    assert panel.results.shown.isodoseNode.GetDisplayVisibility()
    assert not panel.results.results.isodoseNode.GetDisplayVisibility()
    assert structuresOf(found.chartNode) == structuresOf(panel.results.results.chartNode)
    panel.ui.exploreResetButton.click()
    assert view.GetPlotChartNodeID() == panel.results.results.chartNode.GetID()
    assert panel.results.results.isodoseNode.GetDisplayVisibility()


def test_keep(explored, session):
    panel = explored
    move(panel, session, "Mandible", 4)
    kept = panel.exploring.found
    panel.ui.exploreKeepButton.click()
    session.wait()
    assert kept.doseNode.GetScene() is not None and kept.doseNode.GetName() in panel.ui.statusLabel.text
    assert provenanceOf(kept.doseNode)["Priorities"] == "Mandible +2"
    assert all(row["explored"] is not None for row in comparisonRows(kept.metricsTableNode) if row.get("segmentId"))
    assert panel.exploring.found is None and foreground(session) == panel.results.results.doseNode.GetID()
    move(panel, session, "Mandible", 2)
    assert panel.exploring.found.doseNode is not kept.doseNode and kept.doseNode.GetScene() is not None
    assert panel.ui.referenceDoseSelector.currentNode().GetName() == "Clinical dose"


def test_other_beams(explored, session):
    panel = explored
    panel.ui.exploreAnglesLineEdit.text = "0, 180"
    panel.ui.exploreAnglesLineEdit.editingFinished.emit()
    session.wait()
    assert panel.exploring.found.explored.gantry_angles == (0, 180)
    panel.ui.exploreAnglesLineEdit.text = "0, west"
    panel.ui.exploreAnglesLineEdit.editingFinished.emit()
    session.wait()
    assert "'west' is no number" in panel.ui.statusLabel.text
    assert panel.exploring.found.explored.gantry_angles == (0, 180)


def test_curve_and_objectives(explored, session, tmp_path, monkeypatch):
    import qt

    panel = explored
    panel.ui.exploreCurveButton.click()
    assert "Select the row of an organ" in panel.ui.statusLabel.text
    panel.ui.exploreTable.selectRow(panel.ui.exploreTable.row(row(panel, "Mandible")[NAME]))
    panel.ui.exploreCurveButton.click()
    assert panel.ui.statusLabel.text.startswith("Mandible: mean")
    path = tmp_path / "objectives"
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(path))
    panel.ui.exploreObjectivesButton.click()
    with path.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        assert {"PTV70", "Mandible"} <= {line["structure"] for line in csv.DictReader(file)}


def test_out_of_date_stops_exploring(explored, session, patient):
    panel = explored
    move(panel, session, "Mandible", 4)
    patient.segmentation.GetSegmentation().GetSegment("Parotid_L").SetName("Parotis")
    session.wait()
    assert not panel.ui.exploreWidget.enabled and "Predict" in panel.ui.exploreHintLabel.text
    assert panel.exploring.found.doseNode.GetAttribute("DeepDosePredict.OutOfDate") == "1"
    live = panel.exploring.found.doseNode
    patient.segmentation.GetSegmentation().GetSegment("Parotid_L").SetName("Parotid_L")
    session.wait()
    assert panel.ui.exploreWidget.enabled
    predict(panel)
    session.wait()
    assert live.GetScene() is None and panel.exploring.found is None and panel.ui.exploreWidget.enabled


def test_a_model_without_planner_is_told(panel, session):
    predict(panel)
    session.wait()
    move(panel, session, "Mandible", 4)
    assert "nothing can be explored with model tiny 1" in panel.ui.statusLabel.text


def test_the_wheel_scrolls_the_panel_and_not_a_slider(explored, session):
    from PySide6 import QtCore, QtGui, QtWidgets

    from qt_standins.pythonqt import unwrap

    slider = unwrap(row(explored, "Mandible")[PRIORITY])
    place, none = QtCore.QPointF(5, 5), QtCore.Qt.KeyboardModifier.NoModifier
    wheel = QtGui.QWheelEvent(
        place,
        place,
        QtCore.QPoint(0, 120),
        QtCore.QPoint(0, 120),
        QtCore.Qt.MouseButton.NoButton,
        none,
        QtCore.Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QtWidgets.QApplication.sendEvent(slider, wheel)
    assert slider.value() == 0


def test_closing_the_scene_while_exploring(explored, session):
    move(explored, session, "Mandible", 4)
    session.scene.Clear(0)
    session.wait()
    assert explored.exploring.found is None and not explored.ui.exploreWidget.visible
