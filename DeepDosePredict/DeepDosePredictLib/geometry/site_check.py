"""Whether a case is a head and neck as the models know them, and what of its CT disturbs: told from the images alone.

The limits were set on the 240 OpenKBP patients for training and validation; "measured" below are the extremes there.
What lies beyond them is said, not refused; only a body of a size that no patient has is an error.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ..errors import CaseError
from ..patient.case import Case
from ..patient.grid import Grid
from ..patient.rois import EXTERNAL
from .body import BODY_HU
from .volume import Volume

POSSIBLE_AREA_CM2, NECK_AREA_CM2 = (20.0, 2500.0), (60.0, 400.0)
"""Median cross-section of the body in the targets' slices; measured 78 to 314, and 832 where the targets lie between
the shoulders. A pelvis has 600 and more."""
LUNG_HU, LUNG_SHARE = (-950.0, -500.0), 0.16
"""The most part of the body in the targets' slices that has the value of lung; measured up to 0.11, breast 0.46."""
METAL_HU, METAL_CM3 = 2800.0, 4.0
"""Measured up to 13.5, in one of six above 4."""
ARMS_CM3, ARM_RADIUS_MM, TISSUE_HU = 30.0, 10.0, (-150.0, 250.0)
"""Tissue beside the body that is thicker than twice the radius; measured 0 in all but one patient (58)."""
CUT_SLICES, CUT_VOXELS = 3, 3
EXTERNAL_CM3, EXTERNAL_AIR_CM3, AIR_HU = 50.0, 500.0, -700.0
"""What a contoured body may hold beside the body, and leave out of it; and air around it. OpenKBP's dose masks hold 7
cm3 of air at the median, and more than 500 in one of twenty patients."""
BOARD_MM = (40.0, 150.0)
"""The greatest height and least width of a couch or board in an axial slice."""
FIELD_VOXELS = 0.02  # of the field's radius

_IN_PLANE = np.array([[[0] * 3] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0] * 3] * 3], bool)


def site_doubts(case: Case, field: np.ndarray | None = None) -> list[str]:
    """What sets a case apart from the heads and necks that models were trained on, in words.

    Args:
        field: (K, J, I) bool, where the CT sees something, see `field_of_view`; None: found in the case itself.

    Raises:
        CaseError: the body is of a size that no patient has, as where a spacing is wrong.
    """
    if field is None:
        field = _round_field(case.ct, np.ones(case.shape, bool), *_centred(case.shape))
    return [*_anatomy(case), *_cut(case, field), *_metal(case)]


def field_of_view(ct: Volume, grid: Grid, hu: np.ndarray, scanned: np.ndarray) -> np.ndarray:
    """(K, J, I) bool: where on the grid a CT shows something.

    That is within the scan and, where the corners of its slices hold one value only, within the circle that touches
    their edges: scanners reconstruct no more.

    Args:
        hu, scanned: (K, J, I), the CT on the grid and where it has values.
    """
    to_ct = np.linalg.inv(ct.grid.ijk_to_ras) @ grid.ijk_to_ras
    k, j, i = np.ogrid[tuple(slice(n) for n in grid.shape)]
    columns, rows = (to_ct[axis, 0] * i + to_ct[axis, 1] * j + to_ct[axis, 2] * k + to_ct[axis, 3] for axis in (0, 1))
    _, height, width = ct.grid.shape
    return _round_field(
        hu, scanned, (columns - (width - 1) / 2) / (width / 2), (rows - (height - 1) / 2) / (height / 2)
    )


def body_doubts(
    hu: np.ndarray,
    body: np.ndarray,
    external: np.ndarray | None,
    dose_mask: np.ndarray,
    spacing: tuple[float, float, float],
) -> list[str]:
    """What lies beside the patient's body and may be a part of it, or is taken for it, in the slices with dose.

    Args:
        hu: (K, J, I).
        body: (K, J, I) bool, as `find_body` finds it.
        external: (K, J, I) bool, the contoured body; None where there is none.
        dose_mask: (K, J, I) bool.
        spacing: (k, j, i) mm.
    """
    slices = _used(dose_mask)
    hu, body = hu[slices], body[slices]
    voxel_cm3 = float(np.prod(spacing)) / 1000
    patient = body if external is None else body | external[slices]
    doubts = []
    # What hangs together with nothing of the body and is thick: couch and mask are thin.
    tissue = (hu > TISSUE_HU[0]) & (hu < TISSUE_HU[1]) & ~patient
    radius = max(1, round(ARM_RADIUS_MM / spacing[1]))
    core = ndimage.binary_erosion(tissue, _IN_PLANE, radius)
    volume = np.count_nonzero(ndimage.binary_dilation(core, _IN_PLANE, radius, mask=tissue)) * voxel_cm3
    if volume > ARMS_CM3:
        doubts.append(f"{volume:.0f} cm3 of tissue beside the body (arms, bolus?) get no dose")
    if (volume := np.count_nonzero(_boards(patient, spacing) & body) * voxel_cm3) > EXTERNAL_CM3:
        doubts.append(
            f"{volume:.0f} cm3 of something flat below the body (couch, board?) hang together with it: it is taken for"
            " the patient and gets dose"
        )
    return doubts if external is None else doubts + _external(hu, body, external[slices], voxel_cm3)


