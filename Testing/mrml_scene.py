"""A MRML scene on slicer-core, set up as the Slicer application has it, and nodes for tests.

slicer-core has no application: no `slicer.app`, `slicer.modules` or `slicer.mrmlScene`. `Scene` makes the last two for
tests of code that meets Slicer's global state; the code under test takes the scene from its nodes.
"""

from __future__ import annotations

import types

import numpy as np
import pytest

slicer = pytest.importorskip("slicer", reason="needs slicer-core")
import vtk  # noqa: E402


class Scene:
    """A scene with the logics that the module needs; keep it alive as long as its nodes are used."""

    def __init__(self, cache_directory: str | None = None):
        output = vtk.vtkOutputWindow()
        output.SetDisplayModeToAlwaysStdErr()
        vtk.vtkOutputWindow.SetInstance(output)
        self.scene = slicer.vtkMRMLScene()
        self.application = slicer.vtkSlicerApplicationLogic()
        self.application.SetMRMLScene(self.scene)
        self.colors = self.application.GetColorLogic()
        self.colors.SetMRMLScene(self.scene)
        self.colors.AddDefaultColorNodes()
        self.application.SetModuleLogic("Colors", self.colors)
        self.scene.RegisterNodeClass(slicer.vtkMRMLColorLegendDisplayNode())  # as Slicer's Colors module does
        self.segmentations = self._register(slicer.vtkSlicerSegmentationsModuleLogic(), "Segmentations")
        self.volumes = self._register(slicer.vtkSlicerVolumesLogic(), "Volumes")
        self.subject_hierarchy = self._register(slicer.vtkSlicerSubjectHierarchyModuleLogic(), "SubjectHierarchy")
        self.plots = self._register(slicer.vtkSlicerPlotsLogic(), "Plots")
        if cache_directory:
            self.remote = slicer.vtkMRMLRemoteIOLogic()
            self.remote.SetMRMLScene(self.scene)
            self.remote.SetMRMLApplicationLogic(self.application)
            self.remote.GetCacheManager().SetRemoteCacheDirectory(cache_directory)
            self.remote.AddDataIOToScene()
        slicer.mrmlScene = self.scene
        slicer.modules = types.SimpleNamespace(
            segmentations=types.SimpleNamespace(logic=lambda: self.segmentations),
            volumes=types.SimpleNamespace(logic=lambda: self.volumes),
            plots=types.SimpleNamespace(logic=lambda: self.plots),
        )

    def _register(self, logic, name: str):
        logic.SetMRMLApplicationLogic(self.application)
        logic.SetMRMLScene(self.scene)
        self.application.SetModuleLogic(name, logic)
        return logic

    def volume(self, array: np.ndarray, ijk_to_ras: np.ndarray, name: str = "CT"):
        """A scalar volume node from a (K, J, I) array and its 4x4 IJK to RAS matrix."""
        node = self.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
        node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
        slicer.util.updateVolumeFromArray(node, array)
        node.CreateDefaultDisplayNodes()
        return node

    def segmentation(self, masks: dict[str, np.ndarray], ijk_to_ras: np.ndarray, name: str = "Structures"):
        """A segmentation node; each mask (K, J, I) becomes a segment with that name and ID, in a layer of its own."""
        node = self.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
        node.CreateDefaultDisplayNodes()
        for segment_id, mask in masks.items():
            segment = slicer.vtkSegment()
            segment.SetName(segment_id)
            segment.AddRepresentation("Binary labelmap", oriented_image(mask, ijk_to_ras))
            node.GetSegmentation().AddSegment(segment, segment_id)
        return node

    def transform(self, matrix: np.ndarray, name: str = "Transform"):
        """A linear transform node (to parent)."""
        node = self.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
        node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
        return node

    def node_names(self) -> set[str]:
        return {self.scene.GetNthNode(n).GetID() for n in range(self.scene.GetNumberOfNodes())}


def oriented_image(mask: np.ndarray, ijk_to_ras: np.ndarray):
    """vtkOrientedImageData (uint8) of a (K, J, I) mask."""
    image = slicer.vtkOrientedImageData()
    image.SetDimensions(*mask.shape[::-1])
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 1)
    array = vtk.util.numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())
    array[:] = np.ascontiguousarray(mask, np.uint8).ravel()
    image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras))
    return image


def lps_grid(spacing_kji, origin_lps=(0.0, 0.0, 0.0)) -> np.ndarray:
    """IJK to RAS of a grid whose I, J, K grow to Left, Posterior, Superior."""
    k, j, i = spacing_kji
    x, y, z = origin_lps
    return np.array([[-i, 0, 0, -x], [0, -j, 0, -y], [0, 0, k, z], [0, 0, 0, 1]], float)
