"""The results as a planner sees them: metrics with goals, curves by structure, isodose lines, colour bars, progress."""

from __future__ import annotations

import os
import threading
from itertools import pairwise

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest

from mrml_scene import lps_grid, oriented_image
from panel_patient import add_patient
from panel_user import predict

import slicer  # isort: skip
from DeepDosePredictLib.mrml.charts import structuresOf  # isort: skip
from DeepDosePredictLib.mrml.comparison import comparisonRows  # isort: skip

NAME, REFERENCE, PREDICTED, DIFFERENCE, GOAL = range(5)


@pytest.fixture
def patient(scene):
    return add_patient(scene)


@pytest.fixture
def tree(panel, session):
    """The tree of metrics after a prediction."""
    predict(panel)
    session.app.processEvents()
    return panel.ui.metricsTree


def structures(tree) -> dict:
    """{name: item} of the groups."""
    return {tree.topLevelItem(n).text(NAME): tree.topLevelItem(n) for n in range(tree.topLevelItemCount)}


def metrics(group) -> list[list[str]]:
    return [[group.child(n).text(column) for column in range(5)] for n in range(group.childCount())]


# --- the table


def test_goals_come_first_and_tell_whether_they_are_met(panel, tree):
    rows = metrics(structures(tree)["PTV_7000"])
    exact = [row for row in comparisonRows(panel.results.results.metricsTableNode) if row["structure"] == "PTV_7000"]
    assert [row[GOAL] for row in rows[:3]] == ["≥ 95", "≥ 63", "≤ 74.9"] and not any(row[GOAL] for row in rows[3:])
    for row, numbers in zip(rows, exact, strict=True):
        for column, key in ((REFERENCE, "reference"), (PREDICTED, "predicted")):
            met = numbers[f"{key}_meets_goal"]
            assert row[column] == f"{ {None: '', True: '✓ ', False: '✗ '}[met] }{numbers[key]:.1f}"
    assert rows[0][NAME] == "V95% (66.5 Gy)" and "Dmax" in [row[NAME] for row in rows]


def test_met_and_missed_goals_differ_in_colour_and_numbers_stand_to_the_right(panel, tree):
    import qt

    group = structures(tree)["PTV_7000"]
    colors = {
        group.child(n).text(column)[0]: group.child(n).foreground(column).color().name()
        for n in range(group.childCount())
        for column in (REFERENCE, PREDICTED)
        if group.child(n).text(column)[0] in "✓✗"
    }
    assert len(set(colors.values())) == len(colors) == 2
    assert all(int(group.child(0).textAlignment(column)) & int(qt.Qt.AlignRight.value) for column in range(1, 5))


@pytest.mark.slow
def test_goals_are_seen_in_the_narrow_dock_whatever_the_names(panel, session, scene, patient):
    """Fifty segments with long names."""
    grid = lps_grid((2.5, 3.906, 3.906))
    mask = np.zeros((64, 64, 64), bool)
    mask[30:34, 30:34, 30:34] = True
    for n in range(42):
        segment = slicer.vtkSegment()
        segment.SetName(f"Submandibular gland left minus high-risk target volume {n}")
        segment.AddRepresentation("Binary labelmap", oriented_image(mask, grid))
        patient.segmentation.GetSegmentation().AddSegment(segment, f"long{n}")
    session.wait()
    predict(panel)
    session.app.processEvents()
    tree = panel.ui.metricsTree
    assert tree.topLevelItemCount == 50
    widths = [tree.columnWidth(column) for column in range(5)]
    assert sum(widths) <= tree.viewport().width and tree.width <= 380
    assert widths[NAME] > 80, "names are seen, too"
    for column in range(1, 5):
        texts = [row[column] for row in metrics(structures(tree)["PTV_7000"])]
        assert widths[column] >= max(tree.fontMetrics().horizontalAdvance(text) for text in texts)
    assert not structures(tree)["Submandibular gland left minus high-risk target volume 7"].isExpanded()
    assert structures(tree)["PTV_7000"].isExpanded()


