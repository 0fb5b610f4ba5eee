"""Isodose lines: one model with a surface for each dose level, drawn where slices cut it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..errors import DeepDoseError
from .color_bar import addColorBar
from .dvh_result import removeNodes
from .geometry import Grid, toImage, volumeGrid
from .translation import tr as _

# Point scalars of the model: the level in Gy, as SlicerRT names them, and its number, by which it is coloured.
LEVELS, NUMBERS = "isolevels", "isodoseNumber"
LEVELS_ATTRIBUTE = "DeepDosePredict.IsodoseLevelsGy"
DEFAULT_LEVELS = "30%, 50%, 80%, 95%, 100%, 107%"
_LEVEL = re.compile(r"(\d+(?:\.\d+)?)\s*(%|Gy)", re.IGNORECASE)
# Cold to hot, each clearly apart on a grey CT; levels between these stops get colours between theirs.
STOPS = np.array(
    [
        (0.25, 0.35, 1.0),
        (0.0, 0.8, 1.0),
        (0.1, 0.85, 0.2),
        (1.0, 0.95, 0.1),
        (1.0, 0.55, 0.0),
        (0.9, 0.05, 0.1),
        (0.9, 0.1, 0.9),
    ]
)


def isodoseLevels(prescriptionGy: float, text: str = DEFAULT_LEVELS) -> tuple[float, ...]:
    """Levels in Gy, ascending, from text such as "95%, 20 Gy"; percents are of the prescription.

    DeepDoseError that names what is no level.
    """
    levels = set()
    for part in filter(None, (part.strip() for part in re.split(r"[,;]", text))):
        match = _LEVEL.fullmatch(part)
        level = float(match[1]) * (prescriptionGy / 100 if match[2] == "%" else 1) if match else 0.0
        if level <= 0:
            raise DeepDoseError(
                f"Isodose levels: {part!r} is none; write percents or Gy with commas, such as 95%, 20 Gy"
            )
        levels.add(round(level, 4))
    return tuple(sorted(levels))


def isodoseModel(doseNode, levelsGy: Iterable[float], prescriptionGy: float | None = None, name: str | None = None):
    """A vtkMRMLModelNode with the isodose surfaces of a dose volume, in world coordinates.

    Shown as lines in slice views, not in 3D, coloured by a table of its own whose colour names are the levels in Gy
    and, with a prescription, in percent of it; a colour bar names them in the views.
    Levels that the dose does not reach have a colour but no surface.

    DeepDoseError without a level above 0 or if the dose reaches none of them.
    """
    levels = sorted({float(level) for level in levelsGy})
    if not levels or levels[0] <= 0 or not np.isfinite(levels).all():
        raise DeepDoseError("Isodose: give one or more dose levels above 0 Gy")
    grid, dose = volumeGrid(doseNode), slicer.util.arrayFromVolume(doseNode)
    surfaces = _surfaces(dose, grid, levels)
    if not surfaces.GetNumberOfPoints():
        raise DeepDoseError(
            f"{doseNode.GetName()}: the dose reaches none of the isodose levels"
            f" (it goes up to {dose.max():.4g} Gy); choose lower levels"
        )
    scene = doseNode.GetScene()
    model = scene.AddNewNodeByClass("vtkMRMLModelNode")
    try:
        model.SetName(name or f"{doseNode.GetName()}_IsodoseLevels")
        model.SetAndObservePolyData(surfaces)
        model.SetAttribute(LEVELS_ATTRIBUTE, ", ".join(f"{level:g}" for level in levels))
        model.SetNodeReferenceID("doseVolumeRef", doseNode.GetID())
        model.CreateDefaultDisplayNodes()
        _display(model.GetDisplayNode(), _colors(scene, model.GetName(), levels, prescriptionGy), len(levels))
        addColorBar(model, _("Isodose"), discrete=True)
    except BaseException:
        removeIsodose(model)
        raise
    return model


def isodoseModels(scene) -> list:
    """All isodose models of a scene."""
    nodes = (
        scene.GetNthNodeByClass(n, "vtkMRMLModelNode") for n in range(scene.GetNumberOfNodesByClass("vtkMRMLModelNode"))
    )
    return [node for node in nodes if node.GetAttribute(LEVELS_ATTRIBUTE)]


def levelsOf(modelNode) -> tuple[float, ...]:
    """The levels of an isodose model in Gy."""
    return tuple(map(float, modelNode.GetAttribute(LEVELS_ATTRIBUTE).split(",")))


def removeIsodose(modelNode) -> None:
    """Take an isodose model out of the scene with its display and colour nodes."""
    display = modelNode.GetDisplayNode()
    removeNodes([display.GetColorNode() if display else None, modelNode])


def levelColor(position: float) -> tuple[float, float, float]:
    """Colour of a level by its place among the levels, 0 (lowest) to 1 (highest)."""
    stops = np.linspace(0, 1, len(STOPS))
    return tuple(float(np.interp(position, stops, STOPS[:, channel])) for channel in range(3))


def _surfaces(dose: np.ndarray, grid: Grid, levels: Sequence[float]) -> vtk.vtkPolyData:
    """Surfaces of all levels in world coordinates, with the scalars LEVELS and NUMBERS."""
    contours = vtk.vtkFlyingEdges3D()
    # A border of zeros closes surfaces that reach the edge of the dose grid.
    contours.SetInputData(toImage(np.pad(dose.astype(np.float32), 1)))
    contours.ComputeNormalsOff()
    contours.ComputeScalarsOn()
    for number, level in enumerate(levels):
        contours.SetValue(number, level)
    matrix = grid.ijk_to_ras.copy()
    matrix[:3, 3] -= matrix[:3, :3].sum(axis=1)
    transform = vtk.vtkTransform()
    transform.SetMatrix(slicer.util.vtkMatrixFromArray(matrix))
    mover = vtk.vtkTransformPolyDataFilter()
    mover.SetInputConnection(contours.GetOutputPort())
    mover.SetTransform(transform)
    mover.Update()
    surfaces = vtk.vtkPolyData()
    surfaces.ShallowCopy(mover.GetOutput())
    if surfaces.GetNumberOfPoints():
        _setScalars(surfaces, levels)
    return surfaces


def _setScalars(surfaces: vtk.vtkPolyData, levels: Sequence[float]) -> None:
    values = vtk_to_numpy(surfaces.GetPointData().GetScalars())
    numbers = np.abs(values[:, None] - np.asarray(levels, values.dtype)).argmin(1)
    surfaces.GetPointData().Initialize()
    for name, array in ((LEVELS, np.asarray(levels, np.float32)[numbers]), (NUMBERS, numbers.astype(np.float32))):
        scalars = numpy_to_vtk(array, deep=True)
        scalars.SetName(name)
        surfaces.GetPointData().AddArray(scalars)
    surfaces.GetPointData().SetActiveScalars(NUMBERS)


def _colors(scene, name: str, levels: Sequence[float], prescription: float | None):
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode")
    node.SetName(f"{name}_ColorTable")
    node.SetTypeToUser()
    node.SetNumberOfColors(len(levels))
    for number, level in enumerate(levels):
        percent = f" ({100 * level / prescription:.3g} %)" if prescription else ""
        node.SetColor(number, f"{level:g} Gy{percent}", *levelColor(number / max(1, len(levels) - 1)), 1.0)
    node.SetAttribute("Category", "Dose")
    return node


def _display(display, colors, count: int) -> None:
    display.SetAndObserveColorNodeID(colors.GetID())
    display.SetActiveScalarName(NUMBERS)
    display.SetScalarVisibility(True)
    display.SetScalarRangeFlag(slicer.vtkMRMLDisplayNode.UseManualScalarRange)
    # Half a level wider than the numbers: each falls into the middle of its colour.
    display.SetScalarRange(-0.5, count - 0.5)
    display.SetVisibility(True)
    display.SetVisibility2D(True)
    display.SetVisibility3D(False)
    display.SetSliceIntersectionThickness(2)
    display.SetBackfaceCulling(False)
