"""Predict in a scene: dose node, DVHs, tables, warnings; what a failure and a reload leave."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from clinical import rotation
from DeepDosePredictLib.app.cli import main
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.slicer_case import read_slicer_case
from DeepDosePredictLib.mrml import (
    dose_node,
    evaluation,
    inputs,
    installed,
    isodose,
    patients,
    prediction,
    sample_data,
    subject_hierarchy,
)
from DeepDosePredictLib.mrml.case_from_nodes import caseMaker
from DeepDosePredictLib.mrml.fingerprint import inputFingerprint
from DeepDosePredictLib.mrml.geometry import sampleVolume, volumeGrid
from DeepDosePredictLib.mrml.patients import Kinship
from DeepDosePredictLib.mrml.results import Results, resultsOfCt
from DeepDosePredictLib.patient.rois import OARS, is_target
from DeepDosePredictLib.patient.roles import roles_of
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom
from mrml_scene import Scene, lps_grid, slicer, vtk


@pytest.fixture(scope="module")
def phantom():
    return head_and_neck_phantom()


@pytest.fixture
def nodes(scene, phantom):
    """(CT, segmentation, plan dose) of the phantom."""
    place = lps_grid(phantom.spacing, phantom.origin)
    segmentation = scene.segmentation({roi: phantom.rois[roi] for roi in phantom.rois.present()}, place)
    return scene.volume(phantom.ct, place, "CT"), segmentation, scene.volume(phantom.dose, place, "Plan")


def rename(segmentation, **names: str) -> None:
    for segment, name in names.items():
        segmentation.GetSegmentation().GetSegment(segment).SetName(name)


def node_names(scene: Scene) -> list[str]:
    return sorted(scene.scene.GetNthNode(n).GetName() or "" for n in range(scene.scene.GetNumberOfNodes()))


def children(hierarchy, item: int) -> list[int]:
    ids = vtk.vtkIdList()
    hierarchy.GetItemChildren(item, ids)
    return [ids.GetId(n) for n in range(ids.GetNumberOfIds())]


@pytest.mark.slow
def test_prediction_is_a_dose_in_the_scene(scene, nodes, tiny_model):
    ct, segmentation, plan = nodes
    steps = []
    result = prediction.predictDose(
        ct,
        segmentation,
        plan,
        model=str(tiny_model),
        metrics="D2%",
        progress=lambda done, what: steps.append((done, what)),
    )
    dose = slicer.util.arrayFromVolume(result.doseNode)
    assert dose.dtype == np.float32 and dose.min() >= 0 and np.isfinite(dose).all()
    assert subject_hierarchy.isDose(result.doseNode) and subject_hierarchy.isDose(plan)
    hierarchy = scene.scene.GetSubjectHierarchyNode()
    assert {patients.kinship(ct, node) for node in (segmentation, plan, result.doseNode)} == {Kinship.SAME_STUDY}
    assert len(children(hierarchy, hierarchy.GetSceneItemID())) == 1, "all lies under one patient"
    folder = subject_hierarchy.folderOf(result.doseNode)
    parts = [result.metricsTableNode, result.chartNode, result.differenceNode, *result.dvhTableNodes.values()]
    assert folder and all(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) == folder for node in parts)
    display = result.doseNode.GetDisplayNode()
    assert display.GetColorNode().GetName() == dose_node.COLORS and display.GetApplyThreshold()
    assert display.GetWindowLevelMax() == pytest.approx(77) and display.GetLowerThreshold() == pytest.approx(3.5)
    assert result.doseScore > 0 and result.dvhScore > 0 and result.differenceNode is not None
    assert set(result.dvhTableNodes) == {
        (which, roi) for which in ("Reference", "Predicted") for roi in head_and_neck_phantom().rois.present()
    }
    assert result.chartNode.IsA("vtkMRMLPlotChartNode") and result.metricsTableNode.GetNumberOfRows() > 40
    assert steps[-1][0] == 1 and all(a[0] <= b[0] for a, b in pairwise(steps))
    provenance = dose_node.provenanceOf(result.doseNode)
    assert provenance["Model"].startswith("tiny") and len(provenance["ModelSHA256"]) == 64
    assert "not for clinical use" in provenance["Use"] and json.loads(provenance["Roles"])["PTV70"] == ["PTV70"]


def file_under(scene, patient: str, *studies: tuple[str, list]) -> None:
    """File nodes under a new patient, as a DICOM import does."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.scene)
    item = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), patient)
    for name, nodes in studies:
        study = hierarchy.CreateStudyItem(item, name)
        for node in nodes:
            hierarchy.SetItemParent(subject_hierarchy.itemOf(hierarchy, node), study)


