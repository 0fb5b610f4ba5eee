"""The made-up head-and-neck patient as nodes of a scene."""

from __future__ import annotations

import numpy as np
import slicer

from ..patient.case import Case
from .geometry import toImage
from .scene_transaction import sceneTransaction
from .subject_hierarchy import fileAsDose

# Structure colours as they are often seen; the darker the red, the higher the prescription.
_COLORS = {
    "PTV70": (0.85, 0.1, 0.1),
    "PTV63": (1.0, 0.55, 0.1),
    "PTV56": (1.0, 0.85, 0.2),
    "Brainstem": (0.2, 0.6, 0.9),
    "SpinalCord": (0.1, 0.75, 0.75),
    "RightParotid": (0.55, 0.35, 0.85),
    "LeftParotid": (0.8, 0.4, 0.8),
    "Esophagus": (0.6, 0.45, 0.25),
    "Larynx": (0.25, 0.7, 0.3),
    "Mandible": (0.95, 0.9, 0.75),
}


def loadPhantom(scene=None):
    """(CT, segmentation, plan dose) nodes of the phantom, added to a scene, Slicer's own by default.

    PyTorch is needed to make it.
    """
    from ..phantom.anatomy import head_and_neck_phantom

    scene = scene or slicer.mrmlScene
    case = head_and_neck_phantom()
    with sceneTransaction(scene):
        ct = _volume(scene, "Phantom CT", case.ct, case)
        ct.GetScalarVolumeDisplayNode().AutoWindowLevelOff()
        ct.GetScalarVolumeDisplayNode().SetWindowLevel(400, 40)
        dose = _volume(scene, "Phantom plan dose", case.dose, case)
        fileAsDose(dose, ct)
        return ct, _segmentation(scene, case), dose


def _volume(scene, name: str, array: np.ndarray, case: Case):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(case.grid.ijk_to_ras))
    slicer.util.updateVolumeFromArray(node, array)
    node.CreateDefaultDisplayNodes()
    return node


def _segmentation(scene, case: Case):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Phantom structures")
    node.CreateDefaultDisplayNodes()
    matrix = slicer.util.vtkMatrixFromArray(case.grid.ijk_to_ras)
    for roi in case.rois.present():
        image = slicer.vtkOrientedImageData()
        image.ShallowCopy(toImage(case.rois[roi]))
        image.SetGeometryFromImageToWorldMatrix(matrix)
        segment = slicer.vtkSegment()
        segment.SetName(roi)
        segment.SetColor(*_COLORS[roi])
        segment.AddRepresentation("Binary labelmap", image)
        node.GetSegmentation().AddSegment(segment, roi)
    return node
