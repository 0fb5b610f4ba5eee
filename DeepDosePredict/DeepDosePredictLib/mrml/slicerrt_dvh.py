"""DVHs through the logic of SlicerRT's Dose Volume Histogram module, which comes with its own traps.

- Its settings live on the logic that the whole application shares: they are saved, set and put back.
- An error leaves logic and parameter node silent (their modified events disabled). Python can wake the node; the
  logic's switch is protected in C++, so only the next call without an error wakes it, and one is made.
- An error ends a call for all its segments: one call for each.
- Negative doses are found when a table and a row of metrics exist already; metrics of such a table would crash.
- A D-metric of the whole structure is 0 there: given as the minimum dose.
- Headers may be translated: metrics are read by the position of their column.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import slicer
import vtk

from ..dvh.metrics import Metric
from ..dvh.oversampled import OVERSAMPLING
from ..errors import DeepDoseError
from .dvh_result import DvhResult, DvhSettings, SegmentDvh, describeTable, removeNodes, whyEmpty
from .segments import segmentShape

# Columns of SlicerRT's metrics table (enum of vtkMRMLDoseVolumeHistogramNode).
SHOW, VOLUME_CC, MEAN, MINIMUM, MAXIMUM, FIRST_METRIC = 0, 3, 4, 5, 6, 7
ROW_ATTRIBUTE = "DoseVolumeHistogram.TableRow"


def findLogic() -> object | None:
    """The logic of SlicerRT's module, or None where SlicerRT is not installed."""
    module = getattr(getattr(slicer, "modules", None), "dosevolumehistogram", None)
    return module.logic() if module is not None else None


def slicerRtDvhs(
    logic, result: DvhResult, segmentIds: Sequence[str], metrics: Sequence[Metric], settings: DvhSettings
) -> None:
    """Fill a result through SlicerRT: curves, metrics, failures and the parameter node, for all its doses."""
    usable = _usableSegments(result, segmentIds)
    pairs = [(label, segmentId) for label in result.doses for segmentId in usable]
    tables: dict[tuple[str, str], object] = {}
    try:
        with _settings(logic, settings):
            _compute(logic, result, pairs, tables)
            if any(pair in tables for pair in result.failures):
                # Rows of the metrics table cannot be taken out, so all is made anew without the half-made ones.
                _discard(result, tables)
                _compute(logic, result, [pair for pair in pairs if pair not in result.failures], tables)
            if tables:
                _readCurves(logic, result, tables, metrics)
            else:
                _discard(result, tables)
    except BaseException:
        _discard(result, tables)
        raise


def _usableSegments(result: DvhResult, segmentIds: Sequence[str]) -> list[str]:
    """Segments that exist and have voxels; SlicerRT would crash on the first kind of the others."""
    usable = []
    for segmentId in segmentIds:
        try:
            if len(segmentShape(result.segmentationNode, segmentId).corners()):
                usable.append(segmentId)
                continue
            reason = whyEmpty(_name(result, segmentId))
        except DeepDoseError as error:
            reason = str(error)
        result.failures.update(dict.fromkeys(((label, segmentId) for label in result.doses), reason))
    return usable


def _name(result: DvhResult, segmentId: str) -> str:
    return result.segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()


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


def _compute(logic, result: DvhResult, pairs: Sequence[tuple[str, str]], tables: dict) -> None:
    """Run SlicerRT for (dose label, segment ID) pairs with a new parameter node; `tables` gets half-made ones too."""
    node = result.segmentationNode.GetScene().AddNewNodeByClass("vtkMRMLDoseVolumeHistogramNode")
    if node is None:
        raise DeepDoseError("SlicerRT: its DVH module is installed but does not work in this scene; restart Slicer")
    result.parameterNode = node
    node.SetAndObserveSegmentationNode(result.segmentationNode)
    node.SetAutomaticOversampling(False)
    silent = False
    for label, segmentId in pairs:
        node.SetAndObserveDoseVolumeNode(result.doses[label])
        node.SetSelectedSegmentIDs([segmentId])
        error = logic.ComputeDvh(node)
        silent = bool(error)
        if error:
            node.EndModify(0)
            result.failures[label, segmentId] = (
                f"{_name(result, segmentId)}: SlicerRT gives no DVH under {result.doses[label].GetName()}: {error}"
            )
        table = node.GetMetricsTableNode().GetNodeReference(node.AssembleDvhNodeReference(segmentId))
        if table is not None:
            tables[label, segmentId] = table
    done = [pair for pair in tables if pair not in result.failures]
    if silent and done:
        _wake(logic, result, *done[-1])


def _wake(logic, result: DvhResult, label: str, segmentId: str) -> None:
    """Have a DVH computed once more that is known to work: its table is written again, and the logic speaks again."""
    result.parameterNode.SetAndObserveDoseVolumeNode(result.doses[label])
    result.parameterNode.SetSelectedSegmentIDs([segmentId])
    logic.ComputeDvh(result.parameterNode)


def _discard(result: DvhResult, tables: dict) -> None:
    """Take out all that a run made so far."""
    removeNodes(tables.values(), [result.segmentationNode, *result.doses.values()])
    result.removeNodes()
    tables.clear()


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
            _name(result, segmentId),
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
    """Tick the tables in SlicerRT's metrics table, without the event by which it would switch to a plot layout."""
    table = parameterNode.GetMetricsTableNode().GetTable()
    for node in tableNodes:
        table.SetValue(int(node.GetAttribute(ROW_ATTRIBUTE)), SHOW, vtk.vtkVariant(1))