def test_out_of_date_goals_have_no_colour(panel, session, tree):
    assert structures(tree)["PTV_7000"].child(0).foreground(PREDICTED).color().name() in ("#007328", "#be0000")
    structures(tree)["PTV_7000"].setExpanded(False)
    panel.ui.singlePassCheckBox.click()
    session.wait()
    assert panel.ui.outOfDateFrame.visible
    assert not structures(tree)["PTV_7000"].child(0).foreground(PREDICTED).style().value, "that of a disabled row"
    assert not structures(tree)["PTV_7000"].isExpanded() and structures(tree)["PTV_6300"].isExpanded(), "as left"


@pytest.mark.parametrize("background", ["#ffffff", "#232323"])
def test_goals_can_be_read_in_light_and_dark(panel, background):
    """Contrast of 4.5 at least, as WCAG asks of text."""
    import qt

    def luminance(color) -> float:
        parts = np.array(color.getRgbF()[:3])
        return float(
            np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)
        )

    palette = qt.QPalette(panel.ui.metricsTree.palette)
    palette.setColor(qt.QPalette.Base, qt.QColor(background))
    panel.ui.metricsTree.palette = palette
    predict(panel)
    behind = luminance(qt.QColor(background))
    groups = structures(panel.ui.metricsTree).values()
    items = [group.child(n) for group in groups for n in range(group.childCount())]
    colors = [luminance(item.foreground(PREDICTED).color()) for item in items if item.text(PREDICTED)[0] in "✓✗"]
    contrasts = [(max(one, behind) + 0.05) / (min(one, behind) + 0.05) for one in colors]
    assert len(set(colors)) == 2 and min(contrasts) >= 4.5


def test_a_click_on_a_heading_sorts_and_comes_back(tree):
    group = structures(tree)["PTV_7000"]
    before = [row[NAME] for row in metrics(group)]

    def values():
        return [float(row[PREDICTED].split()[-1]) for row in metrics(structures(tree)["PTV_7000"])]

    tree.header().sectionClicked.emit(PREDICTED)
    assert values() == sorted(values())
    tree.header().sectionClicked.emit(PREDICTED)
    assert values() == sorted(values(), reverse=True)
    tree.header().sectionClicked.emit(PREDICTED)
    assert [row[NAME] for row in metrics(structures(tree)["PTV_7000"])] == before


def test_rows_can_be_copied(panel, tree):
    import qt

    structures(tree)["PTV_7000"].child(0).setSelected(True)
    panel.results._metrics.copy()
    cells = qt.QApplication.clipboard().text().split("\t")
    assert cells[:2] == ["PTV_7000", "V95% (66.5 Gy)"] and len(cells) == 6
    tree.clearSelection()
    panel.results._metrics.copy()
    assert len(qt.QApplication.clipboard().text().splitlines()) > 40


def test_without_a_reference_there_are_no_columns_for_it(panel):
    panel.ui.referenceDoseSelector.setCurrentNode(None)
    predict(panel)
    assert [panel.ui.metricsTree.isColumnHidden(n) for n in range(5)] == [False, True, False, True, False]


# --- curves


def test_the_chart_shows_structures_of_the_model_and_others_by_choice(panel, session, patient):
    segmentation = patient.segmentation.GetSegmentation()
    segmentation.GetSegment("Bone_Mandible").SetName("Lips")
    session.wait()
    predict(panel)
    chart = panel.results.results.chartNode
    assert structuresOf(chart)["PTV_7000"] and not structuresOf(chart)["Bone_Mandible"]
    import qt

    item = structures(panel.ui.metricsTree)["Lips"]
    assert item.checkState(NAME) == qt.Qt.Unchecked
    item.setCheckState(NAME, qt.Qt.Checked)
    structures(panel.ui.metricsTree)["PTV_7000"].setCheckState(NAME, qt.Qt.Unchecked)
    assert structuresOf(chart)["Bone_Mandible"] and not structuresOf(chart)["PTV_7000"]


