"""What a predicted dose is judged by: DVHs, chart, comparison table and difference to a reference dose."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..dvh.goals import Goal, read_goals
from ..dvh.metrics import Metric, PatientScore, score_patient
from ..patient.case import Case
from ..patient.rois import DOSE_MASK, EXTERNAL
from ..patient.structure_names import is_help_structure
from ..resources import goals_path
from .charts import dvhChart, runNodes
from .comparison import comparisonTable, metricsOf, parseMetrics, plannedRows
from .difference import differenceVolume
from .dvh import computeDvhs
from .inputs import Inputs, segmentNames
from .results import CHART, DIFFERENCE, TABLE, Results
from .subject_hierarchy import fileAsDose, fileInFolder, folderOf, isDose

REFERENCE, PREDICTED = "Reference", "Predicted"
Progress = Callable[[float, str], None]
"""Called with the part done (0 to 1) and what is being done."""


@dataclass(frozen=True)
class Criteria:
    """What is asked of a dose.

    Attributes:
        goals: clinical goals.
        metrics: DVH metrics for every structure, besides the usual ones.
    """

    goals: Sequence[Goal] = ()
    metrics: tuple[Metric, ...] = ()

    @classmethod
    def of(cls, template: str | None, metrics: str = "") -> Criteria:
        """From a template of goals, by name or path, None for none, and metrics such as "D2%, V20Gy"."""
        return cls(read_goals(goals_path(template)) if template else (), parseMetrics(metrics))


@dataclass
class Evaluation:
    """Nodes and numbers about a predicted dose.

    Attributes:
        metricsTableNode, chartNode: of all its DVHs.
        differenceNode: None without a reference dose.
        dvhTableNodes: {("Reference" or "Predicted", segment ID): table node}.
        score: OpenKBP's, in Gy; None without a reference dose.
        warnings: in words.
    """

    metricsTableNode: object
    chartNode: object
    differenceNode: object | None
    dvhTableNodes: dict[tuple[str, str], object]
    score: PatientScore | None
    warnings: list[str] = field(default_factory=list)


def scoreOf(case: Case, dose: np.ndarray) -> PatientScore | None:
    """OpenKBP's scores of a dose on the case's grid; None without a reference dose."""
    if case.dose is None:
        return None
    return score_patient(case.name, case.dose, dose, case.rois, case.dose_mask, case.voxel_volume_mm3)


def evaluateDose(
    doseNode,
    inputs: Inputs,
    criteria: Criteria,
    score: PatientScore | None,
    provenance: Mapping[str, str],
    progress: Progress,
) -> Evaluation:
    """DVHs, chart, table and difference of a dose that is in the scene."""
    warnings: list[str] = []
    doses = {PREDICTED: doseNode}
    reference = inputs.referenceDoseNode
    if reference is not None:
        doses = {REFERENCE: reference, PREDICTED: doseNode}
        if not isDose(reference):
            fileAsDose(reference, doseNode)
            warnings.append(f"{reference.GetName()} was not marked as a dose; its values were taken as Gy")
    progress(0.75, "Computing DVHs")
    segments = evaluatedSegments(inputs)
    rows = plannedRows(inputs.segmentationNode, segments, inputs.roles, criteria.goals, criteria.metrics)
    dvhs = computeDvhs(inputs.segmentationNode, segments, doses, metricsOf(rows))
    progress(0.9, "Making chart and table")
    name = doseNode.GetName()
    chart = dvhChart(dvhs, f"{name} DVH")
    scores = {} if score is None else {"doseScore": score.dose_error, "dvhScore": score.dvh_error}
    table = comparisonTable(dvhs, rows, provenance, name=f"{name} comparison", **scores)
    difference = None if reference is None else differenceVolume(reference, doseNode)
    results = Results(doseNode)
    for role, node in ((TABLE, table), (CHART, chart), (DIFFERENCE, difference)):
        results.refer(role, node)
    tables = {key: curve.tableNode for key, curve in dvhs.curves.items()}
    fileInFolder(folderOf(doseNode), runNodes(chart))
    return Evaluation(table, chart, difference, tables, score, [*warnings, *dvhs.warnings])


def evaluatedSegments(inputs: Inputs) -> list[str]:
    """Segments worth a DVH: those with a role first, then every other structure that is not a help structure."""
    skipped = {segment for role in (EXTERNAL, DOSE_MASK) for segment in inputs.roles.get(role, ())}
    inRole = [segment for segments in inputs.roles.values() for segment in segments if segment not in skipped]
    others = [
        segment
        for segment, name in segmentNames(inputs.segmentationNode).items()
        if segment not in (*skipped, *inRole) and not is_help_structure(name)
    ]
    return [*inRole, *others]
