"""The predicted dose as a volume node."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import slicer
import vtk

from ..errors import DeepDoseError
from .color_bar import addColorBar
from .geometry import Grid, linearToWorld, sample, volumeGrid
from .subject_hierarchy import fileAsDose
from .translation import tr as _

OUTPUT_GRIDS = ("model", "ct", "reference")
ATTRIBUTE = "DeepDosePredict."
COLORS = "DeepDosePredict_Dose"
WINDOW, THRESHOLD = 1.1, 0.05
"""Upper end of the window and lower threshold, in units of the highest prescription."""
# Cold to hot as dose washes are usually shown: position, red, green, blue.
_STOPS = (
    (0.0, 0.0, 0.0, 0.55),
    (0.25, 0.0, 0.55, 1.0),
    (0.45, 0.0, 0.85, 0.55),
    (0.65, 0.75, 0.95, 0.1),
    (0.8, 1.0, 0.75, 0.0),
    (0.91, 1.0, 0.3, 0.0),
    (1.0, 0.75, 0.0, 0.15),
)


def nodeOfGrid(outputGrid: str, ctNode, referenceDoseNode=None):
    """The volume node whose voxels a dose takes for an output grid; None for the model's. DeepDoseError without one."""
    nodes = {"model": None, "ct": ctNode, "reference": referenceDoseNode}
    if outputGrid not in OUTPUT_GRIDS or (outputGrid == "reference" and referenceDoseNode is None):
        raise DeepDoseError(f"output grid {outputGrid!r}: choose model, ct or, with a reference dose, reference")
    return nodes[outputGrid]


def createDoseNode(
    dose: np.ndarray,
    grid: Grid,
    ctNode,
    prescription: float,
    like=None,
    provenance: Mapping[str, str] | None = None,
):
    """A dose volume node in Gy beside the CT, ready to be shown as dose wash and to be used by SlicerRT.

    Args:
        dose: (K, J, I) float32 Gy on `grid`.
        prescription: highest prescription in Gy, for window and threshold.
        like: volume node to whose voxels the dose is resampled linearly, and whose parent transform it shares; None
            keeps `grid`.
        provenance: becomes attributes of the node, saved with it.
    """
    node = ctNode.GetScene().AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    node.SetName(f"{ctNode.GetName()} predicted dose")
    if like is None:
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(grid.ijk_to_ras))
    else:
        target = volumeGrid(like)
        dose = sample(dose, grid, target)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.linalg.inv(linearToWorld(like)) @ target.ijk_to_ras))
        node.SetAndObserveTransformNodeID(like.GetTransformNodeID())
    slicer.util.updateVolumeFromArray(node, np.maximum(dose, 0, dtype=np.float32))
    for key, value in (provenance or {}).items():
        node.SetAttribute(ATTRIBUTE + key, str(value))
    _display(node, prescription)
    addColorBar(node, _("Dose [Gy]"))
    fileAsDose(node, ctNode)
    return node


def provenanceOf(node) -> dict[str, str]:
    """What `createDoseNode` was given."""
    return {
        name.removeprefix(ATTRIBUTE): node.GetAttribute(name)
        for name in node.GetAttributeNames()
        if name.startswith(ATTRIBUTE)
    }


def doseColors(scene):
    """Colour table node for dose washes, made once per scene."""
    node = scene.GetFirstNodeByName(COLORS)
    if node is not None:
        return node
    node = slicer.vtkMRMLColorTableNode()
    node.SetName(COLORS)
    node.SetTypeToUser()
    node.SetHideFromEditors(False)
    node.SetNumberOfColors(256)
    positions, *channels = zip(*_STOPS, strict=True)
    for n, rgb in enumerate(zip(*(np.interp(np.linspace(0, 1, 256), positions, c) for c in channels), strict=True)):
        node.SetColor(n, f"{n / 255:.0%}", *map(float, rgb), 1.0)
    return scene.AddNode(node)


def _display(node, prescription: float) -> None:
    node.CreateDefaultDisplayNodes()
    display = node.GetScalarVolumeDisplayNode()
    display.SetAndObserveColorNodeID(doseColors(node.GetScene()).GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevelMinMax(0, WINDOW * prescription)
    display.AutoThresholdOff()
    display.SetThreshold(THRESHOLD * prescription, vtk.VTK_SHORT_MAX)
    display.ApplyThresholdOn()
    display.InterpolateOn()