def test_what_is_loaded_is_paired_by_study(scene):
    """The first patient has no structures; the second has two studies; a third volume is filed nowhere."""
    array, grid = np.zeros((2, 2, 2), np.int16), lps_grid((1, 1, 1))
    names = ("CT A", "CT B", "Dose B", "CT B old", "Dose A", "Loose")
    volume = {name: scene.volume(array, grid, name) for name in names}
    for name in ("Dose A", "Dose B"):
        volume[name].SetAttribute(subject_hierarchy.DOSE_ATTRIBUTE, "1")
    segmentation = scene.segmentation({"PTV70": array > -1}, grid, "Structures B")
    assert patients.defaultInputs(scene.scene) == (volume["CT A"], segmentation, None)  # nothing is filed
    file_under(scene, "A", ("plan", [volume["CT A"], volume["Dose A"]]))
    file_under(scene, "B", ("plan", [volume["CT B"], volume["Dose B"], segmentation]), ("old", [volume["CT B old"]]))
    assert patients.defaultInputs(scene.scene) == (volume["CT B"], segmentation, volume["Dose B"])
    assert patients.closest(volume["CT A"], [segmentation]) is None
    assert patients.closest(volume["Loose"], [segmentation]) is segmentation
    warn = patients.mixtureWarnings
    assert warn(volume["CT B"], [segmentation, volume["Dose B"], volume["Loose"]]) == []
    assert "another patient (B) than CT A (A)" in warn(volume["CT A"], [segmentation])[0]
    assert "another study (plan) than CT B old (old)" in warn(volume["CT B old"], [segmentation])[0]
    assert "another patient" in inputs.checkInputs(volume["CT A"], segmentation).warnings[0]


@pytest.fixture
def doses(scene) -> SimpleNamespace:
    """A CT with the dose of a phase and the plan sum, and another patient's dose."""
    array, grid = np.zeros((2, 2, 2), np.float32), lps_grid((1, 1, 1))
    names = {"ct": "CT", "phase": "Phase", "total": "Sum", "other": "Other's"}
    nodes = SimpleNamespace(**{key: scene.volume(array, grid, name) for key, name in names.items()})
    for dose in (nodes.phase, nodes.total, nodes.other):
        dose.SetAttribute(subject_hierarchy.DOSE_ATTRIBUTE, "1")
    file_under(scene, "A", ("plan", [nodes.ct, nodes.phase, nodes.total]))
    file_under(scene, "B", ("plan", [nodes.other]))
    return nodes


def test_one_of_several_doses_must_be_confirmed(scene, doses):
    assert patients.dosesToChooseFrom(doses.ct, doses.phase) == [doses.phase, doses.total]
    assert patients.dosesToChooseFrom(doses.ct) == [doses.phase, doses.total]
    assert patients.dosesToChooseFrom(doses.ct, doses.other) == []
    with pytest.raises(DeepDoseError, match=r"Phase is one of several doses here \(Phase, Sum\).*reference_dose.*Sum"):
        inputs.referenceOf(doses.ct, doses.phase, None)
    for answer in ("Phase", doses.phase.GetID(), ("Phase",)):
        assert inputs.referenceOf(doses.ct, doses.phase, {"reference_dose": answer}) is doses.phase
    assert inputs.referenceOf(doses.ct, None, {"reference_dose": "Sum"}) is doses.total
    assert inputs.referenceOf(doses.ct, None, None) is None
    for node, answer, words in (
        (doses.phase, "Sum", "Phase is chosen as reference dose, but reference_dose says Sum"),
        (doses.phase, "Total", "no volume 'Total'; the doses here are Phase, Sum"),
        (doses.phase, ("Sum", "Phase"), "cannot all be the reference"),
    ):
        with pytest.raises(DeepDoseError, match=words):
            inputs.referenceOf(doses.ct, node, {"reference_dose": answer})
    scene.scene.RemoveNode(doses.total)
    assert inputs.referenceOf(doses.ct, doses.phase, None) is doses.phase


