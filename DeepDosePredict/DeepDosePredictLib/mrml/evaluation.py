"""What a predicted dose is judged by: DVHs, chart, comparison table and difference to a reference dose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..dvh.goals import Goal, read_goals
from ..dvh.metrics import Metric, PatientScore, score_patient
from ..errors import DeepDoseError
from ..patient.case import Case
from ..patient.rois import DOSE_MASK, EXTERNAL
from ..patient.structure_names import is_help_structure
from ..resources import goals_path
from .background import Progress, silently
from .charts import dvhChart, runNodes
from .comparison import comparisonTable, metricsOf, parseMetrics, plannedRows
from .difference import differenceVolume
from .dvh import computeDvhs
from .dvh_result import EXPLORED, DvhResult, DvhSettings, removeNodes
from .inputs import Inputs, segmentNames
from .plot_views import showInPlaceOfOwn
from .results import CHART, DIFFERENCE, TABLE, Results
from .slicerrt_dvh import findLogic, slicerRtDvhs, slicerRtProblem
from .subject_hierarchy import fileAsDose, fileInFolder, folderOf, isDose

REFERENCE, PREDICTED = "Reference", "Predicted"


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
    """Nodes and words about a predicted dose.

    Attributes:
        metricsTableNode, chartNode: of all its DVHs.
        dvhTableNodes: {("Reference" or "Predicted", segment ID): table node}.
        warnings: in words.
    """

    metricsTableNode: object
    chartNode: object
    dvhTableNodes: dict[tuple[str, str], object]
    warnings: tuple[str, ...] = ()


def scoreOf(case: Case, dose: np.ndarray) -> PatientScore | None:
    """OpenKBP's scores of a dose on the case's grid; None without a reference dose."""
    if case.dose is None:
        return None
    return score_patient(case.name, case.dose, dose, case.rois, case.dose_mask, case.voxel_volume_mm3)


@dataclass
class Evaluator:
    """Judges a predicted dose that is in the scene: by the built-in DVHs, then, where asked, by SlicerRT's instead.

    Attributes:
        doseNode: the predicted dose.
        score: OpenKBP's; None without a reference dose.
        provenance: what the prediction rests on.
        predictedDoseNode: from which the dose was explored, None where it is the prediction itself.
    """

    doseNode: object
    inputs: Inputs
    criteria: Criteria
    score: PatientScore | None
    provenance: Mapping[str, str]
    predictedDoseNode: object | None = None

    def __post_init__(self) -> None:
        reference = self.inputs.referenceDoseNode
        self.doses = {} if reference is None else {REFERENCE: reference}
        if self.predictedDoseNode is not None:
            self.doses[PREDICTED] = self.predictedDoseNode
        self.doses[EXPLORED if self.predictedDoseNode is not None else PREDICTED] = self.doseNode
        self.notes: list[str] = []
        if reference is not None and not isDose(reference):
            fileAsDose(reference, self.doseNode)
            self.notes.append(f"{reference.GetName()} was not marked as a dose; its values were taken as Gy")
        segmentation, segments = self.inputs.segmentationNode, evaluatedSegments(self.inputs)
        self.rows = plannedRows(segmentation, segments, self.inputs.roles, self.criteria.goals, self.criteria.metrics)
        self.builtIn = self.latest = None

    def evaluate(self, progress: Progress = silently) -> Evaluation:
        """Chart and table of the built-in DVHs."""
        segments = evaluatedSegments(self.inputs)
        metrics, node = metricsOf(self.rows), self.inputs.segmentationNode
        self.builtIn = computeDvhs(node, segments, self.doses, metrics, progress=progress)
        return self._placed(self.builtIn)

    def difference(self) -> None:
        """The difference to the reference dose as a volume; nothing without one."""
        if reference := self.inputs.referenceDoseNode:
            Results(self.doseNode).refer(DIFFERENCE, differenceVolume(reference, self.doseNode))

    def withSlicerRt(self, progress: Progress) -> Evaluation:
        """Chart and table of SlicerRT's DVHs in the place of those before; these, with a note, where it gives none."""
        logic = findLogic()
        if logic is None:
            return self.latest
        dvhs, why = None, (slicerRtProblem(self.doses, len(self.builtIn.segmentIds())),)
        if not any(why):
            try:
                dvhs = slicerRtDvhs(logic, self.builtIn, metricsOf(self.rows), DvhSettings(), progress)
                why = dvhs.warnings
            except DeepDoseError as error:
                why = (f"{error}; the DVHs are the built-in ones",)
        if dvhs is None or not dvhs.curves:
            self.latest.warnings = tuple(dict.fromkeys((*self.latest.warnings, *why)))
            return self.latest
        results = Results(self.doseNode)
        earlier = [results.metricsTableNode, *runNodes(results.chartNode)]
        evaluation = self._placed(dvhs)
        showInPlaceOfOwn(self.doseNode.GetScene(), evaluation.chartNode)
        removeNodes(earlier, [self.inputs.segmentationNode, *self.doses.values()])
        return evaluation

    def _placed(self, dvhs: DvhResult) -> Evaluation:
        name, roles = self.doseNode.GetName(), self.inputs.roles
        ofModel = [segment for segments in roles.values() for segment in segments]
        chart = dvhChart(dvhs, f"{name} DVH", ofModel)
        scores = {} if self.score is None else {"doseScore": self.score.dose_error, "dvhScore": self.score.dvh_error}
        table = comparisonTable(dvhs, self.rows, self.provenance, name=f"{name} comparison", **scores)
        for role, node in ((TABLE, table), (CHART, chart)):
            Results(self.doseNode).refer(role, node)
        ofCurves = ("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode")
        fileInFolder(folderOf(self.doseNode), [node for node in runNodes(chart) if node.GetClassName() in ofCurves])
        tables = {key: curve.tableNode for key, curve in dvhs.curves.items()}
        self.latest = Evaluation(table, chart, tables, (*self.notes, *dvhs.warnings))
        return self.latest


@dataclass
class EvaluatedDose:
    """A dose in the scene with what judges it."""

    evaluator: Evaluator
    evaluation: Evaluation

    @property
    def doseNode(self):
        return self.evaluator.doseNode

    @property
    def metricsTableNode(self):
        return self.evaluation.metricsTableNode

    @property
    def chartNode(self):
        return self.evaluation.chartNode


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
