"""The panel in Slicer's windows: slice views, the module panel that scrolls, reloading, closing, cancelling."""

from __future__ import annotations

import os
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import pytest

from panel_patient import add_patient
from panel_user import predict, rows, type_prescription
from qt_standins import complaints

import slicer  # isort: skip
from DeepDosePredictLib.mrml import comparison  # isort: skip

pytestmark = pytest.mark.slow


@pytest.fixture
def patient(scene):
    return add_patient(scene)


@pytest.fixture
def told(monkeypatch):
    """Texts of error dialogs."""
    texts = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **_: texts.append(text))
    return texts


# --- slice views


def test_the_sample_data_is_seen(session):
    import SampleData

    session.app.startup_completed()
    (source,) = SampleData.SampleDataLogic.sources
    ct, *_ = source["customDownloader"](source)
    assert session.layout.black_views() == []
    assert session.layout.layers() == {(ct, None)}


def test_after_predict_the_views_show_the_middle_of_the_highest_target(panel, session, patient):
    slicer.util.setSliceViewerLayers(background=patient.dose)
    predict(panel)
    assert session.layout.black_views() == []
    middle = patient.segmentation.GetSegmentCenterRAS("PTV_7000")
    assert session.layout.centre() == pytest.approx(middle, abs=4), "to a voxel"


def test_views_that_show_the_ct_keep_their_zoom(panel, session, patient):
    slicer.util.setSliceViewerLayers(background=patient.ct, fit=True)
    node = session.layout.sliceWidget("Red").mrmlSliceNode()
    node.SetFieldOfView(60, 60, 1)
    predict(panel)
    assert node.GetFieldOfView()[0] == pytest.approx(60)


# --- labels


def cut_labels(panel) -> list[str]:
    """Names of visible labels that get less height than their text needs."""
    labels = {name: label for name, label in vars(panel.ui).items() if name.endswith("Label") and label.wordWrap}
    return [
        name for name, label in labels.items() if label.isVisible() and label.height < label.heightForWidth(label.width)
    ]


def test_no_text_is_cut_or_drawn_over_what_follows(panel, session, patient):
    """Also after the user has left the module and come back, and in a narrow and a wide dock."""
    predict(panel)
    results = panel.results.results
    results.note("DeepDosePredict.Warnings", "\n".join(f"warning {n} " + "about this and that " * 8 for n in range(6)))
    panel.refresh()
    session.app.processEvents()
    assert cut_labels(panel) == []
    session.leave()
    session.enter()
    assert cut_labels(panel) == []
    heights = {}
    for width in (400, 300, 700, 400):
        session.area.resize(width, 600)
        session.wait(50)
        assert cut_labels(panel) == []
        height = panel.ui.resultWarningsLabel.height
        assert heights.setdefault(width, height) == height, "no taller than it must be"
    assert heights[700] < heights[400] < heights[300]


# --- structures


def test_a_target_can_be_added_after_a_usual_level_was_changed(panel):
    type_prescription(panel, "PTV56", "60.5")
    before = rows(panel)
    panel.ui.addTargetButton.click()
    assert list(set(rows(panel)) - set(before)) == ["PTV66"]


def test_a_prescription_is_seen_whole_while_it_is_typed(panel, session):
    import qt

    table = panel.ui.structureTable
    table.editItem(table.item(0, 3))
    session.app.processEvents()
    (editor,) = [w for w in table.findChildren(qt.QLineEdit) if w.visible]
    editor.text = "54.25"
    margins = editor.textMargins()
    room = editor.width - margins.left() - margins.right() - 8  # frame and cursor of the style
    assert editor.fontMetrics().horizontalAdvance("54.25") <= room


def test_a_long_name_is_cut_in_its_middle_and_whole_in_the_tool_tip(session, scene):
    name = "PTV_Mid_elective lymph nodes of the neck on the left"
    add_patient(scene, {"PTV_6300": name})
    panel = session.open()
    combo = panel.ui.structureTable.cellWidget(1, 2)
    shown = combo.shown_text()
    assert shown.startswith("Confirm: PTV") and "…" in shown and shown.endswith("left")
    assert name in combo.toolTip and combo.width < combo.fontMetrics().horizontalAdvance(name)


# --- life of the panel


def test_the_panel_lives_after_a_reload(panel, session, scene, patient):
    panel.onReload()
    panel = session.module_widget
    assert panel.ui.ctSelector.currentNode() is patient.ct
    scene.scene.Clear(0)
    session.wait()
    again = add_patient(scene)
    session.wait()
    assert panel.ui.ctSelector.currentNode() is again.ct
    assert panel.ui.predictButton.enabled


def test_a_panel_destroyed_without_cleanup_is_quiet(panel, session, scene, patient, capfd):
    session.discard(session.area)
    scene.scene.Clear(0)
    add_patient(scene)
    session.wait()
    scene.scene.Clear(0)
    assert complaints == [] and "Traceback" not in capfd.readouterr().err


def test_no_node_is_removed_twice(panel, scene, monkeypatch):
    """Slicer logs an error for it."""
    predict(panel)
    panel.ui.isodoseCheckBox.click()
    twice, remove = [], type(scene.scene).RemoveNode

    def remove_node(node):
        if node.GetScene() is None:
            twice.append(node.GetName())
        displays = []
        if node.IsA("vtkMRMLDisplayableNode"):
            displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        remove(scene.scene, node)
        for display in displays:  # as Slicer does
            if display is not None and display.GetScene() is not None:
                remove(scene.scene, display)

    scene.scene.RemoveNode = remove_node
    predict(panel)
    assert twice == []