def test_several_doses_are_a_question_to_the_panel_and_none_is_selected_by_itself(scene, doses):
    segmentation = scene.segmentation({"PTV70": np.ones((2, 2, 2), bool)}, lps_grid((1, 1, 1)), "Structures")
    check = inputs.checkInputs(doses.ct, segmentation, doses.phase)
    assert check.doses == (doses.phase, doses.total) and "Phase, Sum" in check.problem
    answers = inputs.withSelectedDose({}, doses.phase)
    assert inputs.checkInputs(doses.ct, segmentation, doses.phase, answers).problem == ""
    without = inputs.checkInputs(doses.ct, segmentation, None, inputs.withSelectedDose({}, None))
    assert without.problem == "" and any("not compared with any of the doses here" in w for w in without.warnings)
    assert patients.defaultInputs(scene.scene)[2] is None
    assert patients.completed((doses.ct, None, None), [doses.phase, doses.total])[2] is None
    assert patients.completed((doses.ct, None, doses.phase), [doses.total])[2] is None
    assert patients.completed((doses.ct, None, doses.phase), [doses.other])[2] is doses.phase


def test_a_study_made_for_gray_is_no_other_study(scene, nodes):
    ct, segmentation, plan = nodes
    file_under(scene, "P", ("cGy plan", [ct, segmentation]))
    hierarchy = scene.scene.GetSubjectHierarchyNode()
    study = subject_hierarchy.ancestorOf(ct, "Study")
    hierarchy.SetItemAttribute(study, subject_hierarchy.UNIT_NAME, "cGy")
    for _ in range(2):
        subject_hierarchy.fileAsDose(plan, ct)
    assert len(children(hierarchy, hierarchy.GetItemParent(study))) == 2, "the second finds the first's"
    assert patients.mixtureWarnings(ct, [segmentation, plan]) == []


@pytest.mark.slow
def test_results_are_found_by_their_ct_and_removed_as_one(scene, nodes, tiny_model):
    ct, segmentation, plan = nodes
    for node in nodes:
        subject_hierarchy.itemOf(scene.scene.GetSubjectHierarchyNode(), node)
    names = []
    for n in range(3):
        before = scene.node_names()
        results = Results(prediction.predictDose(ct, segmentation, plan, model=str(tiny_model)).doseNode)
        added = [scene.scene.GetNodeByID(i) for i in scene.node_names() - before]
        names.append({node.GetName() for node in added if not node.IsA("vtkMRMLDisplayNode")})
        assert resultsOfCt(ct) == []  # a script's prediction is not the panel's
        results.note("DeepDosePredict.Fingerprint", "f")
        results.refer("DeepDosePredict.Isodose", isodose.isodoseModel(results.doseNode, (1.0, 2.0)))
        assert resultsOfCt(ct) == [results] and resultsOfCt(plan) == []
        folder = subject_hierarchy.folderOf(results.doseNode)
        hierarchy = scene.scene.GetSubjectHierarchyNode()
        assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(results.isodoseNode)) == folder
        results.remove()
        assert folder not in children(hierarchy, subject_hierarchy.ancestorOf(ct, "Study"))
        left = scene.node_names() - before
        assert not left or (n == 0 and all("ColorTable" in i for i in left))
    assert names[1] == names[2] and not any(name.endswith("_1") for name in names[2]), "names do not grow"


def test_without_a_reference(nodes, tiny_model):
    ct, segmentation, _ = nodes
    result = prediction.predictDose(ct, segmentation, model=str(tiny_model))
    assert result.doseScore is None and result.differenceNode is None
    assert {which for which, _ in result.dvhTableNodes} == {"Predicted"} and result.metricsTableNode.GetNumberOfRows()


@pytest.mark.slow
@pytest.mark.parametrize("output", ["ct", "reference"])
def test_dose_on_another_grid_is_the_same_dose(scene, nodes, tiny_model, output):
    """Also when the CT lies under a transform: the dose shares it, and its values stay where they are in the world."""
    ct, segmentation, plan = nodes
    shift = rotation(0)
    shift[:3, 3] = 12, -7, 5
    transform = scene.transform(shift)
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
    on_model = prediction.predictDose(ct, segmentation, plan, model=str(tiny_model)).doseNode
    other = prediction.predictDose(ct, segmentation, plan, model=str(tiny_model), outputGrid=output).doseNode
    like = {"ct": ct, "reference": plan}[output]
    assert volumeGrid(other).same_as(volumeGrid(like)) and other.GetTransformNodeID() == transform.GetID()
    assert np.allclose(sampleVolume(other, volumeGrid(on_model)), slicer.util.arrayFromVolume(on_model), atol=1e-3)


