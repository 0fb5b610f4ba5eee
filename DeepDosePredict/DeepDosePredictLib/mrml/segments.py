"""Segments on any grid: from binary labelmaps, closed surfaces or planar contours, whichever the segmentation holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..errors import DeepDoseError
from ..geometry.shapes import LabelmapShape, Shape
from ..patient.grid import Grid, transformed
from .contours import contoursToLabelmap
from .geometry import linearToWorld, reslice

LABELMAP, SURFACE, CONTOUR = "Binary labelmap", "Closed surface", "Planar contour"


@dataclass(frozen=True)
class SurfaceShape(Shape):
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

    def centres_inside(self, grid: Grid) -> np.ndarray:
        return _insideSurface(self.surface, grid, self.toWorld)


def segmentShape(segmentationNode, segmentId: str) -> Shape:
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
            return LabelmapShape.cropped(mask, Grid(grid.shape, toWorld @ grid.ijk_to_ras), reslice)
        if name in (SURFACE, CONTOUR):
            return SurfaceShape(representation, toWorld)
    raise DeepDoseError(
        f"{segmentationNode.GetName()}, {segment.GetName()}: this segment has no labelmap, surface or"
        " contour; convert it in the Segmentations module"
    )


def _labelmapShape(image, label: int, toWorld: np.ndarray) -> LabelmapShape:
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    first = np.eye(4)
    first[:3, 3] = image.GetExtent()[::2]
    shape = image.GetDimensions()[::-1]
    scalars = image.GetPointData().GetScalars()
    values = vtk_to_numpy(scalars).reshape(shape) if scalars else np.zeros((0, 0, 0), np.uint8)
    grid = Grid(values.shape, toWorld @ slicer.util.arrayFromVTKMatrix(matrix) @ first)
    return LabelmapShape.cropped(values == label, grid, reslice)


def _insideSurface(surface: vtk.vtkPolyData, grid: Grid, toWorld: np.ndarray) -> np.ndarray:
    """Which voxel centres of a grid lie inside a surface; computed in voxel coordinates, so the grid may be oblique."""
    transform = vtk.vtkTransform()
    transform.SetMatrix(slicer.util.vtkMatrixFromArray(grid.ras_to_ijk @ toWorld))
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
