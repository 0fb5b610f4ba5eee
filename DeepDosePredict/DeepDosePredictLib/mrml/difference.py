"""The difference of two doses as a volume, shown blue where the prediction is lower and red where it is higher."""

from __future__ import annotations

from math import ceil

import numpy as np
import slicer

from ..errors import DeepDoseError
from .color_bar import addColorBar
from .dvh_result import removeNodes
from .geometry import sampleVolume, volumeGrid
from .translation import tr as _

COLORS_ATTRIBUTE = "DeepDosePredict.DifferenceColors"
N_COLORS = 256
# Differences from 0 below this part of the window's half are transparent over the CT.
TRANSPARENT = 0.05
BLUE, WHITE, RED = (0.02, 0.19, 0.58), (1.0, 1.0, 1.0), (0.6, 0.0, 0.05)


def differenceVolume(referenceDoseNode, doseNode, name: str | None = None):
    """A vtkMRMLScalarVolumeNode with predicted minus reference dose in Gy, float32, on the reference dose's grid.

    The predicted dose is interpolated linearly there and counts as 0 outside its own grid. The window is symmetric
    around 0; differences close to 0 are transparent. The node lies under the reference dose's transform.
    """
    for node in (referenceDoseNode, doseNode):
        if node is None:
            raise DeepDoseError("Difference volume: it needs a reference dose and a predicted dose; choose both")
    predicted = sampleVolume(doseNode, volumeGrid(referenceDoseNode))
    reference = slicer.util.arrayFromVolume(referenceDoseNode)
    if reference.ndim != 3:
        raise DeepDoseError(
            f"{referenceDoseNode.GetName()}: a dose has one number for each voxel; choose a scalar volume"
        )
    difference = predicted - reference.astype(np.float32)
    scene = referenceDoseNode.GetScene()
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    try:
        node.SetName(name or f"{doseNode.GetName()} minus {referenceDoseNode.GetName()}")
        node.CopyOrientation(referenceDoseNode)
        node.SetAndObserveTransformNodeID(referenceDoseNode.GetTransformNodeID())
        slicer.util.updateVolumeFromArray(node, difference)
        node.SetAttribute("DeepDosePredict.Difference", "predicted minus reference, Gy, on the reference grid")
        _display(node, difference)
        addColorBar(node, _("Difference [Gy]"))
    except BaseException:
        removeDifference(node)
        raise
    return node


def removeDifference(node) -> None:
    """Take a difference volume out of the scene with its display node; the colour table stays for the next."""
    removeNodes([node])


def differenceColors(scene):
    """The diverging vtkMRMLColorTableNode, blue - white - red with a transparent middle; made once for a scene."""
    for n in range(scene.GetNumberOfNodesByClass("vtkMRMLColorTableNode")):
        node = scene.GetNthNodeByClass(n, "vtkMRMLColorTableNode")
        if node.GetAttribute(COLORS_ATTRIBUTE):
            return node
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", "Dose difference")
    node.SetTypeToUser()
    node.SetNumberOfColors(N_COLORS)
    for n in range(N_COLORS):
        position = 2 * n / (N_COLORS - 1) - 1
        end = BLUE if position < 0 else RED
        color = [w + (e - w) * abs(position) ** 0.5 for w, e in zip(WHITE, end, strict=True)]
        node.SetColor(n, f"{100 * position:+.0f}%", *color, float(abs(position) >= TRANSPARENT))
    node.SetAttribute(COLORS_ATTRIBUTE, "1")
    node.SetAttribute("Category", "Dose")
    return node


def differenceWindow(difference: np.ndarray) -> float:
    """Whole Gy, at least 1, that all but a fiftieth of the voxels with a difference stay within."""
    sizes = np.abs(difference[difference != 0])
    return max(1.0, ceil(np.quantile(sizes, 0.98))) if sizes.size else 1.0


def _display(node, difference: np.ndarray) -> None:
    colors = differenceColors(node.GetScene())
    node.CreateDefaultDisplayNodes()
    display = node.GetDisplayNode()
    display.SetAndObserveColorNodeID(colors.GetID())
    display.AutoWindowLevelOff()
    display.SetWindowLevel(2 * differenceWindow(difference), 0.0)
