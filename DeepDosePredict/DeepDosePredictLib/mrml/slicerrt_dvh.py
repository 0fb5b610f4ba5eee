"""DVHs through the logic of SlicerRT's Dose Volume Histogram module, which comes with its own traps.

- Its settings live on the logic that the whole application shares: they are saved, set and put back.
- An error leaves logic and parameter node silent (their modified events disabled). Python can wake the node; the
  logic's switch is protected in C++, so only the next call without an error wakes it, and one is made.
- A call for many segments takes half the time of calls for each, but an error ends it for all: then one call for each.
- Negative doses are found when a table and a row of metrics exist already; metrics of such a table would crash. Rows
  cannot be taken out, so all is made anew without the segments that failed.
- Looking up a reference by a role that there is not makes an empty role, of which SlicerRT complains.
- A D-metric of the whole structure is 0 there: given as the minimum dose.
- Doses of whole numbers are interpolated to whole numbers.
- Headers may be translated: metrics are read by the position of their column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import slicer
import vtk

from ..dvh.metrics import Metric
from ..dvh.oversampled import OVERSAMPLING
from ..errors import DeepDoseError
from .dvh_result import DvhResult, DvhSettings, SegmentDvh, describeTable, methodOf, removeNodes
from .geometry import toImage
from .translation import tr as _

# Columns of SlicerRT's metrics table (enum of vtkMRMLDoseVolumeHistogramNode).
SHOW, VOLUME_CC, MEAN, MINIMUM, MAXIMUM, FIRST_METRIC = 0, 3, 4, 5, 6, 7
ROW_ATTRIBUTE = "DoseVolumeHistogram.TableRow"
DOSE_S, STRUCTURE_S = 0.3, 0.23
"""CPU seconds for each million voxels of a dose, and of each structure under it, in one call. Measured with SlicerRT's
steps (resampling to half the spacing, stencil, statistics, histogram) on doses of 64^3 to 192^3 voxels."""
LONGEST_S = 30.0
LARGEST_DOSE = 12_000_000
"""Voxels. For each the same steps held 80 bytes, so 1 GB for these."""

Pair = tuple[str, str]
"""(dose label, segment ID)."""


def findLogic() -> object | None:
    """The logic of SlicerRT's module, or None where SlicerRT is not installed."""
    module = getattr(getattr(slicer, "modules", None), "dosevolumehistogram", None)
    return module.logic() if module is not None else None


def slicerRtProblem(doses: Mapping[str, object], structures: int) -> str:
    """Why SlicerRT's DVHs of so many structures under these dose nodes would come too late or be wrong; else empty."""
    seconds = 0.0
    for node in doses.values():
        array = slicer.util.arrayFromVolume(node)
        seconds += array.size / 1e6 * (DOSE_S + STRUCTURE_S * structures)
        if array.size > LARGEST_DOSE:
            return (
                f"{node.GetName()} has {array.size / 1e6:.0f} million voxels, for which SlicerRT needs"
                f" {array.size * 80 / 1e9:.0f} GB of memory; the DVHs are the built-in ones"
            )
        if array.dtype.kind != "f":
            return (
                f"{node.GetName()} holds whole numbers, between which SlicerRT does not interpolate; the DVHs are the"
                " built-in ones"
            )
    if seconds > LONGEST_S:
        return (
            f"SlicerRT would take about {seconds:.0f} s for the DVHs of {structures} structures; the DVHs are the"
            " built-in ones"
        )
    return ""


def slicerRtDvhs(
    logic,
    builtIn: DvhResult,
    metrics: Sequence[Metric],
    settings: DvhSettings,
    progress: Callable[[float, str], None] = lambda done, what: None,
) -> DvhResult:
    """The DVHs of a run by SlicerRT, of all that the built-in code could compute and with what it had to say.

    The result has no curves where SlicerRT gave none at all; its failures then say why.
    """
    result = DvhResult(builtIn.segmentationNode, builtIn.doses, methodOf("SlicerRT", settings))
    result.failures.update(builtIn.failures)
    result.notes += builtIn.notes
    pairs = list(builtIn.curves)
    try:
        with _settings(logic, settings):
            if errors := _compute(logic, result, _byDose(result, pairs), progress):
                errors = _compute(logic, result, [[pair] for pair in pairs], progress)
                pairs = [pair for pair in pairs if (pair,) not in errors]
                for (pair,), error in errors.items():
                    dose = result.doses[pair[0]].GetName()
                    result.failures[pair] = f"{_name(result, pair)}: SlicerRT gives no DVH under {dose}: {error}"
                _compute(logic, result, _byDose(result, pairs), progress)
            if pairs:
                _readCurves(logic, result, _tables(result, pairs), metrics)
            else:
                _discard(result)
    except BaseException:
        _discard(result)
        raise
    finally:
        if _isSilent.get(id(logic)):
            _wake(logic, result.segmentationNode.GetScene())
    return result


