"""Explored doses in a scene: dose node, DVHs, table with a column of its own, curves, objectives."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..dvh.metrics import openkbp_metrics, roi_doses
from ..errors import DeepDoseError
from ..patient.case import Case
from .dose_node import createDoseNode
from .evaluation import EvaluatedDose, Evaluator, scoreOf
from .results import CT, PREDICTED_DOSE, REFERENCE_DOSE, SEGMENTATION, WARNINGS, Results
from .scene_transaction import sceneTransaction
from .subject_hierarchy import createFolder
from .translation import tr as _


@dataclass(frozen=True)
class Basis:
    """What a prediction was made from and with, so that it can be explored.

    Attributes:
        predictor, prediction: see `model.predictor`.
        case: on the model's grid.
        like: volume node whose voxels the dose took, None for the model's.
    """

    predictor: object
    case: Case
    prediction: object
    like: object = None

    @cached_property
    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        """OpenKBP's metrics of the prediction: {structure: {metric: Gy}}."""
        doses = roi_doses(self.prediction.dose, self.case.rois)
        return openkbp_metrics(doses, self.case.voxel_volume_mm3)

    @cached_property
    def explorer(self):
        """The `Explorer`, made when it is first asked for."""
        from ..explore.explorer import Explorer  # PyTorch may not be installed

        return Explorer(self.predictor, self.case, self.prediction)


@dataclass
class ExplorationResult(EvaluatedDose):
    """What exploring leaves in the scene.

    Attributes:
        evaluation: chart, table and DVHs of reference, predicted and explored dose.
        explored: dose on the model's grid, priorities, metrics.
        unmet: in words, which wanted mean doses could not be had.
        basis: of the prediction that was explored.
        seconds: from nodes to nodes.
    """

    explored: object
    unmet: tuple[str, ...]
    basis: Basis
    seconds: float = 0.0

    @property
    def priorities(self) -> Mapping[str, float]:
        return self.explored.priorities

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before trusting the dose, in words; they are an attribute of the dose node, too."""
        return (*self.evaluator.inputs.warnings, *self.explored.warnings, *self.unmet, *self.evaluation.warnings)


def exploreDose(
    result,
    priorities: Mapping[str, float] | None = None,
    wanted: Mapping[str, float] | None = None,
    gantryAngles: Sequence[float] | None = None,
) -> ExplorationResult:
    """Put the dose for priorities into the scene of a prediction, beside it.

    Args:
        result: a `PredictionResult` whose nodes are still in their scene.
        priorities: {role: steps}, such as {"LeftParotid": 2}; see `Explorer.explore`.
        wanted: {role: mean dose in Gy}; see `reach`.
        gantryAngles: of the explored dose, in degrees; None takes the prediction's.

    Raises:
        DeepDoseError: says what cannot be explored. The scene is then as it was.
    """
    from ..explore.wanted import reach  # PyTorch may not be installed

    start = time.perf_counter()
    basis, predicted = result.basis, result.evaluator
    if predicted.doseNode.GetScene() is None:
        raise DeepDoseError("the predicted dose is no longer in the scene; predict again")
    explorer, unmet = basis.explorer, ()
    if wanted:
        reached = reach(explorer, wanted, priorities)
        priorities, unmet = reached.explored.priorities, reached.unmet
    explored = explorer.explore(priorities or {}, gantryAngles)
    with sceneTransaction(predicted.doseNode.GetScene(), [predicted.doseNode, *predicted.inputs.nodes]):
        evaluator = _placed(basis, predicted, explored)
        found = ExplorationResult(evaluator, evaluator.evaluate(), explored, unmet, basis)
        evaluator.difference()
        Results(evaluator.doseNode).note(WARNINGS, "\n".join(found.warnings))
    found.seconds = time.perf_counter() - start
    return found


def _placed(basis: Basis, predicted: Evaluator, explored) -> Evaluator:
    """The explored dose as a node, and what judges it."""
    from ..explore.explorer import priority_words  # PyTorch may not be installed

    inputs, case = predicted.inputs, basis.case
    words = priority_words(explored.priorities)
    provenance = {
        **predicted.provenance,
        "ExploredFrom": predicted.doseNode.GetName(),
        "Priorities": words,
        "GantryAngles": ", ".join(f"{angle:g}" for angle in explored.gantry_angles),
        "Warnings": "\n".join((*inputs.warnings, *explored.warnings)),
    }
    node = createDoseNode(explored.dose, case.grid, inputs.ctNode, case.prescription, basis.like, provenance)
    node.SetName(_("{ct} explored dose ({priorities})").format(ct=inputs.ctNode.GetName(), priorities=words))
    roles = (CT, inputs.ctNode), (SEGMENTATION, inputs.segmentationNode), (REFERENCE_DOSE, inputs.referenceDoseNode)
    for role, other in (*roles, (PREDICTED_DOSE, predicted.doseNode)):
        if other is not None:
            node.SetNodeReferenceID(role, other.GetID())
    createFolder(node, node.GetName())
    score = scoreOf(case, explored.dose)
    return Evaluator(node, inputs, predicted.criteria, score, provenance, predicted.doseNode)


def exploreTradeOff(result, role: str, metric: str = "mean", priorities: Mapping[str, float] | None = None) -> tuple:
    """What sparing an organ costs, as (TradeOff, plot chart node) beside a prediction; see `trade_off`."""
    from ..explore.trade_off import trade_off  # PyTorch may not be installed
    from .trade_off_chart import tradeOffChart

    curve = trade_off(result.basis.explorer, role, metric, priorities)
    with sceneTransaction(result.doseNode.GetScene(), [result.doseNode]):
        return curve, tradeOffChart(curve, result.doseNode, result.evaluator.inputs.roles)


def objectivesOf(result, path: str | Path | None = None, nodes: bool = False) -> list:
    """The `dose_objectives` of a `PredictionResult` or `ExplorationResult`.

    Args:
        path: file to write them to, .csv or .json; None for none.
        nodes: whether to put them into the scene as SlicerRT's objective nodes, too.
    """
    from ..explore.objectives import dose_objectives  # PyTorch may not be installed
    from ..io.objectives import write_objectives_csv, write_objectives_json
    from .objectives import objectiveNodes

    explorer = result.basis.explorer
    explored = result.explored if isinstance(result, ExplorationResult) else explorer.explore({})
    objectives = dose_objectives(explorer, explored)
    notes = result.evaluator.provenance
    label = "; ".join(filter(None, (notes["Model"], notes.get("Priorities"), notes["Use"])))
    if path is not None and Path(path).suffix.lower() not in (".csv", ".json"):
        raise DeepDoseError(f"{path}: objectives are written as .csv or .json")
    if path is not None and Path(path).suffix.lower() == ".csv":
        write_objectives_csv(path, objectives, label)
    elif path is not None:
        write_objectives_json(path, objectives, {**notes, "priorities": dict(explored.priorities)})
    if nodes:
        inputs = result.evaluator.inputs
        objectiveNodes(inputs.segmentationNode, objectives, inputs.roles)
    return objectives