def _boards(patient: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    """(K, J, I) bool: parts of axial slices that lie wide and flat behind the largest part of their slice."""
    labels, _ = ndimage.label(patient, _IN_PLANE)
    sizes = np.bincount(labels.ravel())
    boxes = ndimage.find_objects(labels)
    found = np.zeros(len(sizes), bool)
    for plane in labels:
        parts = np.unique(plane[plane > 0])
        if len(parts) < 2:
            continue
        largest = boxes[parts[np.argmax(sizes[parts])] - 1][1]
        for part in parts:
            rows, columns = boxes[part - 1][1:]
            height, width = (rows.stop - rows.start) * spacing[1], (columns.stop - columns.start) * spacing[2]
            behind = rows.start > (largest.start + largest.stop) / 2
            found[part] = behind and height <= BOARD_MM[0] and width >= BOARD_MM[1]
    return found[labels]


def _external(hu: np.ndarray, body: np.ndarray, external: np.ndarray, voxel_cm3: float) -> list[str]:
    both = external.any((1, 2)) & body.any((1, 2))
    # A voxel more on each side: contours are drawn by hand, and the skin's voxels are half air.
    around, within = (ndimage.binary_dilation(mask, _IN_PLANE) for mask in (body, external))
    dense = hu > BODY_HU
    air = np.count_nonzero(external & (hu < AIR_HU) & ~around) * voxel_cm3
    more = np.count_nonzero((external & dense & ~around)[both]) * voxel_cm3
    less = np.count_nonzero((body & dense & ~within)[both]) * voxel_cm3
    doubts = []
    if more > EXTERNAL_CM3:
        doubts.append(
            f"{EXTERNAL} holds {more:.0f} cm3 of something beside the body (couch, headrest, mask, bolus?): it is"
            " taken for the patient and gets dose"
        )
    if air > EXTERNAL_AIR_CM3:
        doubts.append(f"{EXTERNAL} holds {air:.0f} cm3 of air around the body: dose is predicted in it")
    if less > EXTERNAL_CM3:
        doubts.append(f"{EXTERNAL} leaves out {less:.0f} cm3 of the body: no dose is predicted there")
    return doubts


def _used(mask: np.ndarray) -> slice:
    """From the first to the last slice of a mask."""
    slices = np.flatnonzero(mask.any((1, 2)))
    return slice(int(slices[0]), int(slices[-1]) + 1) if slices.size else slice(0, 0)


def _anatomy(case: Case) -> list[str]:
    targets = _used(np.logical_or.reduce([case.rois[target] for target in case.targets()]))
    hu, mask = case.ct[targets], case.dose_mask[targets]
    area = np.median(np.count_nonzero(mask & (hu > LUNG_HU[0]), axis=(1, 2))) * case.spacing[1] * case.spacing[2] / 100
    if not POSSIBLE_AREA_CM2[0] <= area <= POSSIBLE_AREA_CM2[1] and mask.any():
        raise CaseError(
            f"{case.name}: at the targets the body has a cross-section of {area:.3g} cm2, which no patient has; check"
            f" the voxel spacing ({_mm(case.spacing)} mm) and its unit, and that CT and contours belong together"
        )
    doubts = []
    if not NECK_AREA_CM2[0] <= area <= NECK_AREA_CM2[1]:
        doubts.append(
            f"this does not look like a neck: at the targets the body has a cross-section of {area:.0f} cm2 (training"
            " patients: 80 to 310); the models know head and neck only"
        )
    lung = int(np.count_nonzero(mask & (hu > LUNG_HU[0]) & (hu < LUNG_HU[1])))
    share = lung / max(1, int(np.count_nonzero(mask & (hu > LUNG_HU[0]))))
    if share > LUNG_SHARE:
        doubts.append(
            f"this does not look like a neck: {share:.0%} of the body at the targets is lung (training patients: up to"
            " 11%); the models know head and neck only"
        )
    return doubts


def _cut(case: Case, field: np.ndarray) -> list[str]:
    slices = _used(case.dose_mask)
    inside = field[slices]
    rim = inside & ~ndimage.binary_erosion(inside, _IN_PLANE)
    tissue = rim & case.dose_mask[slices] & (case.ct[slices] > BODY_HU)
    cut = np.count_nonzero(np.count_nonzero(tissue, axis=(1, 2)) >= CUT_VOXELS)
    if cut < CUT_SLICES:
        return []
    return [f"the CT's field of view cuts the body (shoulders?) in {cut} slices with dose: what is cut off is missing"]


def _metal(case: Case) -> list[str]:
    volume = np.count_nonzero(case.ct[case.dose_mask] > METAL_HU) * case.voxel_volume_mm3 / 1000
    if volume <= METAL_CM3:
        return []
    return [f"{volume:.1f} cm3 of metal in the CT (teeth?): artefacts around it change HU and may change the dose"]


def _centred(shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Columns and rows of a grid, from -1 to 1 between its outer faces."""
    _, j, i = np.ogrid[tuple(slice(n) for n in shape)]
    return (i - (shape[2] - 1) / 2) / (shape[2] / 2), (j - (shape[1] - 1) / 2) / (shape[1] / 2)


def _round_field(hu: np.ndarray, scanned: np.ndarray, columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """`scanned`, or its part in the circle of radius 1 if nothing but one value lies outside."""
    circle = columns**2 + rows**2 <= 1
    outside = hu[scanned & (columns**2 + rows**2 > (1 + FIELD_VOXELS) ** 2)]
    return scanned & circle if outside.size and np.ptp(outside) < 2 else scanned


def _mm(spacing: tuple[float, float, float]) -> str:
    return " x ".join(f"{step:g}" for step in spacing)
