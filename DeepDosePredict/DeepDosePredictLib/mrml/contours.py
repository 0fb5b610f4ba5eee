"""Planar contours of a segment, as an RTSTRUCT holds them, to a labelmap."""

from __future__ import annotations

import numpy as np
import vtk
from vtk.util.numpy_support import vtk_to_numpy

from ..geometry.contours import contours_to_labelmap
from ..patient.grid import Grid


def contoursToLabelmap(contours: vtk.vtkPolyData, name: str) -> tuple[np.ndarray, Grid]:
    """Fill the lines or polygons of a segment; see `contours_to_labelmap`."""
    points = vtk_to_numpy(contours.GetPoints().GetData()).astype(float)
    ids, loops = vtk.vtkIdList(), []
    for n in range(contours.GetNumberOfCells()):
        contours.GetCellPoints(n, ids)
        loops.append(points[[ids.GetId(p) for p in range(ids.GetNumberOfIds())]])
    return contours_to_labelmap(loops, name)
