"""Several patients at the panel: their results are kept apart, and no picture mixes two of them."""

from __future__ import annotations

import os

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
import pytest

from mrml_scene import lps_grid
from panel_patient import add_patient
from panel_user import predict

import slicer  # isort: skip
import slicerrt_standin  # isort: skip
import vtk  # isort: skip
from DeepDosePredictLib.mrml import subject_hierarchy  # isort: skip
from DeepDosePredictLib.mrml.results import Results, resultsOfCt  # isort: skip

pytestmark = pytest.mark.slow


def file_under(scene, patient: str, nodes) -> None:
    """File nodes under a new patient with one study, as a DICOM import does."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.scene)
    item = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
    study = hierarchy.CreateStudyItem(item, "plan")
    for node in nodes:
        hierarchy.SetItemParent(subject_hierarchy.itemOf(hierarchy, node), study)


def add_filed_patient(scene, name: str):
    patient = add_patient(scene)
    for what, node in vars(patient).items():
        node.SetName(f"{what} {name}")
    patient.dose.SetAttribute(subject_hierarchy.DOSE_ATTRIBUTE, "1")
    file_under(scene, name, vars(patient).values())
    return patient


@pytest.fixture
def patient(scene):
    return add_filed_patient(scene, "A")


@pytest.fixture
def second(scene, patient):
    return add_filed_patient(scene, "B")


def keep_one_structure(panel, patient) -> None:
    """The stand-in for SlicerRT takes seconds for each."""
    segmentation = patient.segmentation.GetSegmentation()
    for name in set(segmentation.GetSegmentIDs()) - {"PTV_7000"}:
        segmentation.RemoveSegment(name)
    panel.refresh()


def select(panel, patient) -> None:
    panel.ui.ctSelector.setCurrentNode(patient.ct)
    panel.ui.segmentationSelector.setCurrentNode(patient.segmentation)
    panel.ui.referenceDoseSelector.setCurrentNode(patient.dose)


def test_default_inputs_are_of_one_patient(session, scene):
    lonely = scene.volume(np.zeros((4, 4, 4), np.int16), lps_grid((1, 1, 1)), "CT without structures")
    file_under(scene, "C", [lonely])
    second = add_filed_patient(scene, "B")
    panel = session.open()
    chosen = panel.ui.ctSelector, panel.ui.segmentationSelector, panel.ui.referenceDoseSelector
    assert [selector.currentNode() for selector in chosen] == [second.ct, second.segmentation, second.dose]


def add_phase(scene, patient) -> None:
    """Another dose of a patient."""
    phase = scene.volume(np.zeros((4, 4, 4), np.float32), lps_grid((1, 1, 1)), "Phase 2")
    phase.SetAttribute(subject_hierarchy.DOSE_ATTRIBUTE, "1")
    hierarchy = scene.scene.GetSubjectHierarchyNode()
    study = subject_hierarchy.ancestorOf(patient.ct, "Study")
    hierarchy.SetItemParent(subject_hierarchy.itemOf(hierarchy, phase), study)


def test_of_several_doses_none_is_taken_until_the_user_says_which(session, scene, patient, tiny_model):
    add_phase(scene, patient)
    panel = session.open()
    panel.logic.getParameterNode().model = str(tiny_model)
    assert panel.ui.referenceDoseSelector.currentNode() is None
    assert "dose A, Phase 2" in panel.ui.warningsLabel.text
    panel.ui.referenceDoseSelector.setCurrentNode(patient.dose)
    assert "Phase 2" not in panel.ui.warningsLabel.text
    predict(panel)
    session.wait()
    assert panel.results.results.differenceNode is not None and not panel.ui.outOfDateFrame.visible


@pytest.mark.parametrize("is_open", [True, False])
def test_a_dose_that_comes_later_makes_the_selected_one_a_question(session, scene, patient, is_open):
    panel = session.open()
    assert panel.ui.referenceDoseSelector.currentNode() is patient.dose, "the only one"
    if not is_open:
        session.leave()
    add_phase(scene, patient)
    session.wait()
    if not is_open:
        session.enter()
    assert panel.ui.referenceDoseSelector.currentNode() is None
    assert "dose A, Phase 2" in panel.ui.warningsLabel.text


def test_a_saved_scene_keeps_the_users_choice_of_several_doses(session, scene, patient, tmp_path):
    add_phase(scene, patient)
    panel = session.open()
    panel.ui.referenceDoseSelector.setCurrentNode(patient.dose)
    assert scene.scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.scene.Clear(0)
    session.wait()
    assert scene.scene.ReadFromMRB(str(tmp_path / "scene.mrb"), False)
    session.wait()
    assert panel.ui.referenceDoseSelector.currentNode().GetName() == "dose A"


def test_a_mixture_is_warned_of_before_predict(panel, second):
    assert "another patient" not in panel.ui.warningsLabel.text
    panel.ui.referenceDoseSelector.setCurrentNode(second.dose)
    assert "Dose B is of another patient (B) than ct A (A)" in panel.ui.warningsLabel.text


def test_results_are_kept_patient_by_patient(panel, session, patient, second):
    predict(panel)
    first = panel.results.results.doseNode
    select(panel, second)
    session.wait()
    assert panel.ui.noResultsLabel.visible and panel.results.results is None
    predict(panel)
    assert first.GetScene() is not None, "the first patient's results stay"
    assert panel.results.results.doseNode is not first
    select(panel, patient)
    session.wait()
    assert panel.results.results == Results(first) and not panel.ui.outOfDateFrame.visible
    assert panel.ui.metricsTree.visible and panel.ui.exportButton.enabled
    predict(panel)
    assert [len(resultsOfCt(ct)) for ct in (patient.ct, second.ct)] == [1, 1]


def test_no_picture_mixes_patients(panel, session, patient, second, monkeypatch):
    layers = session.layout.layers
    predict(panel)
    panel.ui.isodoseCheckBox.click()
    first = panel.results.results
    assert layers() == {(patient.ct, first.doseNode)}
    panel.ui.ctSelector.setCurrentNode(second.ct)
    assert layers() == {(second.ct, None)}, "not the second CT under the first patient's dose"
    assert not first.isodoseNode.GetDisplayNode().GetVisibility()
    assert not patient.segmentation.GetDisplayNode().GetVisibility()
    select(panel, second)
    seen, let = set(), session.app.processEvents
    monkeypatch.setattr(session.app, "processEvents", lambda: (seen.update(layers()), let()))
    predict(panel)
    monkeypatch.undo()
    assert seen == {(second.ct, None)}, "at every moment"
    assert layers() == {(second.ct, panel.results.results.doseNode)}
    panel.ui.ctSelector.setCurrentNode(patient.ct)
    assert layers() == {(patient.ct, first.doseNode)}
    assert first.isodoseNode.GetDisplayNode().GetVisibility()
    panel.ui.differenceCheckBox.click()
    assert layers() == {(patient.ct, first.differenceNode)}


def test_the_plot_view_shows_the_dvhs_of_the_selected_patient(panel, scene, patient, second):
    slicerrt_standin.install(scene)
    keep_one_structure(panel, patient)
    view = scene.scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    predict(panel)
    view.SetPlotChartNodeID(panel.results.results.chartNode.GetID())
    selection = scene.scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    selection.SetActivePlotChartID(view.GetPlotChartNodeID())
    predict(panel)
    chart = panel.results.results.chartNode
    assert view.GetPlotChartNode() is chart, "the new one, first built in, then SlicerRT's, not that of a run gone"
    panel.ui.ctSelector.setCurrentNode(second.ct)
    assert view.GetPlotChartNode() is None and not selection.GetActivePlotChartID(), "no DVHs of another patient"
    other = scene.scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    view.SetPlotChartNodeID(other.GetID())
    panel.ui.ctSelector.setCurrentNode(patient.ct)
    assert view.GetPlotChartNode() is other, "another module's chart is left alone"


def test_another_patients_ct_brings_its_structures_and_dose(panel, session, patient, second):
    """Selecting a second patient takes one choice, and nothing of the first stays."""
    predict(panel)
    panel.ui.ctSelector.setCurrentNode(second.ct)
    selectors = panel.ui.segmentationSelector, panel.ui.referenceDoseSelector
    assert [selector.currentNode() for selector in selectors] == [second.segmentation, second.dose]
    assert "another patient" not in panel.ui.warningsLabel.text and panel.ui.predictButton.enabled
    assert second.segmentation.GetDisplayNode().GetVisibility()
    panel.ui.referenceDoseSelector.setCurrentNode(None)
    panel.ui.ctSelector.setCurrentNode(patient.ct)
    assert [selector.currentNode() for selector in selectors] == [patient.segmentation, patient.dose]
    session.wait()
    assert panel.results.results is not None and not panel.ui.outOfDateFrame.visible


def test_a_volume_shown_by_another_module_pushes_the_other_patients_dose_out(panel, session, patient, second):
    predict(panel)
    session.leave()
    later = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")  # a layout with more views
    slicer.util.setSliceViewerLayers(foreground=panel.results.results.doseNode)
    slicer.util.setSliceViewerLayers(background=second.ct)
    assert session.layout.layers() == {(second.ct, None)} and later.GetForegroundVolumeID() is None


def test_a_registered_image_of_the_same_patient_may_lie_under_the_dose(panel, session, scene, patient):
    predict(panel)
    mr = scene.volume(np.zeros((4, 4, 4), np.int16), lps_grid((1, 1, 1)), "MR")
    hierarchy = scene.scene.GetSubjectHierarchyNode()
    study = subject_hierarchy.ancestorOf(patient.ct, "Study")
    hierarchy.SetItemParent(subject_hierarchy.itemOf(hierarchy, mr), study)
    slicer.util.setSliceViewerLayers(background=mr)
    assert session.layout.layers() == {(mr, panel.results.results.doseNode)}


def test_data_loaded_while_the_module_is_open_is_selected(session, scene, tiny_model):
    panel = session.open()
    panel.logic.getParameterNode().model = str(tiny_model)
    patient = add_filed_patient(scene, "A")
    session.wait()
    chosen = panel.ui.ctSelector, panel.ui.segmentationSelector, panel.ui.referenceDoseSelector
    assert [selector.currentNode() for selector in chosen] == [patient.ct, patient.segmentation, patient.dose]
    panel.ui.referenceDoseSelector.setCurrentNode(None)
    add_filed_patient(scene, "B")
    session.wait()
    chosen_now = [selector.currentNode() for selector in chosen]
    assert chosen_now == [patient.ct, patient.segmentation, None], "another patient's dose is not taken"
    predict(panel)
    session.wait()
    assert panel.ui.referenceDoseSelector.currentNode() is None, "nor an own result"


def children(hierarchy, item: int) -> dict[int, object]:
    """{item: its node or None}, without what slicer-core leaves of removed nodes."""
    ids = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, ids)
    nodes = {ids.GetId(n): hierarchy.GetItemDataNode(ids.GetId(n)) for n in range(ids.GetNumberOfIds())}
    return {one: node for one, node in nodes.items() if node is None or node.GetScene() is not None}


@pytest.mark.parametrize("with_slicerrt", [False, True])
def test_all_of_a_run_lies_in_one_folder_of_the_study(panel, scene, patient, with_slicerrt):
    if with_slicerrt:
        slicerrt_standin.install(scene)
        keep_one_structure(panel, patient)
    hierarchy = scene.scene.GetSubjectHierarchyNode()
    study, root = subject_hierarchy.ancestorOf(patient.ct, "Study"), hierarchy.GetSceneItemID()
    before, of_study = children(hierarchy, root).keys(), children(hierarchy, study).keys()
    for _ in range(2):
        predict(panel)
        panel.ui.isodoseCheckBox.click()
        assert children(hierarchy, root).keys() == before
        (folder,) = children(hierarchy, study).keys() - of_study
        assert folder == subject_hierarchy.folderOf(panel.results.results.doseNode)
        assert len(children(hierarchy, folder)) > 8


def test_a_run_is_deleted_as_one_in_the_data_module(panel, session, scene, patient):
    predict(panel)
    hierarchy = scene.scene.GetSubjectHierarchyNode()
    results = panel.results.results
    folder = subject_hierarchy.folderOf(results.doseNode)
    before = scene.node_names()
    hierarchy.RemoveItem(folder, True, True)
    session.wait()
    assert panel.ui.noResultsLabel.visible
    assert results.doseNode.GetScene() is None
    assert not [name for name in scene.node_names() & before if "Table" in name and "Color" not in name]