def test_the_table_shows_the_colours_of_the_curves(panel, patient, tree):
    segmentation = patient.segmentation.GetSegmentation()
    for name, group in structures(tree).items():
        image = group.icon(NAME).pixmap(10, 10).toImage()
        color = segmentation.GetSegment(segmentation.GetSegmentIdBySegmentName(name)).GetColor()
        assert image.pixelColor(5, 5).getRgbF()[:3] == pytest.approx(color, abs=0.01)


def test_the_selected_structure_is_bold_in_the_chart(panel, tree):
    chart = panel.results.results.chartNode
    structures(tree)["PTV_7000"].child(1).setSelected(True)
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    bold = {s.GetName() for s in series if s.GetLineWidth() > 2}
    assert bold == {"PTV_7000 ref", "PTV_7000 pred"}


# --- pictures


def test_structures_are_outlines_and_colours_are_explained(panel, patient, tree):
    display = patient.segmentation.GetDisplayNode()
    assert not display.GetVisibility2DFill() and display.GetVisibility2DOutline()
    panel.ui.isodoseCheckBox.click()
    results = panel.results.results
    titles = []
    for node in (results.doseNode, results.differenceNode, results.isodoseNode):
        displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        (bar,) = [d for d in displays if d.IsA("vtkMRMLColorLegendDisplayNode")]
        titles.append(bar.GetTitleText())
    assert titles == ["Dose [Gy]", "Difference [Gy]", "Isodose"]


def test_isodose_levels_can_be_chosen_in_percent_and_gray(panel, tree):
    panel.ui.isodoseCheckBox.click()

    def levels():
        colors = panel.results.results.isodoseNode.GetDisplayNode().GetColorNode()
        return [colors.GetColorName(n) for n in range(colors.GetNumberOfColors())]

    assert levels()[-2:] == ["70 Gy (100 %)", "74.9 Gy (107 %)"]
    panel.ui.isodoseLevelsLineEdit.text = "50%, 20 Gy"
    panel.ui.isodoseLevelsLineEdit.editingFinished.emit()
    assert levels() == ["20 Gy (28.6 %)", "35 Gy (50 %)"]
    assert panel.results.results.isodoseNode.GetDisplayNode().GetVisibility()
    panel.ui.isodoseLevelsLineEdit.text = "many"
    assert "'many' is none" in panel.ui.reasonLabel.text


def test_all_contours_are_accounted_for_before_and_after(panel, session, patient):
    patient.segmentation.GetSegmentation().GetSegment("Bone_Mandible").SetName("Lips")
    session.wait()
    before = panel.ui.accountLabel.text
    assert "PTV_7000 -> PTV70 (from name)" in before and "left out: Lips" in before
    summary = panel.ui.accountSummaryLabel
    assert summary.visible and summary.text == "7 contours are used; left out: Lips (no input of the model)"
    predict(panel)
    assert panel.ui.usedSummaryLabel.visible and panel.ui.usedSummaryLabel.text == summary.text
    panel.ui.accountCollapsibleButton.collapsed = panel.ui.usedCollapsibleButton.collapsed = False
    assert panel.ui.usedLabel.text == before and panel.ui.usedLabel.visible
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert not panel.ui.accountCollapsibleButton.visible and not panel.ui.accountSummaryLabel.visible


# --- waiting


@pytest.fixture
def held(monkeypatch):
    """A prediction that takes until this event is set."""
    from DeepDosePredictLib.model.predictor import Predictor

    event, quick = threading.Event(), Predictor.predict

    def predict_when_let(self, *args, **options):
        assert event.wait(60)
        return quick(self, *args, **options)

    monkeypatch.setattr(Predictor, "predict", predict_when_let)
    return event


