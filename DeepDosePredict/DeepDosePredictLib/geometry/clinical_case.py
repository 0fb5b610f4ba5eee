"""A clinical CT with its structures and dose, however they lie, to a Case on the model grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ..errors import CaseError
from ..patient.assignment import Assignment, ContourUse
from ..patient.case import DOSE_LIMIT_GY, Case
from ..patient.grid import Grid
from ..patient.roi_mask import RoiMask
from ..patient.rois import DOSE_MASK, EXTERNAL, OARS, is_target, target_prescription
from .body import derived_dose_mask, ends_near, find_body
from .case_check import case_doubts
from .ct_check import check_hounsfield
from .model_grid import beyond, model_grid
from .shapes import Shape
from .site_check import body_doubts, field_of_view
from .trained_grid import OPENKBP_GRID, TrainedGrid
from .volume import Volume

AIR_HU, NO_CT, HU_LIMITS = -1000, -30000, (-1024, 32767)
COVERED = 0.5
STEP_MM = (0.15, 12.0)
"""What the voxels of a planning CT measure along each axis, with room on both sides."""


def clinical_case(
    ct: Volume,
    structures: Mapping[str, Sequence[tuple[str, Shape]]],
    where: str,
    reference: Volume | None = None,
    assignment: Assignment | None = None,
    trained: TrainedGrid = OPENKBP_GRID,
) -> Case:
    """Resample CT, structures and reference dose to the model grid.

    The CT is averaged down without aliasing; a voxel belongs to a structure that covers half of it or more, or, where a
    small structure covers no voxel that far, if it is among the most covered ones that make up its volume. Nested
    targets are made disjoint, the highest prescription wins.

    Args:
        ct: in HU; its name becomes the case's.
        structures: {role: [(name, shape)]}, at least one target among them; those of one role are united.
        where: what the structures come from, for messages.
        reference: dose in Gy.
        assignment: the account of all contours, which the case carries; None makes one of the structures.
        trained: which grids the model was trained on, from its contract; by default OpenKBP's.

    Raises:
        DeepDoseError: names the scan or structure that cannot be used and what to do.
    """
    check_ct(ct)
    if reference is not None:
        check_reference_dose(reference)
    warnings: list[str] = []
    shapes = _without_empty(structures, where, warnings)
    targets = [shape for role, parts in shapes.items() if is_target(role) for shape in parts]
    grid = model_grid(ct, targets, trained, shapes.get(EXTERNAL, ()))
    if (reach := beyond(targets, grid)) > max(grid.spacing) / 2:
        warnings.append(
            f"the targets reach {reach:.0f} mm beyond the {_size(grid)} mm that the model sees; there they get no dose"
        )
    hu = ct.sampled(grid, NO_CT, smooth=True)
    scanned = hu > NO_CT / 2
    masks = {role: _united(parts, grid) for role, parts in shapes.items()}
    if lost := [role for role, mask in masks.items() if is_target(role) and not mask.any()]:
        raise CaseError(
            f"{', '.join(lost)} lies outside the {_size(grid)} mm around the other targets that the model"
            " sees; check that all contours belong to this CT, or leave it out"
        )
    _disjoint(masks)
    rois = RoiMask.encode({role: mask for role, mask in masks.items() if role in OARS or is_target(role)})
    warnings += check_hounsfield(hu, rois.bits != 0, ct.name, scanned)
    hu = np.where(scanned, np.clip(np.rint(hu), *HU_LIMITS), AIR_HU).astype(np.int16)
    targets = np.logical_or.reduce([mask for role, mask in masks.items() if is_target(role)])
    body = find_body(hu, targets)
    dose_mask = _dose_mask(body, masks, targets, grid) & scanned
    _check_targets(masks, scanned, dose_mask, ct.name, warnings)
    warnings += body_doubts(hu, body, masks.get(EXTERNAL), dose_mask, grid.spacing)
    dose = None if reference is None else _reference_dose(reference, grid, warnings)
    account = _account(assignment, structures)
    case = Case(ct.name, hu, rois, dose_mask, grid.spacing, dose, grid.origin, tuple(warnings), account)
    doubts = case_doubts(case, field_of_view(ct, grid, hu, scanned))
    return replace(case, notes=(*case.notes, *doubts))


def check_ct(ct: Volume) -> None:
    """CaseError if a volume cannot be a CT."""
    if ct.array.ndim != 3:
        raise CaseError(f"{ct.name}: this is no 3D volume of one value per voxel; choose the CT")
    check_grid(ct.grid, ct.name)
    if ct.array.dtype.kind == "f" and not np.isfinite(ct.array).all():
        raise CaseError(
            f"{ct.name}: the CT has NaN or infinite values; fill them (for instance with -1000) and try again"
        )


def check_grid(grid: Grid, where: str) -> None:
    """CaseError if a grid cannot be a CT's; readers ask before they read its voxels."""
    if min(grid.shape) < 2:
        raise CaseError(f"{where}: this is no 3D volume of one value per voxel; choose the CT")
    if not all(STEP_MM[0] <= step <= STEP_MM[1] for step in grid.spacing):
        spacing = " x ".join(f"{step:.4g}" for step in grid.spacing)
        raise CaseError(
            f"{where}: voxels of {spacing} mm are none of a planning CT; check its spacing and its unit (mm)"
        )


