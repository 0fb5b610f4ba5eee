"""Stories of a user at the panel: the module's own file and .ui in a real Qt window, on a real scene."""

from __future__ import annotations

import os
import sys
import types

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest

from panel_patient import add_patient
from panel_user import choose, predict, rows, type_prescription
from qt_standins import complaints

import slicer  # isort: skip
import slicerrt_standin  # isort: skip
from DeepDosePredictLib.mrml import subject_hierarchy  # isort: skip

pytestmark = pytest.mark.slow

RESULTS = ("metricsTableNode", "chartNode", "differenceNode", "ctNode")


@pytest.fixture
def patient(scene):
    return add_patient(scene)


def repaint_contour(patient, voxels: int = 40) -> np.ndarray:
    """Take voxels off the PTV70 as an editor does; returns what was there."""
    segmentation = patient.segmentation.GetSegmentation()
    image = segmentation.GetSegment("PTV_7000").GetRepresentation("Binary labelmap")
    array = slicer.util.arrayFromSegmentInternalBinaryLabelmap(patient.segmentation, "PTV_7000")
    before = array.copy()
    array[np.unravel_index(np.flatnonzero(array)[:voxels], array.shape)] = 0
    image.Modified()
    return before


# --- opening and selecting


def test_opening_on_an_empty_scene_says_what_to_do(session):
    panel = session.open()
    assert not panel.ui.predictButton.enabled
    assert panel.ui.reasonLabel.text == "Select a CT volume."
    assert panel.ui.noSegmentationLabel.visible
    assert not panel.ui.structuresWidget.visible
    assert panel.ui.noResultsLabel.visible
    assert "Not for clinical use" in panel.ui.researchUseLabel.text


def test_selecting_inputs_shows_matches(session, patient):
    panel = session.open()
    assert panel.ui.ctSelector.currentNode() is patient.ct
    assert panel.ui.segmentationSelector.currentNode() is patient.segmentation
    shown = rows(panel)
    assert shown["PTV70"] == ("PTV_7000", "70")
    assert shown["Right parotid"] == ("Parotid_R", "")
    assert shown["Larynx"] == ("none", "")
    assert shown["Body"] == ("found in the CT", "")
    assert panel.ui.predictButton.enabled
    assert "Larynx" in panel.ui.warningsLabel.text


def test_data_loaded_later_is_selected_on_entering(session, scene):
    panel = session.open()
    session.leave()
    patient = add_patient(scene)
    session.enter()
    assert panel.ui.ctSelector.currentNode() is patient.ct
    assert panel.ui.predictButton.enabled


def test_every_missing_input_is_named(panel, patient):
    panel.ui.segmentationSelector.setCurrentNode(None)
    assert panel.ui.reasonLabel.text == "Select the segmentation with the contours."
    panel.ui.segmentationSelector.setCurrentNode(patient.segmentation)
    for target in ("PTV70", "PTV63", "PTV56"):
        choose(panel, target, "none")
    assert "PTV" in panel.ui.reasonLabel.text
    assert not panel.ui.predictButton.enabled


def test_wrong_settings_are_named(panel):
    panel.ui.extraMetricsLineEdit.text = "D2%, nonsense"
    assert "nonsense" in panel.ui.reasonLabel.text
    panel.ui.extraMetricsLineEdit.text = "D2%"
    assert panel.ui.predictButton.enabled
    panel.ui.gantryAnglesLineEdit.text = "0, forty"
    assert "forty" in panel.ui.reasonLabel.text and not panel.ui.predictButton.enabled
    panel.ui.gantryAnglesLineEdit.text = "0, 72, 144"
    assert panel.ui.predictButton.enabled
    panel.ui.gantryAnglesLineEdit.text = ""
    panel.ui.referenceDoseSelector.setCurrentNode(None)
    panel.ui.outputGridComboBox.setCurrentIndex(2)
    assert "reference dose" in panel.ui.reasonLabel.text


def test_removing_an_input_selects_no_other(panel, patient, scene):
    scene.scene.RemoveNode(patient.dose)
    assert panel.ui.referenceDoseSelector.currentNode() is None
    scene.scene.RemoveNode(patient.ct)
    assert panel.ui.ctSelector.currentNode() is None
    assert panel.ui.reasonLabel.text == "Select a CT volume."