def at_each_sign(session, monkeypatch, action) -> None:
    """Call `action(value of the progress bar)` whenever the panel lets events through."""
    let = session.app.processEvents

    def process_events():
        action(session.module_widget.ui.progressBar.value)
        let()

    monkeypatch.setattr(session.app, "processEvents", process_events)


def test_what_takes_seconds_is_said_before(panel, session, monkeypatch):
    """Loading PyTorch, and making the sample patient."""
    from DeepDosePredictLib.panel import dependencies

    said, seen = panel.ui.statusLabel, []
    monkeypatch.setattr(dependencies, "problem_with", lambda package: seen.append(said.text) or "")
    predict(panel)
    assert set(seen) == {"Loading PyTorch"}
    monkeypatch.setattr(session.python, "loadSamplePatient", lambda: seen.append(said.text))
    panel.ui.sampleButton.click()
    assert seen[-1] == "Making the sample patient" and said.text == ""


def test_progress_moves_while_the_network_works(panel, session, monkeypatch, held):
    seen = []

    def look(value):
        seen.append(value)
        if len(set(seen)) == 8:
            held.set()

    at_each_sign(session, monkeypatch, look)
    predict(panel)
    assert seen == sorted(seen) and seen[-1] == 100
    assert panel.results.results is not None


def test_cancel_does_not_wait_for_the_network(panel, session, monkeypatch, held):
    at_each_sign(session, monkeypatch, lambda value: value > 32 and panel.ui.predictButton.click())
    predict(panel)
    assert not held.is_set() and panel.ui.statusLabel.text == "Cancelled; the scene is as it was."
    assert panel.ui.predictButton.text == "Predict dose"
    monkeypatch.undo()
    held.set()  # the next prediction waits for what is still running
    predict(panel)
    assert panel.results.results is not None


def test_cancel_stops_the_network_at_its_next_layer(panel, session, monkeypatch):
    from DeepDosePredictLib.model.network import Conv3d
    from DeepDosePredictLib.mrml import background

    let, layers, forward = threading.Event(), [], Conv3d.forward

    def forward_when_let(layer, x):
        layers.append(layer)
        assert let.wait(60)
        return forward(layer, x)

    monkeypatch.setattr(Conv3d, "forward", forward_when_let)
    at_each_sign(session, monkeypatch, lambda value: layers and panel.ui.predictButton.click())
    predict(panel)
    let.set()
    (abandoned,) = background._abandoned
    assert isinstance(abandoned.exception(60), background.Abandoned) and len(layers) == 1


# --- the first time


@pytest.mark.slow
def test_an_empty_panel_says_what_to_do_and_offers_the_sample_patient(session):
    panel = session.open()
    assert panel.ui.welcomeFrame.visible and len(panel.ui.welcomeLabel.text.splitlines()) == 3
    panel.ui.sampleButton.click()
    session.wait()
    assert panel.ui.predictButton.enabled and not panel.ui.welcomeFrame.visible
    assert panel.ui.referenceDoseSelector.currentNode() is not None
    assert session.layout.black_views() == []


def test_the_keyboard_goes_from_top_to_bottom(panel, session, tree):
    from PySide6.QtCore import QPoint, Qt

    from qt_standins.pythonqt import unwrap

    panel.ui.advancedCollapsibleButton.collapsed = False
    session.app.processEvents()
    top = unwrap(panel.parent)
    widgets, widget = [], top.nextInFocusChain()
    while widget is not top:
        if widget.isVisibleTo(top) and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
            widgets.append(widget)
        widget = widget.nextInFocusChain()
    named = [
        w for w in widgets if w.objectName() and w.objectName() != "ComboBox" and not w.objectName().startswith("qt_")
    ]
    heights = [w.mapTo(top, QPoint(0, 0)).y() for w in named]
    assert len(named) > 20
    assert all(below >= above - 4 for above, below in pairwise(heights)), [
        (w.objectName(), y) for w, y in zip(named, heights, strict=True)
    ]