def check_reference_dose(dose: Volume) -> None:
    """CaseError if a volume cannot be a dose in Gy."""
    if dose.array.ndim != 3:
        raise CaseError(f"{dose.name}: this is no volume of one value per voxel; choose the reference dose")
    if dose.array.dtype.kind == "f" and not np.isfinite(dose.array).all():
        raise CaseError(f"{dose.name}: the reference dose has NaN or infinite values; export it again")
    if dose.array.max() > DOSE_LIMIT_GY:
        raise CaseError(
            f"{dose.name}: the reference dose reaches {dose.array.max():g}, too high for Gy; if it is in"
            " cGy, divide it by 100, if it is a CT, choose another volume"
        )


def _without_empty(
    structures: Mapping[str, Sequence[tuple[str, Shape]]], where: str, warnings: list[str]
) -> dict[str, list[Shape]]:
    shapes: dict[str, list[Shape]] = {}
    for role, parts in structures.items():
        warnings += [f"{name} is empty; it was left out" for name, shape in parts if not len(shape.corners())]
        if drawn := [shape for _, shape in parts if len(shape.corners())]:
            shapes[role] = drawn
    if not any(map(is_target, shapes)):
        raise CaseError(f"{where}: no PTV has any voxel; contour at least one PTV and give its prescription")
    return shapes


def _account(assignment: Assignment | None, structures: Mapping[str, Sequence[tuple[str, Shape]]]) -> Assignment:
    """The account of the contours, those that are empty left out."""
    named = [(role, name, shape) for role, parts in structures.items() for name, shape in parts]
    account = assignment or Assignment(tuple(ContourUse(name, name, role) for role, name, _ in named)).ordered()
    return account.without({(role, name) for role, name, shape in named if not len(shape.corners())}, "it is empty")


def _united(shapes: Sequence[Shape], grid: Grid) -> np.ndarray:
    """(K, J, I) bool: voxels that the shapes cover by half or more."""
    mask = np.zeros(grid.shape, bool)
    for shape in shapes:
        box, coverage = shape.coverage(grid)
        covered = coverage >= COVERED
        if coverage.any() and not covered.any():
            most = max(1, round(float(coverage.sum(dtype=np.float64))))
            covered.flat[np.argsort(-coverage, axis=None, kind="stable")[:most]] = True
        mask[box] |= covered
    return mask


def _disjoint(masks: dict[str, np.ndarray]) -> None:
    """Take from each target, in place, what a target of a higher prescription has."""
    higher = None
    for role in sorted(filter(is_target, masks), key=target_prescription, reverse=True):
        if higher is None:
            higher = masks[role].copy()
        else:
            masks[role] &= ~higher
            higher |= masks[role]


def _dose_mask(body: np.ndarray, masks: Mapping[str, np.ndarray], targets: np.ndarray, grid: Grid) -> np.ndarray:
    """The contoured dose mask, or what the contoured body gives, or that of the CT."""
    if DOSE_MASK in masks:
        return masks[DOSE_MASK]
    if not targets.any():
        raise CaseError("the PTVs cover no voxel of the model grid; check that CT and structures belong together")
    body = masks.get(EXTERNAL, body)
    if not (body & targets).any():
        where = "the External structure" if EXTERNAL in masks else "any body in the CT"
        raise CaseError(
            f"the PTVs lie outside {where}; check that CT and structures belong together and that the CT is in HU"
        )
    if EXTERNAL in masks and ends_near(body, targets, grid.spacing[0]):
        return body
    return derived_dose_mask(body, targets, grid.spacing[0])


def _check_targets(
    masks: Mapping[str, np.ndarray], scanned: np.ndarray, dose_mask: np.ndarray, ct: str, warnings: list[str]
) -> None:
    for role, mask in masks.items():
        if not is_target(role):
            continue
        if not mask.any():
            warnings.append(f"{role} lies within targets of higher prescriptions")
            continue
        if not (mask & dose_mask).any():
            raise CaseError(f"{role} lies outside the body in {ct}; check that CT and structures belong together")
        unscanned = np.count_nonzero(mask & ~scanned) / np.count_nonzero(mask)
        if unscanned > 0.001:
            warnings.append(f"{unscanned:.0%} of {role} lies beyond the end of {ct}, where there is no dose")


def _reference_dose(reference: Volume, grid: Grid, warnings: list[str]) -> np.ndarray:
    """(K, J, I) float32 Gy of the reference dose on the model grid."""
    dose = reference.sampled(grid)
    if dose.min() < 0:
        warnings.append(f"{reference.name} has negative values, down to {dose.min():.2f} Gy; they were read as 0")
        dose = np.maximum(dose, 0)
    if not dose.any():
        raise CaseError(
            f"{reference.name}: the reference dose is 0 everywhere around the PTVs; check that it belongs to this CT"
        )
    return dose


def _size(grid: Grid) -> str:
    return "x".join(f"{n * step:.0f}" for n, step in zip(grid.shape[::-1], grid.spacing[::-1], strict=True))