def _byDose(result: DvhResult, pairs: Sequence[Pair]) -> list[list[Pair]]:
    groups = [[pair for pair in pairs if pair[0] == label] for label in result.doses]
    return [group for group in groups if group]


def _name(result: DvhResult, pair: Pair) -> str:
    return result.segmentationNode.GetSegmentation().GetSegment(pair[1]).GetName()


@contextmanager
def _settings(logic, settings: DvhSettings) -> Iterator[None]:
    """SlicerRT's shared settings as we need them, and back again."""
    wanted = {
        "StartValue": settings.start,
        "StepSize": settings.step,
        "DefaultDoseVolumeOversamplingFactor": float(OVERSAMPLING),
    }
    before = {name: getattr(logic, f"Get{name}")() for name in wanted}
    try:
        for name, value in wanted.items():
            getattr(logic, f"Set{name}")(value)
        yield
    finally:
        for name, value in before.items():
            getattr(logic, f"Set{name}")(value)


def _compute(
    logic, result: DvhResult, groups: Sequence[Sequence[Pair]], progress: Callable[[float, str], None]
) -> dict[tuple[Pair, ...], str]:
    """Run SlicerRT anew, a call for each group of segments under one dose; returns {group: error}."""
    _discard(result)
    node = result.segmentationNode.GetScene().AddNewNodeByClass("vtkMRMLDoseVolumeHistogramNode")
    if node is None:
        raise DeepDoseError("SlicerRT: its DVH module is installed but does not work in this scene; restart Slicer")
    result.parameterNode = node
    node.SetAndObserveSegmentationNode(result.segmentationNode)
    node.SetAutomaticOversampling(False)
    errors = {}
    for n, group in enumerate(groups):
        dose = result.doses[group[0][0]]
        what = _name(result, group[0]) if len(group) == 1 else _("{n} structures").format(n=len(group))
        words = _("SlicerRT's DVHs: {what} under {dose}").format(what=what, dose=dose.GetName())
        progress(n / len(groups), words)
        node.SetAndObserveDoseVolumeNode(dose)
        node.SetSelectedSegmentIDs([segmentId for _label, segmentId in group])
        error = logic.ComputeDvh(node)
        _isSilent[id(logic)] = bool(error)
        if error:
            node.EndModify(0)
            errors[tuple(group)] = error
    return errors


_isSilent: dict[int, bool] = {}
"""Whether the latest call to a logic, by its id, ended with an error."""


def _wake(logic, scene) -> None:
    """Have the DVH of a made-up structure computed: only a call without an error lets the logic speak again."""
    dose, segmentation, node = (
        scene.AddNewNodeByClass(f"vtkMRML{name}Node")
        for name in ("ScalarVolume", "Segmentation", "DoseVolumeHistogram")
    )
    try:
        slicer.util.updateVolumeFromArray(dose, np.ones((4, 4, 4), np.float32))
        image = slicer.vtkOrientedImageData()
        image.ShallowCopy(toImage(np.ones((4, 4, 4), np.uint8)))
        segment = slicer.vtkSegment()
        segment.AddRepresentation("Binary labelmap", image)
        segmentation.GetSegmentation().AddSegment(segment, "made-up")
        node.SetAndObserveSegmentationNode(segmentation)
        node.SetAndObserveDoseVolumeNode(dose)
        _isSilent[id(logic)] = bool(logic.ComputeDvh(node))
    finally:
        tables = _tablesOf(node)
        removeNodes([node.GetMetricsTableNode(), node.GetChartNode(), node, *tables, segmentation, dose])


def _tables(result: DvhResult, pairs: Sequence[Pair]) -> dict[Pair, object]:
    node, tables = result.parameterNode, {}
    for label, segmentId in pairs:
        node.SetAndObserveDoseVolumeNode(result.doses[label])
        role = node.AssembleDvhNodeReference(segmentId)
        tables[label, segmentId] = node.GetMetricsTableNode().GetNodeReference(role)
    return tables