def test_the_panel_works_in_a_window_of_its_own(session, scene):
    panel = session.python.DeepDosePredictWidget()
    scene.scene.Clear(0)
    patient = add_patient(scene)
    panel.ui.ctSelector.setCurrentNode(patient.ct)
    panel.ui.segmentationSelector.setCurrentNode(patient.segmentation)
    assert panel.ui.predictButton.enabled
    panel.cleanup()
    session.discard(panel.parent)


# --- structures


def test_ambiguous_structures_are_asked(session, scene):
    add_patient(scene, {"PTV_7000": "PTV_High", "Bone_Mandible": "Larynx_SG"})
    panel = session.open()
    assert rows(panel)["PTV70"][0] == "Confirm: PTV_High"
    assert rows(panel)["Larynx"][0] == "Confirm: Larynx_SG"
    assert panel.ui.reasonLabel.text == "Please confirm in the table of structures: PTV70, Larynx."
    choose(panel, "Larynx", "none")
    type_prescription(panel, "PTV70", "66")
    assert rows(panel)["PTV66"] == ("PTV_High", "66")
    assert "PTV70" not in rows(panel)
    assert panel.ui.predictButton.enabled
    assert "66" in panel.ui.warningsLabel.text
    panel.ui.rematchButton.click()
    assert rows(panel)["PTV70"][0] == "Confirm: PTV_High"


def test_the_reference_dose_suggests_the_prescription_that_a_name_leaves_open(session, scene):
    patient = add_patient(scene, {"PTV_6300": "PTV_Mid"})
    slicer.util.arrayFromVolume(patient.dose)[:] = 58.8
    slicer.util.arrayFromVolumeModified(patient.dose)
    panel = session.open()
    assert rows(panel)["PTV63"] == ("Confirm: PTV_Mid", "63")
    panel.ui.referenceDoseSelector.setCurrentNode(patient.dose)
    assert rows(panel)["PTV60"] == ("Confirm: PTV_Mid", "60") and "PTV63" not in rows(panel)
    assert "the reference dose suggests 60 Gy" in panel.ui.structureTable.item(1, 0).toolTip()
    choose(panel, "PTV60", "PTV_Mid")
    assert panel.structures.roles["PTV60"] == ("PTV_Mid",) and panel.ui.predictButton.enabled


def test_a_mapping_can_be_fixed(panel, patient):
    choose(panel, "Esophagus", "Bone_Mandible")
    choose(panel, "Mandible", "none")
    assert panel.structures.roles["Esophagus"] == ("Bone_Mandible",)
    assert "Mandible" not in panel.structures.roles
    assert panel.ui.rematchButton.enabled


def test_the_answers_belong_to_their_segmentation(panel, patient, scene):
    choose(panel, "Mandible", "none")
    other = add_patient(scene)
    panel.ui.segmentationSelector.setCurrentNode(other.segmentation)
    assert rows(panel)["Mandible"][0] == "Bone_Mandible"
    panel.ui.segmentationSelector.setCurrentNode(patient.segmentation)
    assert rows(panel)["Mandible"][0] == "none"


def test_a_prescription_can_be_changed(panel):
    type_prescription(panel, "PTV56", "54,12 Gy")
    assert panel.structures.roles["PTV54.12"] == ("PTV_5600",)
    assert "PTV56" not in rows(panel)
    type_prescription(panel, "PTV54.12", "56")
    assert rows(panel)["PTV56"] == ("PTV_5600", "56")


@pytest.mark.parametrize("text", ["", "many", "700", "nan"])
def test_an_impossible_prescription_is_refused_in_words(panel, text):
    before = rows(panel)
    type_prescription(panel, "PTV70", text)
    assert rows(panel) == before
    assert "Gy" in panel.ui.statusLabel.text


def test_equal_prescriptions_are_united(panel):
    type_prescription(panel, "PTV63", "70")
    assert panel.structures.roles["PTV70"] == ("PTV_7000", "PTV_6300")
    assert rows(panel)["PTV70"][0] == "PTV_7000 + PTV_6300"


def test_a_target_with_any_name_can_be_added(session, scene):
    add_patient(scene, {"PTV_7000": "Boost volume"})
    panel = session.open()
    panel.ui.addTargetButton.click()
    choose(panel, "PTV70", "Boost volume")
    assert panel.structures.roles["PTV70"] == ("Boost volume",)
    panel.ui.addTargetButton.click()
    assert rows(panel)["PTV66"][0] == "none"
    choose(panel, "PTV66", "none")
    assert "PTV66" not in rows(panel)


