"""From CT and segmentation nodes to dose, DVHs and comparison in their scene."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import DeepDoseError
from ..model.contract import read_contract
from ..model.installed import find_model
from ..patient.assignment import Assignment
from ..patient.case import Case
from .background import Interrupt, Progress, beside, silently
from .case_from_nodes import caseMaker
from .dose_node import createDoseNode, nodeOfGrid
from .evaluation import Criteria, EvaluatedDose, Evaluator, scoreOf
from .exploration import Basis
from .inputs import checkedInputs
from .installed import predictorOf, torchProblem
from .provenance import provenanceNotes
from .results import CT, REFERENCE_DOSE, SEGMENTATION, WARNINGS, Results
from .scene_transaction import sceneTransaction
from .subject_hierarchy import createFolder, fileUnfiled
from .translation import tr as _

DEFAULT_GOALS = "head-and-neck"
SLICERRT, BUILT_IN = "slicerrt", "built-in"


@dataclass
class PredictionResult(EvaluatedDose):
    """What a prediction leaves in the scene.

    Attributes:
        evaluator: can put SlicerRT's DVHs in the place of the built-in ones.
        evaluation: chart, table and DVHs.
        predictionWarnings: about inputs and prediction.
        seconds: from nodes to nodes, the loading of the model included.
        basis: to explore the prediction from.
    """

    predictionWarnings: tuple[str, ...] = ()
    seconds: float = 0.0
    basis: Basis | None = None

    @property
    def dvhTableNodes(self) -> dict[tuple[str, str], object]:
        """{("Reference" or "Predicted", segment ID): table node}."""
        return self.evaluation.dvhTableNodes

    @property
    def differenceNode(self):
        """None without a reference dose."""
        return Results(self.doseNode).differenceNode

    @property
    def doseScore(self) -> float | None:
        """OpenKBP's, in Gy; None without a reference dose."""
        return None if self.evaluator.score is None else self.evaluator.score.dose_error

    @property
    def dvhScore(self) -> float | None:
        """OpenKBP's, in Gy; None without a reference dose."""
        return None if self.evaluator.score is None else self.evaluator.score.dvh_error

    @property
    def assignment(self) -> Assignment:
        """Which segment was used as what, and what was left out and why."""
        return self.evaluator.inputs.assignment

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before trusting the dose, in words; they are an attribute of the dose node, too."""
        return (*self.predictionWarnings, *self.evaluation.warnings)

    def useSlicerRt(self, progress: Progress | None = None) -> None:
        """Put SlicerRT's DVHs in the place of the built-in ones, where it is installed; says so where it cannot."""
        self.evaluation = self.evaluator.withSlicerRt(progress or silently)
        self.noteWarnings()

    def noteWarnings(self) -> None:
        Results(self.doseNode).note(WARNINGS, "\n".join(self.warnings))


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
    dvhs: str = SLICERRT,
) -> PredictionResult:
    """Predict the dose of a patient and put dose, DVHs, chart and comparison into the scene of the CT.

    Args:
        roles: {role: segment name, ID or a list of these}, with roles PTV70 (or any level), Brainstem, SpinalCord,
            RightParotid, LeftParotid, Esophagus, Larynx, Mandible, External, possible_dose_mask; None leaves one out.
            They add to what names say. "not_targets" lists contours that are no targets: one that could be a target
            is refused until one of both is said. "reference_dose" names the reference where the patient has several
            doses: one of them is refused until this is said.
        model: name of an installed model or path of a model file; None takes the default.
        device: "auto", "cpu", "cuda" or "mps".
        singlePass: see `Predictor`; None takes the model's default.
        outputGrid: "model", "ct" or "reference".
        goals: template of clinical goals, by name or path; None for none.
        metrics: more DVH metrics for every structure, such as "D2%, V20Gy, D0.03cc".
        gantryAngles: of the beams, in degrees; None takes those that the model was trained with.
        progress: called with the part done (0 to 1) and what is being done, several times a second; what it raises
            stops the prediction.
        dvhs: "slicerrt" (where it is installed and its DVHs are right and not too slow) or "built-in".

    Raises:
        DeepDoseError: says which node or segment cannot be used, and what to do. The scene is then as it was.
    """
    start = time.perf_counter()
    report = progress or silently
    inputs = checkedInputs(ctNode, segmentationNode, referenceDoseNode, roles, model)
    referenceDoseNode = inputs.referenceDoseNode
    like = nodeOfGrid(outputGrid, ctNode, referenceDoseNode)
    if problem := torchProblem():
        raise DeepDoseError(problem)
    if dvhs not in (SLICERRT, BUILT_IN):
        raise DeepDoseError(f"DVHs by {dvhs!r}: choose {SLICERRT} or {BUILT_IN}")
    criteria = Criteria.of(goals, metrics)
    report(0.02, _("Reading CT and structures"))
    trained = read_contract(find_model(model)).grid
    makeCase = caseMaker(ctNode, segmentationNode, inputs.roles, referenceDoseNode, inputs.assignment, trained)
    case = beside(progress, (0.05, 0.3), _("Reading CT and structures"), lambda interrupt: makeCase())
    predictor, prediction = beside(
        progress,
        (0.3, 0.8),
        _("Predicting the dose"),
        lambda interrupt: _predicted(case, predictorOf(model, device, singlePass, gantryAngles), interrupt),
    )
    score = scoreOf(case, prediction.dose)
    report(0.8, _("Placing the dose in the scene"))
    provenance = provenanceNotes(inputs, case, predictor, prediction)
    with sceneTransaction(ctNode.GetScene(), inputs.nodes):
        doseNode = createDoseNode(prediction.dose, case.grid, ctNode, case.prescription, like, provenance)
        for role, node in ((CT, ctNode), (SEGMENTATION, segmentationNode), (REFERENCE_DOSE, referenceDoseNode)):
            if node is not None:
                doseNode.SetNodeReferenceID(role, node.GetID())
                fileUnfiled(node, ctNode)
        createFolder(doseNode, f"{doseNode.GetName()} ({predictor.model.contract.name})")
        evaluator = Evaluator(doseNode, inputs, criteria, score, provenance)
        evaluation = evaluator.evaluate(lambda done, what: report(0.85 + 0.1 * done, what))
        result = PredictionResult(evaluator, evaluation, (*inputs.warnings, *prediction.warnings))
        report(0.95, _("Computing the difference"))
        evaluator.difference()
        if dvhs == SLICERRT:
            result.useSlicerRt(lambda done, what: report(0.95 + 0.04 * done, what))
        result.noteWarnings()
        report(1.0, _("Done"))
    result.basis = Basis(predictor, case, prediction, like)
    result.seconds = time.perf_counter() - start
    return result


def _predicted(case: Case, predictor, interrupt: Interrupt) -> tuple:
    return predictor, predictor.predict(case, any_prescription=True, interrupt=interrupt)
