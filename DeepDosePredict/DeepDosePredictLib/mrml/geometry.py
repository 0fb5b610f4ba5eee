"""Voxel grids in the world, and sampling volume nodes on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import get_vtk_array_type, numpy_to_vtk, vtk_to_numpy

from ..core.errors import DeepDoseError

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Grid:
    """A regular voxel grid.

    Attributes:
        shape: (K, J, I).
        ijkToRas: 4x4 float64, from voxel (i, j, k, 1) to world RAS in mm.
    """

    shape: tuple[int, int, int]
    ijkToRas: np.ndarray

    @property
    def spacing(self) -> tuple[float, float, float]:
        """(k, j, i) in mm."""
        return tuple(float(x) for x in np.linalg.norm(self.ijkToRas[:3, :3], axis=0)[::-1])

    @property
    def rasToIjk(self) -> np.ndarray:
        return np.linalg.inv(self.ijkToRas)

    @property
    def voxelVolume(self) -> float:
        """In mm3."""
        return float(abs(np.linalg.det(self.ijkToRas[:3, :3])))

    def crop(self, box: Box) -> Grid:
        """The part of the grid that a box of (k, j, i) slices covers."""
        start = [s.start for s in box][::-1]
        return Grid(tuple(s.stop - s.start for s in box), self.ijkToRas @ _translation(start))

    def refined(self, factors: Sequence[int]) -> Grid:
        """Each voxel cut into `factors` (k, j, i) parts; the outer faces stay where they are."""
        return Grid(tuple(n * f for n, f in zip(self.shape, factors, strict=True)), self.ijkToRas @ _scaling(factors))

    def corners(self, margin: float = 0.5) -> np.ndarray:
        """(8, 3) world RAS of the corners, `margin` voxels beyond the outermost voxel centres."""
        ends = [(-margin, n - 1 + margin) for n in self.shape[::-1]]
        ijk = np.stack(np.meshgrid(*ends), -1).reshape(-1, 3)
        return transformed(self.ijkToRas, ijk)

    def boxAround(self, points: np.ndarray, margin: int = 1) -> Box:
        """Slices (k, j, i) of the voxels around world points (N, 3), widened by `margin` and cut to the grid.

        Of zero size where the points lie outside the grid.
        """
        ijk = transformed(self.rasToIjk, points)
        low, high = np.floor(ijk.min(0)) - margin, np.ceil(ijk.max(0)) + margin + 1
        starts = [int(np.clip(x, 0, n)) for x, n in zip(low, self.shape[::-1], strict=True)]
        stops = [int(np.clip(x, 0, n)) for x, n in zip(high, self.shape[::-1], strict=True)]
        return tuple(slice(a, max(a, b)) for a, b in zip(starts[::-1], stops[::-1], strict=True))

    def sameAs(self, other: Grid) -> bool:
        """Whether voxels coincide to a thousandth of a voxel."""
        if self.shape != other.shape:
            return False
        shift = transformed(self.rasToIjk, other.corners(0)) - transformed(self.rasToIjk, self.corners(0))
        return bool(np.abs(shift).max() < 1e-3)


def transformed(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(N, 3) points mapped by a 4x4 matrix."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def linearToWorld(node) -> np.ndarray:
    """4x4 from a transformable node's own coordinates to world RAS; DeepDoseError for a non-linear transform."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    if not parent.IsTransformToWorldLinear():
        raise DeepDoseError(f"{node.GetName()}: it lies under the non-linear transform {parent.GetName()};"
                            " harden the transform (Data module) or take the node out of it")
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
        raise DeepDoseError(f"{volumeNode.GetName()}: its spacing or directions are degenerate; check the geometry"
                            " in the Volumes module")
    return Grid(tuple(image.GetDimensions()[::-1]), ijkToRas)


