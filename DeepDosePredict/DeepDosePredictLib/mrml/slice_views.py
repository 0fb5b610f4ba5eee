"""What the slice views show: the CT with a dose or a difference over it, never those of two patients."""

from __future__ import annotations

import slicer
from slicer.util import VTKObservationMixin
from vtk import VTK_OBJECT, calldata_type, vtkCommand

from .patients import Kinship, isOwn, kinship
from .results import CT
from .segments import segmentShape

WASH_OPACITY = 0.5


def showLayers(ct, layer=None) -> None:
    """A volume as colour wash on the CT, None for no wash; the views are fitted to a CT that they did not show."""
    if ct is None:
        return
    fit = any(composite.GetBackgroundVolumeID() != ct.GetID() for composite in _composites())
    opacity = WASH_OPACITY if layer else 0.0
    slicer.util.setSliceViewerLayers(background=ct, foreground=layer, foregroundOpacity=opacity, fit=fit)


def areEmpty() -> bool:
    return not any(composite.GetBackgroundVolumeID() for composite in _composites())


def jumpTo(segmentation, segment: str) -> None:
    """Move all slices through the middle of a segment."""
    corners = segmentShape(segmentation, segment).corners()
    if len(corners):
        mode = slicer.vtkMRMLSliceNode.CenteredJumpSlice
        slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *corners.mean(axis=0), mode)


class PatientGuard(VTKObservationMixin):
    """Takes a result out of a slice view when the volume of another patient comes under it."""

    def __init__(self):
        super().__init__()
        for composite in _composites():
            self.addObserver(composite, vtkCommand.ModifiedEvent, self._onLayers)
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeAddedEvent, self._onNodeAdded)

    @calldata_type(VTK_OBJECT)
    def _onNodeAdded(self, caller, event, node) -> None:
        """A layout with more slice views."""
        if node.IsA("vtkMRMLSliceCompositeNode"):
            self.addObserver(node, vtkCommand.ModifiedEvent, self._onLayers)

    @staticmethod
    def _onLayers(composite, event) -> None:
        ids = composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID()
        under, over = (slicer.mrmlScene.GetNodeByID(i) if i else None for i in ids)
        if under is None or over is None or not isOwn(over) or over.GetNodeReference(CT) is under:
            return
        if kinship(under, over) < Kinship.SAME_PATIENT:
            composite.SetForegroundVolumeID(None)


def outline(segmentation) -> None:
    """Show structures as outlines: filled ones hide the dose below."""
    display = segmentation.GetDisplayNode()
    if display is not None:
        display.SetVisibility2DFill(False)
        display.SetVisibility2DOutline(True)


def showStructuresOf(ct) -> None:
    """Show the structures of a CT's patient and hide those of others; what is filed nowhere stays as it is."""
    for n in range(slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")):
        node = slicer.mrmlScene.GetNthNodeByClass(n, "vtkMRMLSegmentationNode")
        kin = kinship(ct, node)
        if node.GetDisplayNode() is not None and (kin >= Kinship.SAME_PATIENT or kin is Kinship.OTHER_PATIENT):
            node.GetDisplayNode().SetVisibility(kin >= Kinship.SAME_PATIENT)


def _composites() -> list:
    scene, name = slicer.mrmlScene, "vtkMRMLSliceCompositeNode"
    return [scene.GetNthNodeByClass(n, name) for n in range(scene.GetNumberOfNodesByClass(name))]
