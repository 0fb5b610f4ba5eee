"""Segments on any grid: from binary labelmaps, closed surfaces or planar contours, whichever the segmentation holds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..core.errors import DeepDoseError
from .contours import contoursToLabelmap
from .geometry import Box, Grid, averaged, linearToWorld, reslice, transformed

LABELMAP, SURFACE, CONTOUR = "Binary labelmap", "Closed surface", "Planar contour"
SAMPLES = (3, 3, 3)
"""Samples (k, j, i) per voxel for coverage; an odd number, so that no voxel is covered by exactly half."""


class SegmentShape(ABC):
    """Where a segment is."""

    @abstractmethod
    def corners(self) -> np.ndarray:
        """(N, 3) world points around the segment; none for an empty one."""

    @abstractmethod
    def centresInside(self, grid: Grid) -> np.ndarray:
        """(K, J, I) bool, the voxels of a grid whose centres lie inside."""

    def inside(self, grid: Grid) -> tuple[Box, np.ndarray]:
        """Box of the grid (of zero size for an empty segment) and bool array of the voxel centres inside."""
        corners = self.corners()
        box = grid.boxAround(corners) if len(corners) else (slice(0, 0),) * 3
        if any(s.stop <= s.start for s in box):
            return (slice(0, 0),) * 3, np.zeros((0, 0, 0), bool)
        return box, self.centresInside(grid.crop(box))

    def coverage(self, grid: Grid) -> tuple[Box, np.ndarray]:
        """Box of the grid and float32 array of the part of each voxel that the segment covers, by finer samples."""
        corners = self.corners()
        box = grid.boxAround(corners) if len(corners) else (slice(0, 0),) * 3
        if any(s.stop <= s.start for s in box):
            return (slice(0, 0),) * 3, np.zeros((0, 0, 0), np.float32)
        part = grid.crop(box)
        fine = part.refined(SAMPLES)
        return box, averaged(self.centresInside(fine), fine, SAMPLES)[0].astype(np.float32)


@dataclass(frozen=True)
class LabelmapShape(SegmentShape):
    """A segment as a bool array (K, J, I), cropped to its voxels, on its own grid."""

    mask: np.ndarray
    grid: Grid

    @classmethod
    def cropped(cls, mask: np.ndarray, grid: Grid) -> LabelmapShape:
        """Cut a mask to its voxels; quick on large volumes because each axis looks only at what the last one left."""
        for axis in range(3) if mask.size else ():
            used = np.flatnonzero(np.moveaxis(mask, axis, 0).reshape(mask.shape[axis], -1).any(1))
            start, stop = (int(used[0]), int(used[-1]) + 1) if used.size else (0, 0)
            box = tuple(slice(start, stop) if a == axis else slice(0, n) for a, n in enumerate(mask.shape))
            mask, grid = mask[box], grid.crop(box)
        return cls(mask, grid)

    def corners(self) -> np.ndarray:
        return self.grid.corners() if self.mask.size else np.zeros((0, 3))

    def centresInside(self, grid: Grid) -> np.ndarray:
        return reslice(self.mask, self.grid, grid, 0, linear=False).astype(bool)


@dataclass(frozen=True)
class SurfaceShape(SegmentShape):
    """A segment as a closed surface.

    Attributes:
        surface: vtkPolyData in the segmentation's coordinates.
        toWorld: 4x4 from these to world RAS.
    """

    surface: vtk.vtkPolyData
    toWorld: np.ndarray

    def corners(self) -> np.ndarray:
        if not self.surface.GetNumberOfPoints():
            return np.zeros((0, 3))
        x = self.surface.GetBounds()
        return transformed(self.toWorld, np.stack(np.meshgrid(x[:2], x[2:4], x[4:]), -1).reshape(-1, 3))

    def centresInside(self, grid: Grid) -> np.ndarray:
        return _insideSurface(self.surface, grid, self.toWorld)


def segmentShape(segmentationNode, segmentId: str) -> SegmentShape:
    """The shape of a segment in the world, from its source representation or, without one, from any that it has.

    DeepDoseError if there is no such segment or nothing to read its shape from.
    """
    segmentation = segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(segmentId)
    if segment is None:
        raise DeepDoseError(f"{segmentationNode.GetName()}: it has no segment {segmentId!r}; choose the segment again")
    toWorld = linearToWorld(segmentationNode)
    for name in (segmentation.GetSourceRepresentationName(), CONTOUR, LABELMAP, SURFACE):
        representation = segment.GetRepresentation(name)
        if representation is None:
            continue
        if name == LABELMAP:
            return _labelmapShape(representation, segment.GetLabelValue(), toWorld)
        if name == CONTOUR and representation.GetNumberOfCells():
            mask, grid = contoursToLabelmap(representation, f"{segmentationNode.GetName()}, {segment.GetName()}")
            return LabelmapShape.cropped(mask, Grid(grid.shape, toWorld @ grid.ijkToRas))
        if name in (SURFACE, CONTOUR):
            return SurfaceShape(representation, toWorld)
    raise DeepDoseError(f"{segmentationNode.GetName()}, {segment.GetName()}: this segment has no labelmap, surface or"
                        " contour; convert it in the Segmentations module")


def _labelmapShape(image, label: int, toWorld: np.ndarray) -> LabelmapShape:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    first = np.eye(4)
    first[:3, 3] = image.GetExtent()[::2]
    shape = image.GetDimensions()[::-1]
    scalars = image.GetPointData().GetScalars()
    values = vtk_to_numpy(scalars).reshape(shape) if scalars else np.zeros((0, 0, 0), np.uint8)
    grid = Grid(values.shape, toWorld @ slicer.util.arrayFromVTKMatrix(matrix) @ first)
    return LabelmapShape.cropped(values == label, grid)


def _insideSurface(surface: vtk.vtkPolyData, grid: Grid, toWorld: np.ndarray) -> np.ndarray:
    """Which voxel centres of a grid lie inside a surface; computed in voxel coordinates, so the grid may be oblique."""
    transform = vtk.vtkTransform()
    transform.SetMatrix(slicer.util.vtkMatrixFromArray(grid.rasToIjk @ toWorld))
    mover = vtk.vtkTransformPolyDataFilter()
    mover.SetInputData(surface)
    mover.SetTransform(transform)
    stencil = vtk.vtkPolyDataToImageStencil()
    stencil.SetInputConnection(mover.GetOutputPort())
    stencil.SetOutputSpacing(1, 1, 1)
    stencil.SetOutputOrigin(0, 0, 0)
    k, j, i = grid.shape
    stencil.SetOutputWholeExtent(0, i - 1, 0, j - 1, 0, k - 1)
    image = vtk.vtkImageStencilToImage()
    image.SetInputConnection(stencil.GetOutputPort())
    image.SetOutputScalarTypeToUnsignedChar()
    image.Update()
    return vtk_to_numpy(image.GetOutput().GetPointData().GetScalars()).reshape(grid.shape).astype(bool)