def test_other_prescriptions_are_scaled_and_said(nodes, tiny_model):
    ct, segmentation, _ = nodes
    usual = prediction.predictDose(ct, segmentation, model=str(tiny_model))
    rename(segmentation, PTV70="PTV_6600", PTV63="PTV_6000", PTV56="PTV_5400")
    check = inputs.checkInputs(ct, segmentation)
    assert check.problem == "" and "66/60/54" in check.warnings[0]
    result = prediction.predictDose(ct, segmentation, model=str(tiny_model))
    assert any("scaled to 66 Gy" in warning for warning in result.warnings)
    assert result.doseNode.GetDisplayNode().GetWindowLevelMax() == pytest.approx(72.6)
    doses = [slicer.util.arrayFromVolume(r.doseNode) for r in (usual, result)]
    assert doses[1].max() == pytest.approx(doses[0].max() * 66 / 70, rel=0.1)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"PTV70": "PTV_High"}, "PTV_High: its name states no dose"),
        ({"Larynx": "Mandible"}, "Mandible"),
        ({"PTV70": "a", "PTV63": "b", "PTV56": "c"}, "no segment is a PTV"),
    ],
)
def test_what_names_do_not_settle_must_be_given(nodes, names, words):
    ct, segmentation, _ = nodes
    rename(segmentation, **names)
    assert words in inputs.checkInputs(ct, segmentation).problem
    with pytest.raises(DeepDoseError, match=words):
        prediction.predictDose(ct, segmentation)


def test_the_plan_tells_a_prescription_that_a_name_leaves_open(nodes, tiny_model):
    ct, segmentation, plan = nodes
    rename(segmentation, PTV70="PTV_High", Larynx="PTV70 ring")
    assert "PTV_High: its name states no dose" in inputs.checkInputs(ct, segmentation).problem
    result = prediction.predictDose(ct, segmentation, plan, model=str(tiny_model))
    uses = {use.contour: use for use in result.assignment.uses}
    assert (uses["PTV_High"].role, uses["PTV_High"].source) == ("PTV70", "reference dose")
    assert any("PTV_High" in warning and "confirm" in warning for warning in result.warnings)
    account = dose_node.provenanceOf(result.doseNode)["Assignment"]
    assert "PTV_High -> PTV70 (from reference dose)" in account and "PTV70 ring (made for planning" in account


def test_roles_may_be_given_by_name(nodes, tiny_model):
    ct, segmentation, _ = nodes
    rename(segmentation, PTV70="boost", Larynx="Larynx_SG")
    roles = {"PTV70": "boost", "PTV56": ["PTV56", "PTV63"], "Larynx": "Larynx_SG", "Mandible": None}
    result = prediction.predictDose(ct, segmentation, roles=roles, model=str(tiny_model))
    assert any("not spared" in warning and "Mandible" in warning for warning in result.warnings)
    assert json.loads(dose_node.provenanceOf(result.doseNode)["Roles"])["PTV56"] == ["PTV56", "PTV63"]


@pytest.mark.parametrize("step", ["createDoseNode", "computeDvhs", "dvhChart", "comparisonTable", "differenceVolume"])
def test_failure_at_any_step_leaves_the_scene_as_it_was(monkeypatch, scene, nodes, tiny_model, step):
    ct, segmentation, plan = nodes
    module = prediction if step == "createDoseNode" else evaluation
    real = getattr(module, step)

    def fail_afterwards(*arguments, **settings):
        real(*arguments, **settings)
        raise DeepDoseError("out of luck")

    monkeypatch.setattr(module, step, fail_afterwards)
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.scene)
    before, items = node_names(scene), hierarchy.GetNumberOfItems()
    states = [[node.GetAttribute(name) for name in node.GetAttributeNames()] for node in nodes]
    with pytest.raises(DeepDoseError, match="out of luck"):
        prediction.predictDose(ct, segmentation, plan, model=str(tiny_model))
    assert node_names(scene) == before and hierarchy.GetNumberOfItems() == items
    assert states == [[node.GetAttribute(name) for name in node.GetAttributeNames()] for node in nodes]
    assert not any(
        node.GetNumberOfNodeReferences(role)
        for node in nodes
        for role in [node.GetNthNodeReferenceRole(n) for n in range(node.GetNumberOfNodeReferenceRoles())]
        if role and "dvh" in role.lower()
    )


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (lambda ct, seg, plan: (None, seg, plan), "Choose the CT"),
        (lambda ct, seg, plan: (ct, None, plan), "segmentation"),
        (lambda ct, seg, plan: (ct, seg, ct), "chosen as CT and as reference dose"),
    ],
)
def test_missing_inputs_are_said_before(nodes, chosen, words):
    assert words in inputs.checkInputs(*chosen(*nodes)).problem


