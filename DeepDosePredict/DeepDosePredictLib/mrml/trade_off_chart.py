"""What sparing an organ costs, as a plot: its dose against D95 of the targets, with the reference plan's points."""

from __future__ import annotations

import slicer
import vtk

from ..explore.trade_off import COVERAGE, TradeOff
from .charts import LEGEND_FONT_SIZE, LINE_WIDTH
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
        made.append(_series(table, target, f"{name} ", color, isLine=True))
    if curve.reference is not None:
        planned = _node(scene, f"{name} " + _("reference"), _referenceTable(curve))
        made.append(planned)
        for target in curve.targets:
            color = _color(segmentation, roles.get(target, ()))
            made.append(_series(planned, target, f"{name} ", color, isLine=False))
    for node in made:
        if node.IsA("vtkMRMLPlotSeriesNode"):
            chart.AddAndObservePlotSeriesNodeID(node.GetID())
    fileInFolder(folderOf(doseNode), [node for node in made if not node.IsA("vtkMRMLPlotChartNode")])
    fileInFolder(folderOf(doseNode), [chart])
    return chart


def _curveTable(curve: TradeOff) -> dict[str, list[float]]:
    """{column: values}: the organ's dose, its priority, and D95 of the targets."""
    columns = {curve.structure: [*curve.values], PRIORITY: [point.priority for point in curve.points]}
    return {**columns, **{target: [*curve.coverage(target)] for target in curve.targets}}


def _referenceTable(curve: TradeOff) -> dict[str, list[float]]:
    planned = curve.reference
    return {curve.structure: [curve.value(planned)], **{one: [planned[one][COVERAGE]] for one in curve.targets}}


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


def _series(table, target: str, prefix: str, color, isLine: bool):
    kind = slicer.vtkMRMLPlotSeriesNode
    words = target if isLine else _("{target} of the reference plan").format(target=target)
    series = table.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode", prefix + words)
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
