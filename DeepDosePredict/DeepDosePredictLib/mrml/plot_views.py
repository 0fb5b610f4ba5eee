"""What the plot views show: never the DVHs of another patient, or of a run that is gone."""

from __future__ import annotations

from .charts import RUN_REFERENCE
from .patients import isOwn


def showInPlaceOfOwn(scene, chart) -> None:
    """Plot views that show a chart of this program show this one instead, None for nothing; others stay as they are."""
    chartId = None if chart is None else chart.GetID()
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLPlotViewNode")):
        view = scene.GetNthNodeByClass(n, "vtkMRMLPlotViewNode")
        if _isOwnChart(view.GetPlotChartNode()):
            view.SetPlotChartNodeID(chartId)
    # By which the application fills the plot views of another layout.
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    active = selection.GetActivePlotChartID() if selection is not None else None
    if active and _isOwnChart(scene.GetNodeByID(active)):
        selection.SetActivePlotChartID(chartId)


def _isOwnChart(chart) -> bool:
    return chart is not None and (chart.GetNumberOfNodeReferences(RUN_REFERENCE) > 0 or isOwn(chart))