def test_several_contours_can_feed_one_model_input(session, scene):
    add_patient(scene, {"Bone_Mandible": "Cord lower part"})
    panel = session.open()
    choose(panel, "Spinal cord", "+ Cord lower part")
    assert rows(panel)["Spinal cord"][0] == "SpinalCord + Cord lower part"
    assert "Cord lower part are united to SpinalCord" in panel.ui.warningsLabel.text
    assert "Cord lower part -> SpinalCord (from user)" in panel.ui.accountLabel.text
    choose(panel, "Spinal cord", "SpinalCord")
    assert panel.structures.roles["SpinalCord"] == ("SpinalCord",)


@pytest.fixture
def site_file(monkeypatch, tmp_path):
    from DeepDosePredictLib.patient import site_names

    monkeypatch.setattr(site_names, "SITE_FILE", tmp_path / "StructureNames.json")
    return site_names.SITE_FILE


def test_a_name_is_remembered_with_a_click(session, scene, site_file, question):
    add_patient(scene, {"PTV_6300": "PTV_Mid", "Bone_Mandible": "Kiefer ganz"})
    panel = session.open()
    assert not panel.ui.rememberButton.enabled
    choose(panel, "Mandible", "Kiefer ganz")
    choose(panel, "PTV63", "PTV_Mid")
    question.answer = False
    panel.ui.rememberButton.click()
    assert "Kiefer ganz → Mandible" in question.texts[0] and "PTV_Mid → target" in question.texts[0]
    assert not site_file.exists()
    question.answer = True
    panel.ui.rememberButton.click()
    assert str(site_file) in panel.ui.statusLabel.text and not panel.ui.rememberButton.enabled
    panel.ui.rematchButton.click()
    assert rows(panel)["Mandible"][0] == "Kiefer ganz"
    assert rows(panel)["PTV63"][0] == "Confirm: PTV_Mid", "prescriptions are not remembered"


def test_a_damaged_file_of_names_is_told(session, scene, patient, site_file):
    site_file.write_text("{damaged")
    panel = session.open()
    assert "StructureNames.json" in panel.ui.reasonLabel.text and not panel.ui.predictButton.enabled
    site_file.unlink()
    session.enter()
    assert rows(panel)["PTV70"][0] == "PTV_7000" and panel.ui.predictButton.enabled


def test_damaged_answers_are_asked_again(panel, patient):
    choose(panel, "Mandible", "none")
    panel.logic.getParameterNode().roles = "{damaged"
    assert rows(panel)["Mandible"][0] == "Bone_Mandible"


def test_a_renamed_segment_is_matched_anew(panel, patient, session):
    patient.segmentation.GetSegmentation().GetSegment("Bone_Mandible").SetName("zRing")
    session.wait()
    assert rows(panel)["Mandible"][0] == "none"


# --- predicting


def test_predict_shows_results(panel, patient, session):
    predict(panel)
    results = panel.results.results
    assert all(getattr(results, name) is not None for name in RESULTS)
    assert panel.ui.resultsWidget.visible and not panel.ui.noResultsLabel.visible
    assert not panel.ui.outOfDateFrame.visible
    assert panel.ui.metricsTree.topLevelItemCount == 8
    assert "samples at half the dose grid's spacing" in panel.ui.metricsTree.toolTip
    assert "Dose score" in panel.ui.scoresLabel.text and "DVH score" in panel.ui.scoresLabel.text
    assert "Larynx" in panel.ui.resultWarningsLabel.text
    assert panel.ui.differenceCheckBox.enabled
    assert not panel.ui.progressBar.visible
    session.wait()
    assert not panel.ui.outOfDateFrame.visible


def test_a_planners_path_takes_at_most_six_clicks(session, scene, tiny_model, tmp_path, monkeypatch):
    """Load, check, predict, compare, export; counted are clicks after loading."""
    import qt

    clicks = []

    def click(button):
        clicks.append(button.name)
        button.click()

    panel = session.open()
    panel.logic.getParameterNode().model = str(tiny_model)
    patient = add_patient(scene)
    subject_hierarchy.fileAsDose(patient.dose, patient.ct)
    session.wait()
    assert len(rows(panel)) > 10 and panel.ui.accountSummaryLabel.visible, "what goes in is seen without a click"
    click(panel.ui.predictButton)
    assert panel.results.results.differenceNode is not None, "the clinical dose was taken"
    assert panel.ui.metricsTree.visible and session.layout.black_views() == []
    monkeypatch.setattr(slicer.modules.plots, "logic", lambda: types.SimpleNamespace(ShowChartInLayout=shown.append))
    shown = []
    click(panel.ui.chartButton)
    click(panel.ui.differenceCheckBox)
    path = tmp_path / "metrics.csv"
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: clicks.append("Save") or str(path))
    click(panel.ui.exportButton)
    assert shown and path.is_file() and len(clicks) <= 6