def test_unknown_model_and_settings_are_refused(nodes, tiny_model):
    ct, segmentation, _ = nodes
    for settings, words in (
        ({"model": "nothing"}, "no such model"),
        ({"outputGrid": "reference"}, "reference dose"),
        ({"metrics": "D95"}, "D95"),
        ({"goals": "nothing"}, "nothing"),
        ({"device": "abacus"}, "abacus"),
        ({"gantryAngles": [0]}, "takes no gantry angles"),
    ):
        with pytest.raises(DeepDoseError, match=words):
            prediction.predictDose(ct, segmentation, **{"model": str(tiny_model), **settings})


def test_fingerprint_changes_with_every_input_and_returns(scene, nodes):
    ct, segmentation, plan = nodes
    roles = roles_of(inputs.matchRoles(segmentation))

    def fingerprint(**changed):
        arguments = {
            "ctNode": ct,
            "segmentationNode": segmentation,
            "referenceDoseNode": plan,
            "roles": roles,
            "model": "m",
        }
        return inputFingerprint(**arguments | changed)

    first = fingerprint()
    assert fingerprint() == first
    assert len({first, fingerprint(model="n"), fingerprint(roles={}), fingerprint(referenceDoseNode=None)}) == 4
    transform = scene.transform(rotation(3))
    for node in nodes:
        node.SetAndObserveTransformNodeID(transform.GetID())
        assert fingerprint() != first
        node.SetAndObserveTransformNodeID(None)
        assert fingerprint() == first
    for array, modified in (
        (slicer.util.arrayFromVolume(ct), lambda: slicer.util.arrayFromVolumeModified(ct)),
        (
            slicer.util.arrayFromSegmentInternalBinaryLabelmap(segmentation, "Larynx"),
            lambda: (
                segmentation.GetSegmentation()
                .GetSegment("Larynx")
                .GetRepresentation("Binary labelmap")
                .GetPointData()
                .GetScalars()
                .Modified()
            ),
        ),
    ):
        where = tuple(n // 2 for n in array.shape)
        old = array[where]
        array[where] = not old
        modified()
        assert fingerprint() != first
        array[where] = old
        modified()
        assert fingerprint() == first
    rename(segmentation, Larynx="Voice box")
    assert fingerprint() != first


def test_saving_and_loading_a_scene_keeps_results_and_fingerprint(scene, nodes, tiny_model, tmp_path):
    ct, segmentation, plan = nodes
    result = prediction.predictDose(ct, segmentation, plan, model=str(tiny_model))
    roles = roles_of(inputs.matchRoles(segmentation))
    fingerprint = inputFingerprint(ct, segmentation, plan, roles, "m")
    dose, rows = slicer.util.arrayFromVolume(result.doseNode).copy(), result.metricsTableNode.GetNumberOfRows()
    names = {
        node.GetName() for node in (result.doseNode, result.metricsTableNode, result.chartNode, result.differenceNode)
    }
    assert scene.scene.WriteToMRB(str(tmp_path / "case.mrb"))
    again = Scene(str(tmp_path / "cache2"))
    assert again.scene.ReadFromMRB(str(tmp_path / "case.mrb"))
    assert names <= set(node_names(again))
    loaded = again.scene.GetFirstNodeByName(result.doseNode.GetName())
    assert (slicer.util.arrayFromVolume(loaded) == dose).all() and subject_hierarchy.isDose(loaded)
    assert dose_node.provenanceOf(loaded) == dose_node.provenanceOf(result.doseNode)
    assert loaded.GetNodeReference("DeepDosePredict.CT").GetName() == "CT"
    assert again.scene.GetFirstNodeByName(result.metricsTableNode.GetName()).GetNumberOfRows() == rows
    nodes = [again.scene.GetFirstNodeByName(node.GetName()) for node in (ct, segmentation, plan)]
    assert inputFingerprint(*nodes, roles, "m") == fingerprint


def test_a_study_in_another_unit_is_left_alone(scene, nodes):
    ct, _, plan = nodes
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.scene)
    study = hierarchy.CreateStudyItem(hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "P"), "Plan study")
    hierarchy.SetItemAttribute(study, subject_hierarchy.UNIT_NAME, "cGy")
    hierarchy.SetItemParent(subject_hierarchy.itemOf(hierarchy, ct), study)
    subject_hierarchy.fileAsDose(plan, ct)
    assert hierarchy.GetItemAttribute(study, subject_hierarchy.UNIT_NAME) == "cGy"
    assert subject_hierarchy.isDose(plan) and hierarchy.GetItemParent(hierarchy.GetItemByDataNode(plan)) != study


