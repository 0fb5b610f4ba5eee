"""The DVH chart: structures in their segments' colours, the first dose solid, the second dashed."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

import slicer

from .dvh_result import (
    DOSE_REFERENCE,
    EXPLORED,
    OWN_PREFIX,
    PREFIX,
    SEGMENTATION_REFERENCE,
    SERIES_REFERENCE,
    DvhResult,
    curveOf,
    removeNodes,
)
from .slicerrt_dvh import markShown
from .translation import tr as _

LEGEND_FONT_SIZE, LONGEST_NAME, MOST_CURVES_OF_LEGEND = 9, 14, 20
"""So that a legend lies within a chart of 440 x 350 pixels beside the curves; one of more curves is left out, because
the metrics table shows the colours, too."""
ROOM_FOR_LEGEND, ROOM = 1.6, 1.05
"""The dose axis goes on beyond the highest dose, with a legend so far that it does not lie on the curves."""
LINE_WIDTH, DOTTED_WIDTH, HIGHLIGHTED_WIDTH = 2.0, 3.0, 5.0
RUN_REFERENCE = OWN_PREFIX + "dvhRun"
"""Role by which a chart refers to all nodes of its run; SlicerRT may take series off it."""
METRICS_REFERENCE = "dvhMetricsTableRef"
PARAMETER_REFERENCE = OWN_PREFIX + "slicerRtParameterNode"


def dvhChart(dvhs: DvhResult, name: str = "DVH", shown: Iterable[str] | None = None):
    """A vtkMRMLPlotChartNode with the curves of a run, each a vtkMRMLPlotSeriesNode over its table.

    `shown`: IDs of the segments whose curves are seen at first, None for all; see `showStructure`.

    For curves from SlicerRT it is the chart of SlicerRT's parameter node, and SlicerRT knows the series as its own. Its
    AddDvhToChart is not used: it needs a plot view, switches the layout and styles by the tables of all earlier runs.
    """
    scene = dvhs.segmentationNode.GetScene()
    if dvhs.parameterNode is None:
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    else:
        chart = dvhs.parameterNode.GetChartNode()
        chart.SetNodeReferenceID(PARAMETER_REFERENCE, dvhs.parameterNode.GetID())
    wasModified = chart.StartModify()
    chart.SetName(name)
    chart.SetTitle(_title(dvhs))
    chart.SetXAxisTitle(_("Dose [Gy]"))
    chart.SetYAxisTitle(_("Fractional volume [%]"))
    chart.SetTitleFontSize(14)
    chart.SetAxisTitleFontSize(12)
    chart.SetAxisLabelFontSize(10)
    chart.SetLegendFontSize(LEGEND_FONT_SIZE)
    chosen = dvhs.segmentIds() if shown is None else set(shown)
    for segmentId in dvhs.segmentIds():
        for position, label in enumerate(dvhs.doses):
            if (label, segmentId) in dvhs.curves:
                series = _series(dvhs, dvhs.curves[label, segmentId], position)
                chart.AddNodeReferenceID(RUN_REFERENCE, series.GetID())
                if segmentId in chosen:
                    _add(chart, series)
    for node in dvhs.nodes:
        chart.AddNodeReferenceID(RUN_REFERENCE, node.GetID())
    _fit(chart)
    chart.EndModify(wasModified)
    return chart


def structuresOf(chartNode) -> dict[str, bool]:
    """{segment ID: whether its curves are seen}, in the order of the run."""
    seen = set(map(_segmentOf, _plotted(chartNode)))
    return {segmentId: segmentId in seen for segmentId in map(_segmentOf, _allSeries(chartNode))}


def colorsOf(chartNode) -> dict[str, tuple[float, float, float]]:
    """{segment ID: colour of its curves, red, green and blue from 0 to 1}."""
    return {_segmentOf(series): series.GetColor() for series in _allSeries(chartNode)}


def showStructure(chartNode, segmentId: str, visible: bool) -> None:
    """Add the curves of a structure to a chart, or take them off it."""
    plotted = _plotted(chartNode)
    for series in _allSeries(chartNode):
        if _segmentOf(series) != segmentId or (series in plotted) is visible:
            continue
        if visible:
            _add(chartNode, series)
        else:
            _take(chartNode, series)
    _fit(chartNode)


def showAlike(chartNode, earlier) -> None:
    """Let a chart show the structures that an earlier one shows."""
    for segmentId, visible in structuresOf(earlier).items():
        showStructure(chartNode, segmentId, visible)


def highlight(chartNode, segmentId: str | None) -> None:
    """Draw the curves of a structure bold, and all others thin."""
    for series in _allSeries(chartNode):
        series.SetLineWidth(HIGHLIGHTED_WIDTH if _segmentOf(series) == segmentId else _width(series.GetLineStyle()))


def runNodes(chartNode) -> list:
    """All nodes of the run that a chart belongs to: series, tables, SlicerRT's parameter node and metrics, itself."""
    nodes = [
        chartNode.GetNthNodeReference(RUN_REFERENCE, n)
        for n in range(chartNode.GetNumberOfNodeReferences(RUN_REFERENCE))
    ]
    return [node for node in dict.fromkeys([*nodes, *_plotted(chartNode), chartNode]) if node is not None]