def test_without_a_reference_there_is_no_difference(panel):
    panel.ui.referenceDoseSelector.setCurrentNode(None)
    predict(panel)
    assert not panel.ui.differenceCheckBox.enabled
    assert "score" not in panel.ui.scoresLabel.text


def test_progress_is_shown_and_inputs_are_locked_meanwhile(panel, session, monkeypatch):
    seen = []
    monkeypatch.setattr(
        session.app,
        "processEvents",
        lambda: seen.append(
            (
                panel.ui.progressBar.value,
                panel.ui.statusLabel.text,
                panel.ui.predictButton.text,
                panel.ui.ctSelector.isEnabled(),
            )
        ),
    )
    predict(panel)
    assert len(seen) > 3
    values = [value for value, *_ in seen]
    assert values == sorted(values) and values[-1] == 100
    assert all(text and button == "Cancel" and not selector for _, text, button, selector in seen)
    assert panel.ui.predictButton.text == "Predict dose"
    assert panel.ui.predictButton.enabled and panel.ui.ctSelector.isEnabled()


@pytest.mark.parametrize("with_slicerrt", [False, True])
def test_predicting_again_replaces_the_results(panel, patient, scene, with_slicerrt):
    if with_slicerrt:
        slicerrt_standin.install(scene)
        segmentation = patient.segmentation.GetSegmentation()
        for name in set(segmentation.GetSegmentIDs()) - {"PTV_7000"}:  # the stand-in takes seconds for each
            segmentation.RemoveSegment(name)
        panel.refresh()
    predict(panel)
    panel.ui.isodoseCheckBox.click()
    first = [scene.scene.GetNthNode(n) for n in range(scene.scene.GetNumberOfNodes())]
    predict(panel)
    second = [scene.scene.GetNthNode(n) for n in range(scene.scene.GetNumberOfNodes())]
    assert sorted(node.GetClassName() for node in second) == sorted(node.GetClassName() for node in first)
    assert panel.logic.getParameterNode().dose not in first


def test_a_failure_is_told_and_leaves_the_scene(panel, scene, patient, monkeypatch):
    told = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **_: told.append(text))
    slicer.util.arrayFromVolume(patient.dose)[:] = np.nan
    slicer.util.arrayFromVolumeModified(patient.dose)
    before = scene.node_names()
    panel.ui.predictButton.click()
    assert scene.node_names() == before
    assert len(told) == 1 and "Clinical dose" in told[0]
    assert "the scene is as it was" in panel.ui.statusLabel.text
    assert panel.ui.ctSelector.isEnabled()
    assert len(complaints) == 1 and "errors.CaseError" in complaints.pop()  # tryWithErrorDisplay raises again


def test_leaving_the_module_while_it_predicts_loses_nothing(panel, session, monkeypatch):
    def leave(fraction, text):
        if panel.parent.isEntered():
            session.leave()

    monkeypatch.setattr(panel, "onProgress", leave)
    predict(panel)
    session.enter()
    assert panel.ui.resultsWidget.visible
    assert not panel.ui.outOfDateFrame.visible


def test_views_follow_the_check_boxes(panel, scene, patient):
    composite = scene.scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    predict(panel)
    results = panel.results.results
    assert composite.GetForegroundVolumeID() == results.doseNode.GetID()
    assert composite.GetBackgroundVolumeID() == patient.ct.GetID()
    panel.ui.differenceCheckBox.click()
    assert composite.GetForegroundVolumeID() == results.differenceNode.GetID()
    assert not panel.ui.doseWashCheckBox.checked
    panel.ui.differenceCheckBox.click()
    assert composite.GetForegroundVolumeID() is None
    panel.ui.isodoseCheckBox.click()
    model = results.isodoseNode
    assert model.GetDisplayNode().GetVisibility2D()
    panel.ui.isodoseCheckBox.click()
    displays = [model.GetNthDisplayNode(n) for n in range(model.GetNumberOfDisplayNodes())]
    assert len(displays) == 2 and not any(display.GetVisibility() for display in displays), "with its colour bar"


