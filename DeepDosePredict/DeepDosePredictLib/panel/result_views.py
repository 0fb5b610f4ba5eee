"""Where results are seen: dose wash, isodose lines and difference in the slice views, the DVH chart, the CSV file."""

from __future__ import annotations

import slicer

from ..mrml import charts, comparison, isodose
from ..patient.structure_names import target_level

WASH_OPACITY = 0.5


def show_layer(ct, layer) -> None:
    """A volume as colour wash on the CT in all slice views; None takes the wash away."""
    slicer.util.setSliceViewerLayers(background=ct, foreground=layer, foregroundOpacity=WASH_OPACITY if layer else 0.0)


def show_isodose(dose, levels, model, visible: bool):
    """Isodose lines of a dose; made when first shown. Returns their model node, or None."""
    if model is None and visible:
        model = isodose.isodoseModel(dose, levels)
    if model is not None:
        model.GetDisplayNode().SetVisibility(visible)
        model.GetDisplayNode().SetVisibility2D(visible)
    return model


def isodose_levels(roles) -> tuple[float, ...]:
    """In Gy, for the highest prescription among the roles."""
    levels = [level for level in map(target_level, roles) if level is not None]
    return isodose.isodoseLevels(max(levels, default=70.0))


def show_chart(chart) -> None:
    """Put the DVH chart in a layout with a plot view."""
    slicer.modules.plots.logic().ShowChartInLayout(chart)


def export_csv(table, path: str) -> None:
    comparison.exportComparisonCsv(table, path)


def remove_results(dose, table, chart, difference, model) -> None:
    """Take the nodes of an earlier prediction out of the scene, each may be None, with all that belongs to them."""
    if chart is not None:
        charts.removeRun(chart)
    if model is not None:
        isodose.removeIsodose(model)
    for node in (dose, table, difference):
        if node is not None and node.GetScene() is not None:
            _remove(node)


def _remove(node) -> None:
    """A node with its display and storage nodes, which the scene would keep."""
    scene = node.GetScene()
    parts = [node.GetStorageNode(), node]
    if node.IsA("vtkMRMLDisplayableNode"):
        parts += [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    for part in parts:
        if part is not None:
            scene.RemoveNode(part)
