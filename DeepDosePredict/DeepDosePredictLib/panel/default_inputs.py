"""What the panel selects when it is opened on a scene for the first time."""

from __future__ import annotations

from ..mrml.dose_node import ATTRIBUTE
from ..mrml.subject_hierarchy import DOSE_ATTRIBUTE


def default_inputs(scene) -> tuple:
    """(first volume that is no dose, first segmentation, first reference dose); None for what there is not."""
    volumes = [
        scene.GetNthNodeByClass(n, "vtkMRMLScalarVolumeNode")
        for n in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode"))
    ]
    volumes = [
        node for node in volumes if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors()
    ]
    cts = [node for node in volumes if not _is_dose(node) and not _is_own(node)]
    doses = [node for node in volumes if _is_dose(node) and not _is_own(node)]
    return (cts or [None])[0], scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"), (doses or [None])[0]


def _is_dose(node) -> bool:
    return node.GetAttribute(DOSE_ATTRIBUTE) is not None


def _is_own(node) -> bool:
    return any(name.startswith(ATTRIBUTE) for name in node.GetAttributeNames())