def test_chart_and_csv(panel, session, tmp_path, monkeypatch):
    import qt

    predict(panel)
    shown = []
    monkeypatch.setattr(slicer.modules.plots, "logic", lambda: types.SimpleNamespace(ShowChartInLayout=shown.append))
    panel.ui.chartButton.click()
    assert shown == [panel.results.results.chartNode]
    monkeypatch.setattr(qt.QFileDialog, "getSaveFileName", lambda *_: str(tmp_path / "metrics"))
    panel.ui.exportButton.click()
    text = (tmp_path / "metrics.csv").read_text()
    assert "PTV_7000" in text and "clinical use" in text
    assert "metrics.csv" in panel.ui.statusLabel.text


# --- out of date


def test_changing_a_contour_and_undoing_it(panel, patient, session):
    predict(panel)
    before = repaint_contour(patient)
    session.wait()
    assert panel.ui.outOfDateFrame.visible
    assert not panel.ui.exportButton.enabled and not panel.ui.metricsTree.enabled
    assert panel.logic.getParameterNode().dose.GetAttribute("DeepDosePredict.OutOfDate") == "1"
    slicer.util.arrayFromSegmentInternalBinaryLabelmap(patient.segmentation, "PTV_7000")[:] = before
    patient.segmentation.GetSegmentation().GetSegment("PTV_7000").GetRepresentation("Binary labelmap").Modified()
    session.wait()
    assert not panel.ui.outOfDateFrame.visible
    assert panel.ui.exportButton.enabled
    assert panel.logic.getParameterNode().dose.GetAttribute("DeepDosePredict.OutOfDate") is None


@pytest.mark.parametrize(
    "what", ["ct", "transform", "segment removed", "roles", "single pass", "metrics", "reference", "ct gone"]
)
def test_every_input_makes_results_out_of_date(panel, patient, session, scene, what):
    predict(panel)
    if what == "ct":
        slicer.util.arrayFromVolume(patient.ct)[30, 30, 30] += 1
        slicer.util.arrayFromVolumeModified(patient.ct)
    elif what == "transform":
        matrix = np.eye(4)
        matrix[0, 3] = 3
        patient.segmentation.SetAndObserveTransformNodeID(scene.transform(matrix).GetID())
    elif what == "segment removed":
        patient.segmentation.GetSegmentation().RemoveSegment("Brainstem")
    elif what == "roles":
        choose(panel, "Mandible", "none")
    elif what == "single pass":
        panel.ui.singlePassCheckBox.click()
    elif what == "metrics":
        panel.ui.extraMetricsLineEdit.text = "V20Gy"
    elif what == "reference":
        panel.ui.referenceDoseSelector.setCurrentNode(None)
    else:
        scene.scene.RemoveNode(patient.ct)
    session.wait()
    assert panel.ui.outOfDateFrame.visible


def test_changes_while_another_module_is_shown_are_noticed(panel, patient, session):
    predict(panel)
    session.leave()
    repaint_contour(patient)
    session.wait()
    session.enter()
    assert panel.ui.outOfDateFrame.visible


# --- closing, saving, loading


def test_closing_the_scene_empties_the_panel(panel, scene, session):
    predict(panel)
    scene.scene.Clear(0)
    session.wait()
    assert panel.ui.ctSelector.currentNode() is None
    assert panel.ui.noResultsLabel.visible
    assert panel.ui.reasonLabel.text == "Select a CT volume."
    assert rows(panel) == {}


def test_a_saved_scene_brings_everything_back(session, scene, patient, tiny_model, tmp_path):
    panel = session.open()
    panel.logic.getParameterNode().model = str(tiny_model)
    panel.ui.referenceDoseSelector.setCurrentNode(patient.dose)
    choose(panel, "Mandible", "none")
    panel.ui.singlePassCheckBox.click()
    panel.ui.dvhSourceComboBox.setCurrentIndex(1)
    predict(panel)
    shown, scores = rows(panel), panel.ui.scoresLabel.text
    assert scene.scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.scene.Clear(0)
    session.wait()
    assert panel.ui.noResultsLabel.visible
    assert scene.scene.ReadFromMRB(str(tmp_path / "scene.mrb"), False)
    session.wait()
    assert rows(panel) == shown
    assert panel.ui.scoresLabel.text == scores
    assert panel.ui.singlePassCheckBox.checked  # off by default
    assert panel.ui.dvhSourceComboBox.currentText == "Built in"  # by default SlicerRT's
    assert panel.ui.metricsTree.topLevelItemCount == 8
    assert not panel.ui.outOfDateFrame.visible
    assert panel.ui.exportButton.enabled
    repaint = slicer.util.arrayFromVolume(panel.ui.ctSelector.currentNode())
    repaint[30, 30, 30] += 5
    slicer.util.arrayFromVolumeModified(panel.ui.ctSelector.currentNode())
    session.wait()
    assert panel.ui.outOfDateFrame.visible


