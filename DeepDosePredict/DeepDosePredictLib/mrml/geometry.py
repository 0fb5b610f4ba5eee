"""Where volume nodes lie in the world, and sampling them with VTK."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk, vtk_to_numpy

from ..errors import DeepDoseError
from ..geometry.volume import Volume, without_noise
from ..patient.grid import Grid


def linearToWorld(node) -> np.ndarray:
    """4x4 from a transformable node's own coordinates to world RAS; DeepDoseError for a non-linear transform."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise DeepDoseError(
            f"{node.GetName()}: it lies under the non-linear transform {parent.GetName()};"
            " harden the transform (Data module) or take the node out of it"
        )
    matrix = vtk.vtkMatrix4x4()
    parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def volumeGrid(volumeNode) -> Grid:
    """Where a volume node's voxels lie in the world, its linear parent transforms included."""
    image = volumeNode.GetImageData()
    if image is None or not image.GetPointData().GetScalars():
        raise DeepDoseError(f"{volumeNode.GetName()}: this volume has no voxels; load it again or choose another")
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    ijkToRas = linearToWorld(volumeNode) @ slicer.util.arrayFromVTKMatrix(matrix)
    if not np.isfinite(ijkToRas).all() or abs(np.linalg.det(ijkToRas[:3, :3])) < 1e-9:
        raise DeepDoseError(
            f"{volumeNode.GetName()}: its spacing or directions are degenerate; check the geometry"
            " in the Volumes module"
        )
    return Grid(tuple(image.GetDimensions()[::-1]), ijkToRas)


def volumeOf(volumeNode) -> Volume:
    """A volume node's voxels and where they lie."""
    grid = volumeGrid(volumeNode)
    return Volume(volumeNode.GetName(), slicer.util.arrayFromVolume(volumeNode), grid, reslice)


def sampleVolume(volumeNode, grid: Grid, background: float = 0.0, smooth: bool = False) -> np.ndarray:
    """(K, J, I) float32 of a volume node on a grid; see `Volume.sampled`."""
    return volumeOf(volumeNode).sampled(grid, background, smooth)


def sample(array: np.ndarray, source: Grid, grid: Grid, background: float = 0.0, smooth: bool = False) -> np.ndarray:
    """Like `sampleVolume`, of a (K, J, I) array that lies on the grid `source`."""
    return Volume("", array, source, reslice).sampled(grid, background, smooth)


def reslice(array: np.ndarray, source: Grid, grid: Grid, background: float, linear: bool) -> np.ndarray:
    """An array on `source` at the voxel centres of `grid`, linearly or by the nearest voxel."""
    matrix = source.ras_to_ijk @ grid.ijk_to_ras
    reslicer = vtk.vtkImageReslice()
    reslicer.SetInputData(toImage(array))
    transform = vtk.vtkMatrixToLinearTransform()
    transform.SetInput(slicer.util.vtkMatrixFromArray(without_noise(matrix)))
    reslicer.SetResliceTransform(transform)
    reslicer.SetOutputOrigin(0, 0, 0)
    reslicer.SetOutputSpacing(1, 1, 1)
    k, j, i = grid.shape
    reslicer.SetOutputExtent(0, i - 1, 0, j - 1, 0, k - 1)
    reslicer.SetBackgroundLevel(background)
    if linear:
        reslicer.SetInterpolationModeToLinear()
        reslicer.SetOutputScalarType(vtk.VTK_FLOAT)
    else:
        reslicer.SetInterpolationModeToNearestNeighbor()
    reslicer.Update()
    return vtk_to_numpy(reslicer.GetOutput().GetPointData().GetScalars()).reshape(grid.shape)


def toImage(array: np.ndarray) -> vtk.vtkImageData:
    """vtkImageData in voxel coordinates over a copy of a (K, J, I) array."""
    array = np.ascontiguousarray(array, np.uint8 if array.dtype == bool else None)
    image = vtk.vtkImageData()
    image.SetDimensions(*array.shape[::-1])
    scalars = numpy_to_vtk(array.ravel(), deep=True, array_type=get_vtk_array_type(array.dtype))
    image.GetPointData().SetScalars(scalars)
    return image