def test_names_of_results_do_not_grow(panel):
    names = []
    for _ in range(3):
        predict(panel)
        names.append([node.GetName() for node in panel.results.results.nodes])
    assert names[0] == names[1] == names[2]


# --- stopping


def during_progress(session, monkeypatch, action) -> list[str]:
    """Do something once, the third time that the panel lets events through; returns what was shown at each time."""
    steps, let = [], session.app.processEvents

    def process_events():
        steps.append(session.module_widget.ui.statusLabel.text)
        if len(steps) == 3:
            action()
        let()

    monkeypatch.setattr(session.app, "processEvents", process_events)
    return steps


def test_closing_the_scene_while_it_predicts_is_told_as_it_is(panel, session, scene, monkeypatch, told):
    during_progress(session, monkeypatch, lambda: scene.scene.Clear(0))
    panel.ui.predictButton.click()
    assert told == [] and panel.ui.statusLabel.text == "The scene was closed; nothing was predicted."
    session.wait()
    assert panel.ui.noResultsLabel.visible and panel.ui.reasonLabel.text == "Select a CT volume."
    assert panel.ui.predictButton.text == "Predict dose"
    add_patient(scene)
    session.wait()
    assert panel.ui.predictButton.enabled


def test_cancelling_leaves_the_scene_as_it_was(panel, session, scene, monkeypatch, told):
    before = scene.node_names()
    steps = during_progress(session, monkeypatch, panel.ui.predictButton.click)
    panel.ui.predictButton.click()
    assert len(steps) == 3 and told == []
    assert scene.node_names() == before
    assert panel.ui.statusLabel.text == "Cancelled; the scene is as it was."
    monkeypatch.undo()
    predict(panel)
    assert panel.results.results is not None


# --- SlicerRT


@pytest.fixture
def slicer_rt(scene, patient):
    """SlicerRT's module; the patient has one structure, because the stand-in takes seconds for each."""
    import slicerrt_standin

    segmentation = patient.segmentation.GetSegmentation()
    for name in set(segmentation.GetSegmentIDs()) - {"PTV_7000"}:
        segmentation.RemoveSegment(name)
    return slicerrt_standin.install(scene)


def method(panel) -> str:
    return comparison.provenanceOf(panel.results.results.metricsTableNode)["Method"]


def test_built_in_dvhs_are_shown_until_slicerrts_follow(panel, session, slicer_rt, monkeypatch):
    shown, let = [], session.app.processEvents

    def process_events():
        if "SlicerRT" in panel.ui.statusLabel.text:
            shown.append((panel.ui.resultsWidget.visible, method(panel), panel.ui.predictButton.text))
        let()

    monkeypatch.setattr(session.app, "processEvents", process_events)
    predict(panel)
    assert len(shown) == 2 and all(visible and "own DVH" in how for visible, how, _ in shown), "one sign for each dose"
    assert method(panel).startswith("SlicerRT") and len(slicer_rt.calls) == 2
    panel.ui.dvhSourceComboBox.setCurrentIndex(1)
    session.wait()
    assert panel.ui.outOfDateFrame.visible
    predict(panel)
    assert "own DVH" in method(panel) and len(slicer_rt.calls) == 2


def test_where_slicerrt_is_not_asked_the_panel_says_why(panel, slicer_rt, monkeypatch):
    from DeepDosePredictLib.mrml import slicerrt_dvh

    monkeypatch.setattr(slicerrt_dvh, "LONGEST_S", 0)
    predict(panel)
    assert "own DVH" in method(panel) and slicer_rt.calls == []
    assert "the DVHs are the built-in ones" in panel.ui.resultWarningsLabel.text


def test_cancelling_slicerrt_keeps_the_prediction(panel, session, slicer_rt, monkeypatch):
    let = session.app.processEvents

    def process_events():
        if "SlicerRT" in panel.ui.statusLabel.text and not slicer_rt.calls:
            panel.ui.predictButton.click()
        let()

    monkeypatch.setattr(session.app, "processEvents", process_events)
    predict(panel)
    assert panel.ui.statusLabel.text == "Cancelled; the DVHs are the built-in ones."
    assert "own DVH" in method(panel) and panel.ui.resultsWidget.visible and not panel.ui.outOfDateFrame.visible


def test_a_failure_of_slicerrt_keeps_the_prediction(panel, session, slicer_rt, monkeypatch):
    monkeypatch.setattr(slicer_rt, "ComputeDvh", lambda node: 1 / 0)
    predict(panel)
    assert "division by zero" in panel.ui.statusLabel.text and "built-in" in panel.ui.statusLabel.text
    assert "own DVH" in method(panel) and panel.ui.exportButton.enabled


# --- files


def test_an_existing_csv_is_asked_about(panel, tmp_path, monkeypatch):
    """The file dialog asked about the name without its suffix."""
    import qt

    predict(panel)
    (tmp_path / "metrics.csv").write_text("precious")
    asked = types.SimpleNamespace(answer=False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text, **_: asked.answer)
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(tmp_path / "metrics"))
    panel.ui.exportButton.click()
    assert (tmp_path / "metrics.csv").read_text() == "precious"
    asked.answer = True
    panel.ui.exportButton.click()
    assert "PTV_7000" in (tmp_path / "metrics.csv").read_text()


def test_words_are_for_people(panel):
    panel.ui.gantryAnglesLineEdit.text = "0, forty"
    assert panel.ui.reasonLabel.text.startswith("Gantry angles: 'forty' is no number")