def _tablesOf(parameterNode) -> list:
    """All DVH tables of a parameter node, half-made ones, too."""
    metrics = parameterNode.GetMetricsTableNode()
    roles = [metrics.GetNthNodeReferenceRole(n) for n in range(metrics.GetNumberOfNodeReferenceRoles())]
    return [metrics.GetNodeReference(role) for role in roles if role.startswith("DoseVolumeHistogram.")]


def _discard(result: DvhResult) -> None:
    """Take out all that a run made so far."""
    if (node := result.parameterNode) is not None:
        tables = _tablesOf(node)
        # The metrics table first: SlicerRT follows its changes and complains of roles without a table.
        nodes = [node.GetMetricsTableNode(), node.GetChartNode(), node, *tables]
        removeNodes(nodes, [result.segmentationNode, *result.doses.values()])
    result.curves.clear()
    result.parameterNode = None


def _readCurves(logic, result: DvhResult, tables: dict[tuple[str, str], object], metrics: Sequence[Metric]) -> None:
    columns = _computeMetrics(logic, result.parameterNode, metrics)
    metricsTable = result.parameterNode.GetMetricsTableNode().GetTable()
    for (label, segmentId), tableNode in tables.items():
        if tableNode.GetTable().GetColumnByName("Dose") is None:
            raise DeepDoseError(
                f"{result.doses[label].GetName()}: SlicerRT does not take this volume for a dose;"
                " mark it as dose in the Data module or load it as RT dose"
            )
        row = int(tableNode.GetAttribute(ROW_ATTRIBUTE))

        def number(column: int, row: int = row) -> float:
            return metricsTable.GetValue(row, column).ToDouble()

        volume, minimum = number(VOLUME_CC), number(MINIMUM)
        values = {metric: minimum if _isWhole(metric, volume) else number(column) for metric, column in columns.items()}
        curve = SegmentDvh(
            label,
            segmentId,
            _name(result, (label, segmentId)),
            tableNode,
            volume,
            number(MEAN),
            minimum,
            number(MAXIMUM),
            values,
        )
        result.curves[label, segmentId] = curve
        describeTable(curve, result.method)


def _isWhole(metric: Metric, volumeCc: float) -> bool:
    return (metric.kind == "D%" and metric.value >= 100) or (metric.kind == "Dcc" and metric.value >= volumeCc)


def _computeMetrics(logic, parameterNode, metrics: Sequence[Metric]) -> dict[Metric, int]:
    """Let SlicerRT compute the metrics of all tables; the column of each in its metrics table."""
    kinds = {kind: [metric for metric in metrics if metric.kind == kind] for kind in ("V", "Dcc", "D%")}
    texts = {kind: ", ".join(f"{metric.value:.10g}" for metric in group) for kind, group in kinds.items()}
    parameterNode.SetVDoseValues(texts["V"])
    parameterNode.SetShowVMetricsCc(False)
    parameterNode.SetShowVMetricsPercent(bool(kinds["V"]))
    parameterNode.SetDVolumeValuesCc(texts["Dcc"])
    parameterNode.SetDVolumeValuesPercent(texts["D%"])
    parameterNode.SetShowDMetrics(bool(kinds["Dcc"] or kinds["D%"]))
    done = logic.ComputeVMetrics(parameterNode) and logic.ComputeDMetrics(parameterNode)
    ordered = [*kinds["V"], *kinds["Dcc"], *kinds["D%"]]
    n = parameterNode.GetMetricsTableNode().GetTable().GetNumberOfColumns()
    if not done or n != FIRST_METRIC + len(ordered):
        raise DeepDoseError("SlicerRT: its DVH module could not compute the D- and V-metrics; see Slicer's error log")
    return {metric: FIRST_METRIC + position for position, metric in enumerate(ordered)}


def markShown(parameterNode, tableNodes: Sequence) -> None:
    """Tick just these tables in SlicerRT's metrics table, without the event by which it would switch the layout.

    Nothing happens without a parameter node.
    """
    if parameterNode is None:
        return
    table = parameterNode.GetMetricsTableNode().GetTable()
    shown = {int(node.GetAttribute(ROW_ATTRIBUTE)) for node in tableNodes}
    for row in range(table.GetNumberOfRows()):
        table.SetValue(row, SHOW, vtk.vtkVariant(int(row in shown)))