def save(node, path: Path) -> None:
    node.AddDefaultStorageNode()
    node.GetStorageNode().SetFileName(str(path))
    assert node.GetStorageNode().WriteData(node)


@pytest.fixture
def folder(nodes, tmp_path):
    patient = tmp_path / "patient"
    patient.mkdir()
    for node, name in zip(nodes, ("ct.nrrd", "segmentation.seg.nrrd", "dose.nrrd"), strict=True):
        save(node, patient / name)
    return patient


@pytest.mark.slow
def test_command_line_predicts_a_ct_with_a_segmentation(folder, phantom, tiny_model, tmp_path, capsys):
    case = read_slicer_case(folder)
    assert case.name == "patient" and (case.ct == phantom.ct).all()
    assert all((case.rois[roi] == phantom.rois[roi]).all() for roi in (*OARS, *filter(is_target, phantom.rois.names)))
    out = tmp_path / "out"
    assert (
        main(
            [
                "predict",
                str(folder),
                "-o",
                str(out),
                "--model",
                str(tiny_model),
                "--reference",
                str(folder / "dose.nrrd"),
            ]
        )
        == 0
    )
    assert {path.name for path in out.iterdir()} == {
        "dose.nrrd",
        "dvh.csv",
        "metrics.csv",
        "report.html",
        "report.png",
        "result.json",
    }
    assert "dose error" in capsys.readouterr().out


@pytest.mark.slow
def test_command_line_takes_roles_and_names_damaged_files(folder, tiny_model, tmp_path, capsys):
    out, roles = tmp_path / "out", tmp_path / "roles.json"
    command = ["predict", str(folder), "-o", str(out), "--model", str(tiny_model), "--roles", str(roles)]
    roles.write_text(json.dumps({"PTV66": "PTV70", "PTV60": ["PTV63", "PTV56"]}))
    assert main(command) == 0 and "scaled to 66 Gy" in capsys.readouterr().out
    for text, words in (("[]", "expected roles"), ("{", "no JSON"), ('{"PTV70": "other"}', "no segment named 'other'")):
        roles.write_text(text)
        assert main(command) == 1 and words in capsys.readouterr().err
    (folder / "segmentation.seg.nrrd").write_bytes(b"NRRD0004\nnonsense")
    assert main(command[:-2]) == 1 and "segmentation.seg.nrrd" in capsys.readouterr().err
    (folder / "ct.nrrd").unlink()
    assert main(command[:-2]) == 1 and "ct.nrrd: no such file" in capsys.readouterr().err


def test_user_models_can_be_removed_and_shipped_ones_not(monkeypatch, tmp_path, tiny_model):
    from DeepDosePredictLib.model import installed as models

    monkeypatch.setattr(models, "USER_MODELS", tmp_path)
    (tmp_path / "mine.safetensors").write_bytes(tiny_model.read_bytes())
    assert [key for key, _ in installed.installedModels()] == [models.DEFAULT_MODEL, "mine"]
    installed.removeModel("mine")
    assert not list(tmp_path.iterdir())
    with pytest.raises(DeepDoseError, match="ships with the extension"):
        installed.removeModel(models.DEFAULT_MODEL)


@pytest.mark.slow
def test_sample_data_is_the_phantom_ready_to_predict(scene, phantom):
    ct, segmentation, dose = sample_data.loadPhantom(scene.scene)
    check = inputs.checkInputs(ct, segmentation, dose)
    assert subject_hierarchy.isDose(dose) and not check.problem and not check.warnings
    assert len(check.account) == 10 and "PTV70 -> PTV70 (from name)" in check.account
    case = caseMaker(ct, segmentation, roles_of(inputs.matchRoles(segmentation)), dose)()
    assert (case.ct == phantom.ct).all() and (case.dose == phantom.dose).all()
    assert all((case.rois[roi] == phantom.rois[roi]).all() for roi in phantom.rois.present())