def sampleVolume(volumeNode, grid: Grid, background: float = 0.0, smooth: bool = False) -> np.ndarray:
    """(K, J, I) float32 of a volume node on a grid, linearly interpolated; `background` outside the volume.

    With `smooth`, voxels smaller than the grid's are averaged first, so that detail finer than the grid does not alias.
    """
    return sample(slicer.util.arrayFromVolume(volumeNode), volumeGrid(volumeNode), grid, background, smooth)


def sample(array: np.ndarray, source: Grid, grid: Grid, background: float = 0.0, smooth: bool = False) -> np.ndarray:
    """Like `sampleVolume`, of a (K, J, I) array that lies on the grid `source`."""
    box = source.boxAround(grid.corners(), margin=1 + max(_factors(source, grid)) if smooth else 1)
    if any(s.stop <= s.start for s in box):
        return np.full(grid.shape, background, np.float32)
    array, source = array[box], source.crop(box)
    if smooth:
        array, source = averaged(array, source, _factors(source, grid))
    return reslice(array, source, grid, background, linear=True)


def averaged(array: np.ndarray, grid: Grid, factors: Sequence[int]) -> tuple[np.ndarray, Grid]:
    """Means over blocks of `factors` (k, j, i) voxels, as float32, and their grid; the last blocks repeat the edge."""
    array = array.astype(np.float32) if all(f == 1 for f in factors) else array
    for axis, factor in enumerate(factors):
        if factor > 1:
            array = _averagedAlong(array, axis, factor)
    coarse = grid.ijkToRas @ _scaling([1 / f for f in factors])
    return array, Grid(array.shape, coarse)


def _averagedAlong(array: np.ndarray, axis: int, factor: int) -> np.ndarray:
    excess = -array.shape[axis] % factor
    if excess:
        array = np.pad(array, [(0, excess if a == axis else 0) for a in range(3)], mode="edge")
    # Strided sums: numpy's mean over a short inner axis takes ten times as long.
    parts = [array[(slice(None),) * axis + (slice(n, None, factor),)] for n in range(factor)]
    total = parts[0].astype(np.float32)
    for part in parts[1:]:
        total += part
    return total / np.float32(factor)


def reslice(array: np.ndarray, source: Grid, grid: Grid, background: float, linear: bool) -> np.ndarray:
    """An array on `source` at the voxel centres of `grid`, linearly or by the nearest voxel."""
    matrix = source.rasToIjk @ grid.ijkToRas
    reslicer = vtk.vtkImageReslice()
    reslicer.SetInputData(toImage(array))
    transform = vtk.vtkMatrixToLinearTransform()
    transform.SetInput(slicer.util.vtkMatrixFromArray(_withoutNoise(matrix)))
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


def _withoutNoise(matrix: np.ndarray) -> np.ndarray:
    """Rounding errors of 1e-12 voxels would send whole faces of a grid that coincides with another out of it."""
    return np.where(np.abs(matrix - np.rint(matrix)) < 1e-6, np.rint(matrix), matrix)


def _factors(source: Grid, grid: Grid) -> tuple[int, int, int]:
    """How many source voxels (k, j, i) fit along the grid's most parallel axis."""
    directions = source.ijkToRas[:3, :3] / np.linalg.norm(source.ijkToRas[:3, :3], axis=0)
    targets = grid.ijkToRas[:3, :3]
    units = targets / np.linalg.norm(targets, axis=0)
    steps = np.linalg.norm(targets, axis=0)[np.abs(directions.T @ units).argmax(1)]
    ratios = steps / np.linalg.norm(source.ijkToRas[:3, :3], axis=0)
    return tuple(max(1, int(r + 0.1)) for r in ratios[::-1])


def _scaling(factors: Sequence[float]) -> np.ndarray:
    """From voxels of a grid refined by `factors` (k, j, i) to voxels of the grid; outer faces coincide."""
    scale = 1 / np.asarray(factors, float)[::-1]
    return np.block([[np.diag(scale), (scale[:, None] - 1) / 2], [np.zeros((1, 3)), np.ones((1, 1))]])


def _translation(ijk: Sequence[float]) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, 3] = ijk
    return matrix
