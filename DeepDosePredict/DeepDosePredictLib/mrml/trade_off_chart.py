"""What sparing an organ costs, as a plot: its dose against D95 of the targets, with the reference plan's points."""

from __future__ import annotations

from math import ceil, floor

import slicer
import vtk

from ..explore.trade_off import COVERAGE, TradeOff
from .charts import LEGEND_FONT_SIZE, LINE_WIDTH, ROOM_FOR_LEGEND
from .dvh_result import OWN_PREFIX
from .results import SEGMENTATION
from .subject_hierarchy import fileInFolder, folderOf
from .translation import tr as _

SENTENCE = OWN_PREFIX + "Sentence"
PRIORITY = "Priority"


def tradeOffChart(curve: TradeOff, doseNode, roles) -> object:
    """A vtkMRMLPlotChartNode in the folder of a predicted dose; its title is the curve's sentence.

    Args:
        roles: {role: segment IDs}; curves of targets have their segments' colours.
    """
    scene = doseNode.GetScene()
    name = f"{curve.structure} {curve.metric}"
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", _("What sparing costs: {name}").format(name=name))
    chart.SetTitle(curve.sentence())
    chart.SetAttribute(SENTENCE, "; ".join(filter(None, (curve.sentence(), curve.judgement()))))
    chart.SetXAxisTitle(_("D95 of the target [Gy]"))
    chart.SetYAxisTitle(f"{name} [Gy]")
    chart.SetTitleFontSize(12)
    chart.SetLegendFontSize(LEGEND_FONT_SIZE)
    table = _node(scene, name, _curveTable(curve))
    made = [chart, table]
    segmentation = doseNode.GetNodeReference(SEGMENTATION)
    for target in curve.targets:
        color = _color(segmentation, roles.get(target, ()))
        made.append(_series(table, target, color, isLine=True))
    if curve.reference is not None:
        planned = _node(scene, f"{name} " + _("reference"), _referenceTable(curve))
        made.append(planned)
        for target in curve.targets:
            color = _color(segmentation, roles.get(target, ()))
            made.append(_series(planned, target, color, isLine=False))
    for node in made:
        if node.IsA("vtkMRMLPlotSeriesNode"):
            chart.AddAndObservePlotSeriesNodeID(node.GetID())
    chart.SetXAxisRangeAuto(False)
    chart.SetXAxisRange(*_range(curve))
    fileInFolder(folderOf(doseNode), [node for node in made if not node.IsA("vtkMRMLPlotChartNode")])
    fileInFolder(folderOf(doseNode), [chart])
    return chart


def _curveTable(curve: TradeOff) -> dict[str, list[float]]:
    """{column: values}: the organ's dose, its priority, and D95 of the targets."""
    columns = {curve.structure: [*curve.values], PRIORITY: [point.priority for point in curve.points]}
    return {**columns, **{target: [*curve.coverage(target)] for target in curve.targets}}


def _referenceTable(curve: TradeOff) -> dict[str, list[float]]:
    """The same point twice, since a chart's line has at least two."""
    planned = curve.reference
    return {curve.structure: [curve.value(planned)] * 2, **{one: [planned[one][COVERAGE]] * 2 for one in curve.targets}}


def _range(curve: TradeOff) -> tuple[float, float]:
    """Of the axis of D95, with room for the legend."""
    d95s = [value for target in curve.targets for value in curve.coverage(target)]
    if curve.reference is not None:
        d95s += [curve.reference[target][COVERAGE] for target in curve.targets]
    low, high = floor(min(d95s)) - 1, ceil(max(d95s)) + 1
    return low, low + ROOM_FOR_LEGEND * (high - low)


def _node(scene, name: str, columns: dict[str, list[float]]):
    table = vtk.vtkTable()
    for title, values in columns.items():
        column = vtk.vtkDoubleArray()
        column.SetName(title)
        for value in values:
            column.InsertNextValue(float(value))
        table.AddColumn(column)
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    node.SetAndObserveTable(table)
    return node


def _series(table, target: str, color, isLine: bool):
    kind = slicer.vtkMRMLPlotSeriesNode
    words = target if isLine else _("{target} ref").format(target=target)
    series = table.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode")
    series.SetName(words)
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetXColumnName(target)
    series.SetYColumnName(table.GetTable().GetColumnName(0))
    series.SetPlotType(kind.PlotTypeScatter)
    series.SetLineStyle(kind.LineStyleSolid if isLine else kind.LineStyleNone)
    series.SetMarkerStyle(kind.MarkerStyleCircle if isLine else kind.MarkerStyleDiamond)
    series.SetMarkerSize(6 if isLine else 12)
    series.SetLineWidth(LINE_WIDTH)
    series.SetColor(*color)
    return series


def _color(segmentation, segmentIds) -> tuple[float, float, float]:
    segments = [segmentation.GetSegmentation().GetSegment(one) for one in segmentIds] if segmentation else []
    return next((segment.GetColor() for segment in segments if segment is not None), (0.5, 0.5, 0.5))
