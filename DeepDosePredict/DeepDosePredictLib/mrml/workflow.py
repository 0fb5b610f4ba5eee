"""From CT and segmentation nodes to dose, DVHs and comparison: what DeepDosePredictLogic offers."""

from __future__ import annotations

import datetime
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import RESEARCH_USE, __version__
from ..dvh.goals import Goal, read_goals
from ..dvh.metrics import PatientScore, score_patient
from ..errors import DeepDoseError
from ..model.installed import find_model
from ..patient.case import Case
from ..patient.rois import DOSE_MASK, OARS, is_target, prescription
from ..patient.structure_names import (
    EXTERNAL,
    Match,
    Roles,
    is_help_structure,
    match_structures,
    resolved_roles,
    roles_to_json,
)
from ..resources import GOALS, goals_path
from .case_from_nodes import caseFromNodes
from .charts import dvhChart
from .comparison import comparisonTable, metricsOf, parseMetrics, plannedRows
from .difference import differenceVolume
from .dose_node import OUTPUT_GRIDS, createDoseNode
from .dvh import computeDvhs
from .fingerprint import inputFingerprint as _fingerprint
from .geometry import linearToWorld, volumeGrid
from .scene_transaction import sceneTransaction
from .subject_hierarchy import fileAsDose, isDose

DEFAULT_GOALS = "head-and-neck"
REFERENCE, PREDICTED = "Reference", "Predicted"
TRAINED_LEVELS = (70.0, 63.0, 56.0)


@dataclass(frozen=True)
class InputCheck:
    """Whether Predict can run: `problem` says in words why not, or is empty; `warnings` what to know before."""

    problem: str = ""
    warnings: tuple[str, ...] = ()


