"""The DVH chart: every structure in its segment's colour, the first dose solid, the second dashed."""

from __future__ import annotations

from math import ceil

import slicer

from .dvh_result import (
    DOSE_REFERENCE,
    OWN_PREFIX,
    PREFIX,
    SEGMENTATION_REFERENCE,
    SERIES_REFERENCE,
    DvhResult,
    curveOf,
    removeNodes,
)
from .slicerrt_dvh import markShown

TITLE, X_AXIS, Y_AXIS = "Dose Volume Histogram", "Dose [Gy]", "Fractional volume [%]"
# Legends longer than this get smaller letters, so that two doses of a dozen structures fit a chart of 400 pixels.
LONG_LEGEND = 12
# The dose axis goes on beyond the highest dose, so that the legend does not lie on the targets' curves.
ROOM_FOR_LEGEND = 1.4
PARAMETER_REFERENCE = OWN_PREFIX + "slicerRtParameterNode"


def dvhChart(dvhs: DvhResult, name: str = "DVH"):
    """A vtkMRMLPlotChartNode with the curves of a run, each a vtkMRMLPlotSeriesNode over its table.

    For curves from SlicerRT it is the chart of SlicerRT's parameter node, and SlicerRT knows the series as its own. Its
    AddDvhToChart is not used: it needs a plot view, switches the layout and styles by the tables of all earlier runs.
    """
    scene = dvhs.segmentationNode.GetScene()
    if dvhs.parameterNode is None:
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    else:
        chart = dvhs.parameterNode.GetChartNode()
        chart.SetNodeReferenceID(PARAMETER_REFERENCE, dvhs.parameterNode.GetID())
        markShown(dvhs.parameterNode, dvhs.tableNodes)
    wasModified = chart.StartModify()
    chart.SetName(name)
    chart.SetTitle(TITLE)
    chart.SetXAxisTitle(X_AXIS)
    chart.SetYAxisTitle(Y_AXIS)
    chart.SetTitleFontSize(16)
    chart.SetAxisTitleFontSize(12)
    chart.SetAxisLabelFontSize(10)
    chart.SetLegendVisibility(True)
    chart.SetLegendFontSize(12 if len(dvhs.curves) <= LONG_LEGEND else 9)
    for segmentId in dvhs.segmentIds():
        for position, label in enumerate(dvhs.doses):
            if (label, segmentId) in dvhs.curves:
                series = _series(dvhs, dvhs.curves[label, segmentId], position)
                chart.AddAndObservePlotSeriesNodeID(series.GetID())
                chart.AddAndObserveNodeReferenceID(SERIES_REFERENCE, series.GetID())
    if dvhs.curves:
        highest = max(curveOf(node)[0][-1] for node in dvhs.tableNodes)
        chart.SetXAxisRangeAuto(False)
        chart.SetXAxisRange(0, 10 * ceil(highest * ROOM_FOR_LEGEND / 10))
    chart.EndModify(wasModified)
    return chart


def runNodes(chartNode) -> list:
    """All nodes of the run that a chart shows: series, tables, SlicerRT's parameter node and metrics table, itself."""
    series = [chartNode.GetNthPlotSeriesNode(n) for n in range(chartNode.GetNumberOfPlotSeriesNodes())]
    tables = [one.GetTableNode() for one in series if one is not None]
    parameterNode = chartNode.GetNodeReference(PARAMETER_REFERENCE)
    metrics = parameterNode.GetMetricsTableNode() if parameterNode is not None else None
    nodes = [*series, *tables, metrics, parameterNode, chartNode]
    return [node for node in nodes if node is not None]


def removeRun(chartNode) -> None:
    """Take an earlier run's chart and DVHs out of the scene, also after the scene was saved and loaded."""
    nodes = runNodes(chartNode)
    inputs = [node.GetNodeReference(role) for node in nodes for role in (DOSE_REFERENCE, SEGMENTATION_REFERENCE)]
    removeNodes(nodes, {node for node in inputs if node is not None})


def _series(dvhs: DvhResult, curve, position: int):
    """A line for one table. The legend shows its name; the first dose goes without saying, which keeps it short."""
    series = dvhs.segmentationNode.GetScene().AddNewNodeByClass("vtkMRMLPlotSeriesNode")
    series.SetName(curve.name if position == 0 else f"{curve.name}, {curve.dose.lower()}")
    series.SetAttribute(PREFIX + "DVH", "1")
    series.SetAndObserveTableNodeID(curve.tableNode.GetID())
    series.SetXColumnName("Dose")
    series.SetYColumnName("Volume")
    series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
    series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
    solid, dash = slicer.vtkMRMLPlotSeriesNode.LineStyleSolid, slicer.vtkMRMLPlotSeriesNode.LineStyleDash
    series.SetLineStyle(solid if position == 0 else dash)
    series.SetColor(*dvhs.segmentationNode.GetSegmentation().GetSegment(curve.segmentId).GetColor())
    return series
