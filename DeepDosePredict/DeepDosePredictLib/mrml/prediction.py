"""From CT and segmentation nodes to dose, DVHs and comparison in their scene."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import DeepDoseError
from .case_from_nodes import caseFromNodes
from .dose_node import createDoseNode, nodeOfGrid
from .evaluation import Criteria, Progress, evaluateDose, scoreOf
from .inputs import checkedInputs
from .installed import predictorOf, torchProblem
from .provenance import provenanceNotes
from .results import CT, REFERENCE_DOSE, SEGMENTATION, WARNINGS, Results
from .scene_transaction import sceneTransaction
from .subject_hierarchy import createFolder, fileUnfiled

DEFAULT_GOALS = "head-and-neck"


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


def predictDose(
    ctNode,
    segmentationNode,
    referenceDoseNode=None,
    roles: Mapping | None = None,
    model: str | None = None,
    device: str = "auto",
    singlePass: bool | None = None,
    outputGrid: str = "model",
    goals: str | None = DEFAULT_GOALS,
    metrics: str = "",
    gantryAngles: Sequence[float] | None = None,
    progress: Progress | None = None,
) -> PredictionResult:
    """Predict the dose of a patient and put dose, DVHs, chart and comparison into the scene of the CT.

    Args:
        roles: {role: segment name, ID or a list of these}, with roles PTV70 (or any level), Brainstem, SpinalCord,
            RightParotid, LeftParotid, Esophagus, Larynx, Mandible, External, possible_dose_mask; None leaves one out.
            They add to what names say. "not_targets" lists contours that are no targets: one that could be a target
            is refused until one of both is said.
        model: name of an installed model or path of a model file; None takes the default.
        device: "auto", "cpu", "cuda" or "mps".
        singlePass: see `Predictor`; None takes the model's default.
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
    inputs = checkedInputs(ctNode, segmentationNode, referenceDoseNode, roles, model)
    like = nodeOfGrid(outputGrid, ctNode, referenceDoseNode)
    if problem := torchProblem():
        raise DeepDoseError(problem)
    criteria = Criteria.of(goals, metrics)
    report(0.05, "Reading CT and structures")
    case = caseFromNodes(ctNode, segmentationNode, inputs.roles, referenceDoseNode, inputs.assignment)
    report(0.35, "Predicting the dose")
    predictor = predictorOf(model, device, singlePass, gantryAngles)
    prediction = predictor.predict(case, any_prescription=True)
    score = scoreOf(case, prediction.dose)
    report(0.7, "Placing the dose in the scene")
    provenance = provenanceNotes(inputs, case, predictor, prediction)
    with sceneTransaction(ctNode.GetScene(), inputs.nodes):
        doseNode = createDoseNode(prediction.dose, case.grid, ctNode, case.prescription, like, provenance)
        for role, node in ((CT, ctNode), (SEGMENTATION, segmentationNode), (REFERENCE_DOSE, referenceDoseNode)):
            if node is not None:
                doseNode.SetNodeReferenceID(role, node.GetID())
                fileUnfiled(node, ctNode)
        createFolder(doseNode, f"{doseNode.GetName()} ({predictor.model.contract.name})")
        evaluation = evaluateDose(doseNode, inputs, criteria, score, provenance, report)
        warnings = (*inputs.warnings, *prediction.warnings, *evaluation.warnings)
        Results(doseNode).note(WARNINGS, "\n".join(warnings))
        report(1.0, "Done")
    result = PredictionResult(
        doseNode,
        evaluation.metricsTableNode,
        evaluation.chartNode,
        evaluation.differenceNode,
        evaluation.dvhTableNodes,
        warnings,
        None if score is None else score.dose_error,
        None if score is None else score.dvh_error,
        time.perf_counter() - start,
    )
    return result