@dataclass
class PredictionResult:
    """What a prediction leaves in the scene.

    Attributes:
        differenceNode, doseScore, dvhScore: None without a reference dose; scores are OpenKBP's, in Gy.
        dvhTableNodes: {("Reference" or "Predicted", segment ID): table node}.
        warnings: what to know before trusting the dose, in words; they are attributes of the dose node, too.
        seconds: from nodes to nodes, the loading of the model included.
    """

    doseNode: object
    metricsTableNode: object
    chartNode: object
    differenceNode: object | None = None
    dvhTableNodes: dict[tuple[str, str], object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    doseScore: float | None = None
    dvhScore: float | None = None
    seconds: float = 0.0


def segmentNames(segmentationNode) -> dict[str, str]:
    """{segment ID: name}, in the order of the segmentation."""
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return {segmentId: segmentation.GetSegment(segmentId).GetName() for segmentId in ids}


def matchRoles(segmentationNode) -> list[Match]:
    """Which segment feeds which input of the model, by names; see `core.structure_names`."""
    return match_structures(segmentNames(segmentationNode))


def checkInputs(
    ctNode, segmentationNode, referenceDoseNode=None, roles: Mapping | None = None, model: str | None = None
) -> InputCheck:
    """Quick check before Predict, without reading voxels; `roles` as for `predictDose`."""
    try:
        if ctNode is None:
            raise DeepDoseError("Choose the CT.")
        if segmentationNode is None:
            raise DeepDoseError("Choose the segmentation with the contours.")
        find_model(model)
        for node in filter(None, (ctNode, referenceDoseNode)):
            volumeGrid(node)
        if referenceDoseNode is not None and referenceDoseNode == ctNode:
            raise DeepDoseError(f"{ctNode.GetName()} is chosen as CT and as reference dose; choose another for one")
        linearToWorld(segmentationNode)
        roles, warnings = resolvedRoles(segmentationNode, roles)
        return InputCheck("", (*warnings, *_roleWarnings(roles)))
    except DeepDoseError as error:
        return InputCheck(str(error))


def predictDose(
    ctNode,
    segmentationNode,
    referenceDoseNode=None,
    roles: Mapping | None = None,
    model: str | None = None,
    device: str = "auto",
    mirror: bool | None = None,
    outputGrid: str = "model",
    goals: str | None = DEFAULT_GOALS,
    metrics: str = "",
    gantryAngles: Sequence[float] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> PredictionResult:
    """Predict the dose of a patient and put dose, DVHs, chart and comparison into the scene of the CT.

    Args:
        roles: {role: segment name, ID or a list of these}, with roles PTV70 (or any level), Brainstem, SpinalCord,
            RightParotid, LeftParotid, Esophagus, Larynx, Mandible, External, possible_dose_mask. None matches by names
            and refuses what a name does not settle.
        model: name of an installed model or path of a model file; None takes the default.
        device: "auto", "cpu", "cuda" or "mps".
        mirror: average with the mirrored prediction; None takes the model's default.
        outputGrid: "model", "ct" or "reference".
        goals: template of clinical goals, by name or path; None for none.
        metrics: more DVH metrics for every structure, such as "D2%, V20Gy, D0.03cc".
        gantryAngles: of the beams, in degrees; None takes those that the model was trained with.
        progress: called with the part done (0 to 1) and what is being done.

    Raises:
        DeepDoseError: says which node or segment cannot be used, and what to do. The scene is then as it was.
    """
    start = time.perf_counter()
    report = progress or (lambda done, what: None)
    check = checkInputs(ctNode, segmentationNode, referenceDoseNode, roles, model)
    if check.problem:
        raise DeepDoseError(check.problem)
    if outputGrid not in OUTPUT_GRIDS or (outputGrid == "reference" and referenceDoseNode is None):
        raise DeepDoseError(f"output grid {outputGrid!r}: choose model, ct or, with a reference dose, reference")
    if problem := torchProblem():
        raise DeepDoseError(problem)
    template, extra = _goals(goals), parseMetrics(metrics)
    resolved, matchWarnings = resolvedRoles(segmentationNode, roles)
    report(0.05, "Reading CT and structures")
    case, grid = caseFromNodes(ctNode, segmentationNode, resolved, referenceDoseNode)
    report(0.35, "Predicting the dose")
    predictor = _predictor(
        str(find_model(model)),
        find_model(model).stat().st_mtime_ns,
        device,
        mirror,
        None if gantryAngles is None else tuple(gantryAngles),
    )
    prediction = predictor.predict(case, any_prescription=True)
    warnings = (*matchWarnings, *prediction.warnings)
    report(0.7, "Placing the dose in the scene")
    provenance = _provenance(ctNode, segmentationNode, resolved, case, predictor, prediction, warnings)
    touched = [node for node in (ctNode, segmentationNode, referenceDoseNode) if node is not None]
    with sceneTransaction(ctNode.GetScene(), touched):
        doseNode = createDoseNode(
            prediction.dose, grid, ctNode, _highest(case), outputGrid, referenceDoseNode, provenance
        )
        doseNode.SetNodeReferenceID("DeepDosePredict.CT", ctNode.GetID())
        doseNode.SetNodeReferenceID("DeepDosePredict.Segmentation", segmentationNode.GetID())
        result = _compared(
            doseNode,
            segmentationNode,
            referenceDoseNode,
            resolved,
            case,
            prediction.dose,
            template,
            extra,
            provenance,
            report,
        )
    result.warnings = (*warnings, *result.warnings)
    doseNode.SetAttribute("DeepDosePredict.Warnings", "\n".join(result.warnings))
    result.seconds = time.perf_counter() - start
    report(1.0, "Done")
    return result


def inputFingerprint(
    ctNode, segmentationNode, referenceDoseNode=None, roles: Roles | None = None, model: str | None = None
) -> str:
    """Text that differs when a prediction would use other inputs; results made under another one are out of date."""
    return _fingerprint(ctNode, segmentationNode, referenceDoseNode, roles or {}, model or "")


def installedModels() -> list[tuple[str, str]]:
    """(key, label) of every model that can be chosen, the default first."""
    from ..model.installed import installed_models

    return [(path.stem, path.stem) for path in installed_models()]


def removeModel(key: str) -> None:
    """Delete a model that the user added; DeepDoseError for one that ships with the extension."""
    from ..model.installed import remove_model

    remove_model(key)


def modelFolder() -> Path:
    """Folder where users put their own models."""
    from ..model.installed import USER_MODELS

    return USER_MODELS


def goalTemplates() -> list[tuple[str, str]]:
    """(key, label) of the templates of clinical goals that ship."""
    import json

    return [
        (path.stem, json.loads(path.read_text(encoding="utf-8")).get("name", path.stem))
        for path in sorted(GOALS.glob("*.json"))
    ]


def torchProblem() -> str:
    """Why PyTorch or safetensors cannot be used, and what to do; empty when both can."""
    # Any exception: a half-installed torch fails with OSError or worse, not only ImportError.
    for package in ("torch", "safetensors"):
        try:
            __import__(package)
        except Exception as error:
            return (
                f"Python package {package} cannot be loaded ({error}). In Slicer press Predict in the panel, which"
                " offers to install it; elsewhere run pip install torch safetensors."
            )
    return ""


@functools.lru_cache(maxsize=2)
def _predictor(path: str, modified: int, device: str, mirror: bool | None, gantryAngles: tuple[float, ...] | None):
    """The predictor of a model file, kept for the next patient."""
    from ..model.model_file import load_model
    from ..model.predictor import Predictor

    return Predictor(load_model(path), device, mirror, gantryAngles)


def resolvedRoles(segmentationNode, roles: Mapping | None) -> tuple[Roles, tuple[str, ...]]:
    """Checked roles, matched by names if none are given, and what remained open."""
    return resolved_roles(segmentNames(segmentationNode), roles, segmentationNode.GetName())


def _roleWarnings(roles: Roles) -> list[str]:
    warnings = []
    levels = sorted((prescription(role) for role in roles if is_target(role)), reverse=True)
    if levels[0] != TRAINED_LEVELS[0] or set(levels) - set(TRAINED_LEVELS):
        warnings.append(f"prescriptions {'/'.join(f'{x:g}' for x in levels)} Gy: the model was trained on 70/63/56 Gy")
    if missing := [oar for oar in OARS if oar not in roles]:
        warnings.append(f"not contoured, so not spared: {', '.join(missing)}")
    return warnings


def _goals(template: str | None) -> list[Goal]:
    return read_goals(goals_path(template)) if template else []


def _highest(case: Case) -> float:
    return max(map(prescription, case.targets()))


def _provenance(
    ctNode, segmentationNode, roles: Roles, case: Case, predictor, prediction, warnings: tuple[str, ...]
) -> dict[str, str]:
    contract, names = predictor.model.contract, segmentNames(segmentationNode)
    return {
        "Model": f"{contract.name} {contract.version}",
        "ModelSHA256": predictor.model.sha256,
        "Software": f"DeepDosePredict {__version__}",
        "CT": ctNode.GetName(),
        "Segmentation": segmentationNode.GetName(),
        "Roles": roles_to_json({role: [names[s] for s in segments] for role, segments in roles.items()}),
        "Prescription": f"{_highest(case):g} Gy",
        "Mirrored": "yes" if predictor.mirror else "no",
        "GantryAngles": ", ".join(f"{angle:g}" for angle in predictor.channels.gantry_angles),
        "Device": prediction.device,
        "Created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "Use": RESEARCH_USE,
        "Warnings": "\n".join(warnings),
    }


def _compared(
    doseNode,
    segmentationNode,
    referenceDoseNode,
    roles: Roles,
    case: Case,
    dose,
    goals: list[Goal],
    extra: tuple,
    provenance: Mapping[str, str],
    report: Callable[[float, str], None],
) -> PredictionResult:
    """DVHs, chart, table and difference of a dose that is in the scene."""
    warnings: list[str] = []
    doses = {PREDICTED: doseNode}
    score: PatientScore | None = None
    if referenceDoseNode is not None:
        doses = {REFERENCE: referenceDoseNode, PREDICTED: doseNode}
        if not isDose(referenceDoseNode):
            fileAsDose(referenceDoseNode, doseNode)
            warnings.append(f"{referenceDoseNode.GetName()} was not marked as a dose; its values were taken as Gy")
        score = score_patient(case.name, case.dose, dose, case.rois, case.dose_mask, case.voxel_volume_mm3)
    report(0.75, "Computing DVHs")
    segments = _evaluatedSegments(segmentationNode, roles)
    rows = plannedRows(segmentationNode, segments, roles, goals, extra)
    dvhs = computeDvhs(segmentationNode, segments, doses, metricsOf(rows))
    warnings += dvhs.warnings
    report(0.9, "Making chart and table")
    name = doseNode.GetName()
    chart = dvhChart(dvhs, f"{name} DVH")
    scores = {} if score is None else {"doseScore": score.dose_error, "dvhScore": score.dvh_error}
    table = comparisonTable(dvhs, rows, provenance, name=f"{name} comparison", **scores)
    difference = None if score is None else differenceVolume(referenceDoseNode, doseNode)
    return PredictionResult(
        doseNode,
        table,
        chart,
        difference,
        {key: curve.tableNode for key, curve in dvhs.curves.items()},
        tuple(warnings),
        scores.get("doseScore"),
        scores.get("dvhScore"),
    )


def _evaluatedSegments(segmentationNode, roles: Roles) -> list[str]:
    """Segments worth a DVH: those with a role first, then every other structure that is not a help structure."""
    inRole = [segment for role, segments in roles.items() if role not in (EXTERNAL, DOSE_MASK) for segment in segments]
    skipped = {segment for role in (EXTERNAL, DOSE_MASK) for segment in roles.get(role, ())} | set(inRole)
    others = [
        segment
        for segment, name in segmentNames(segmentationNode).items()
        if segment not in skipped and not is_help_structure(name)
    ]
    return [*inRole, *others]