# --- packages that are missing


@pytest.fixture
def question(monkeypatch):
    """The confirmation that a user sees; `answer` is what is clicked."""
    asked = types.SimpleNamespace(texts=[], answer=True)

    def confirm(text, **_):
        asked.texts.append(text)
        return asked.answer

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", confirm)
    return asked


@pytest.fixture
def missing(panel, monkeypatch):
    """Packages that cannot be imported; {package: problem}."""
    from DeepDosePredictLib.panel import dependencies

    packages: dict[str, str] = {}
    monkeypatch.setattr(dependencies, "problem_with", lambda package: packages.get(package, ""))
    return packages


def test_declining_to_install_predicts_nothing(panel, question, missing, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace())
    missing["torch"] = "No module named 'torch'"
    question.answer = False
    panel.ui.predictButton.click()
    assert "torch" in question.texts[0]
    assert panel.logic.getParameterNode().dose is None
    assert "not installed" in panel.ui.statusLabel.text


def test_torch_is_installed_by_the_pytorch_extension(panel, question, missing, monkeypatch):
    calls = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, torchVersionRequirement=None):
            calls.append((askConfirmation, torchVersionRequirement))
            missing.clear()
            return object()

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=PyTorchUtilsLogic))
    missing["torch"] = "OSError: a half-installed torch"
    panel.ui.predictButton.click()
    assert calls == [(False, ">=2.5,!=2.9.*")]
    assert panel.logic.getParameterNode().dose is not None


@pytest.mark.parametrize("with_packaging", [True, False])
def test_safetensors_is_installed_by_slicer(panel, question, missing, monkeypatch, with_packaging):
    installed = []

    def install(requirements, **_):
        installed.append(str(requirements[0] if isinstance(requirements, list) else requirements))
        missing.clear()

    packaging = types.SimpleNamespace(pip_ensure=install) if with_packaging else None
    monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
    monkeypatch.setattr(slicer.util, "pip_install", install)
    missing["safetensors"] = "No module named 'safetensors'"
    panel.ui.predictButton.click()
    assert installed == ["safetensors>=0.4.3"]
    assert panel.logic.getParameterNode().dose is not None


def test_without_the_pytorch_extension_the_way_out_is_told(panel, question, missing, monkeypatch):
    told = []
    monkeypatch.setattr(slicer.util, "errorDisplay", lambda text, **_: told.append(text))
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    missing["torch"] = "No module named 'torch'"
    panel.ui.predictButton.click()
    assert "Extensions Manager" in told[0] and question.texts == [], "nothing is asked that cannot be done"
    assert "DeepDoseError" in complaints.pop()


# --- models


def test_only_models_of_the_user_can_be_removed(panel, session, question, tmp_path, monkeypatch, tiny_model):
    from DeepDosePredictLib.model import installed as models

    monkeypatch.setattr(models, "USER_MODELS", tmp_path)
    (tmp_path / "mine.safetensors").write_bytes(tiny_model.read_bytes())
    panel.logic.getParameterNode().model = ""
    session.enter()
    assert not panel.ui.removeModelButton.enabled
    panel.ui.modelComboBox.setCurrentIndex(panel.ui.modelComboBox.findText("mine"))
    panel.ui.modelComboBox.activated.emit(panel.ui.modelComboBox.currentIndex)
    assert panel.logic.getParameterNode().model == "mine"
    assert panel.ui.removeModelButton.enabled
    panel.ui.removeModelButton.click()
    assert not (tmp_path / "mine.safetensors").exists()
    assert panel.logic.getParameterNode().model == ""
    assert panel.ui.modelComboBox.findText("mine") < 0


# --- what Slicer itself calls


def test_the_phantom_is_registered_as_sample_data(session, scene):
    import SampleData

    session.app.startup_completed()
    (source,) = SampleData.SampleDataLogic.sources
    assert source["sampleName"] == "DeepDosePredictPhantom"
    panel = session.open()
    session.leave()
    source["customDownloader"](source)
    session.enter()
    assert panel.ui.predictButton.enabled, panel.ui.reasonLabel.text
    assert panel.ui.referenceDoseSelector.currentNode() is not None
    assert "PTV70" in rows(panel)


def test_the_module_passes_its_own_test(session):
    session.python.DeepDosePredictTest().runTest()