def removeRun(chartNode) -> None:
    """Take an earlier run's chart and DVHs out of the scene, also after the scene was saved and loaded."""
    nodes = runNodes(chartNode)
    tables = [node for node in nodes if node.IsA("vtkMRMLTableNode")]
    inputs = [node.GetNodeReference(role) for node in tables for role in (DOSE_REFERENCE, SEGMENTATION_REFERENCE)]
    # SlicerRT's metrics table first: by its ticks SlicerRT would make curves anew while they are taken out.
    metrics = [table.GetNodeReference(METRICS_REFERENCE) for table in tables]
    removeNodes([*metrics, *nodes], {node for node in inputs if node is not None})


def _series(dvhs: DvhResult, curve, position: int):
    """A line for one table; the legend shows its name."""
    series = dvhs.segmentationNode.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode")
    style, label = _style(dvhs, curve.dose, position)
    series.SetName(f"{_shortened(curve.name)} {label}".strip())
    series.SetLineWidth(_width(style))
    series.SetAttribute(PREFIX + "DVH", "1")
    series.SetAndObserveTableNodeID(curve.tableNode.GetID())
    series.SetXColumnName("Dose")
    series.SetYColumnName("Volume")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    series.SetLineStyle(style)
    series.SetColor(*dvhs.segmentationNode.GetSegmentation().GetSegment(curve.segmentId).GetColor())
    return series


def _title(dvhs: DvhResult) -> str:
    if EXPLORED not in dvhs.doses:
        return _("Dose Volume Histogram") if len(dvhs.doses) < 2 else _("DVH: reference solid, predicted dashed")
    if len(dvhs.doses) < 3:
        return _("DVH: predicted dashed, explored dotted")
    return _("DVH: reference solid, predicted dashed, explored dotted")


def _style(dvhs: DvhResult, dose: str, position: int) -> tuple[int, str]:
    """Line style of a dose's curves, and how the legend calls it."""
    kind = slicer.vtkMRMLPlotSeriesNode
    if dose == EXPLORED:
        return kind.LineStyleDot, _("expl")
    if position or (EXPLORED in dvhs.doses and len(dvhs.doses) < 3):
        return kind.LineStyleDash, _("pred")
    return kind.LineStyleSolid, "" if len(dvhs.doses) < 2 else _("ref")


def _width(style: int) -> float:
    """Dots need more to be seen."""
    return DOTTED_WIDTH if style == slicer.vtkMRMLPlotSeriesNode.LineStyleDot else LINE_WIDTH


def _shortened(name: str) -> str:
    """With its end, which often tells the side."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 5]}…{name[-4:]}"


def _fit(chart) -> None:
    """Fit legend and dose axis to the curves that are plotted, and SlicerRT's ticks where the curves are its own."""
    plotted = _plotted(chart)
    tables = [node for node in (series.GetTableNode() for series in _allSeries(chart)) if node is not None]
    hasLegend = len(plotted) <= MOST_CURVES_OF_LEGEND
    chart.SetLegendVisibility(hasLegend)
    if tables:
        highest = max(curveOf(table)[0][-1] for table in tables)
        chart.SetXAxisRangeAuto(False)
        chart.SetXAxisRange(0, 10 * ceil(highest * (ROOM_FOR_LEGEND if hasLegend else ROOM) / 10))
    shown = [series.GetTableNode() for series in plotted if series.GetTableNode() is not None]
    markShown(chart.GetNodeReference(PARAMETER_REFERENCE), shown)


def _segmentOf(series) -> str:
    table = series.GetTableNode()
    return table.GetAttribute(PREFIX + "SegmentID") if table is not None else ""


def _allSeries(chartNode) -> list:
    """Of the run, in its order, whether plotted or not."""
    return [node for node in runNodes(chartNode) if node.IsA("vtkMRMLPlotSeriesNode")]


def _plotted(chartNode) -> list:
    series = [chartNode.GetNthPlotSeriesNode(n) for n in range(chartNode.GetNumberOfPlotSeriesNodes())]
    return [one for one in series if one is not None]


def _add(chart, series) -> None:
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    chart.AddAndObserveNodeReferenceID(SERIES_REFERENCE, series.GetID())


def _take(chart, series) -> None:
    chart.RemovePlotSeriesNodeID(series.GetID())
    for n in reversed(range(chart.GetNumberOfNodeReferences(SERIES_REFERENCE))):
        if chart.GetNthNodeReferenceID(SERIES_REFERENCE, n) == series.GetID():
            chart.RemoveNthNodeReferenceID(SERIES_REFERENCE, n)
