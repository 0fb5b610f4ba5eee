"""Patients as a model did not learn from them, made of one that is like them: each kind changes one thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from DeepDosePredictLib.geometry.case_check import checked
from DeepDosePredictLib.patient.assignment import Assignment
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.patient.roi_mask import RoiMask
from DeepDosePredictLib.patient.rois import OARS, target_prescription

Change = Callable[[Case, np.random.Generator], Case]
SWAPS = (("LeftParotid", "RightParotid"), ("Brainstem", "Larynx"), ("SpinalCord", "Mandible"), ("Larynx", "Mandible"))


def flipped(case: Case, *axes: int) -> Case:
    """The voxels the other way round along some axes; names stay, as where an orientation is read wrongly."""
    ct, bits, mask = (np.ascontiguousarray(np.flip(a, axes)) for a in (case.ct, case.rois.bits, case.dose_mask))
    return replace(case, ct=ct, rois=RoiMask(bits, case.rois.names), dose_mask=mask)


def mirrored(case: Case, _: np.random.Generator) -> Case:
    return flipped(case, 2)


def feet_first(case: Case, _: np.random.Generator) -> Case:
    return flipped(case, 0, 2)


def prone(case: Case, _: np.random.Generator) -> Case:
    return flipped(case, 1, 2)


def mr(case: Case, rng: np.random.Generator) -> Case:
    """Fat bright, bone and air dark, values from 0 on."""
    values = np.interp(case.ct, (-1000, -200, -100, 40, 300, 1500), (0, 50, 900, 400, 150, 20))
    return replace(case, ct=(values + rng.normal(0, 15, case.shape)).clip(0).astype(np.int16))


def mr_less_1000(case: Case, rng: np.random.Generator) -> Case:
    """The same, read with a CT's offset: its air is air."""
    return replace(case, ct=(mr(case, rng).ct - 1000).astype(np.int16))


def pelvis(case: Case, rng: np.random.Generator) -> Case:
    """A trunk of 36 x 24 cm with femoral heads and a target in its middle; no organ is contoured."""
    k, j, i = _millimetres(case)
    body = (i / 180) ** 2 + (j / 120) ** 2 <= 1
    ct = np.where(body, np.where((i / 155) ** 2 + (j / 95) ** 2 <= 1, 40, -100), -1000) + rng.normal(0, 12, case.shape)
    for side in (-1, 1):
        ct[(i - 85 * side) ** 2 + j**2 + k**2 < 25**2] = 600
    return _with_targets(case, ct, body & (abs(k) < 90), i**2 + j**2 + k**2, (35, 50, 60))


def chest(case: Case, rng: np.random.Generator) -> Case:
    """A trunk of 34 x 22 cm with lungs and a target in the left one; cord and esophagus are contoured."""
    k, j, i = _millimetres(case)
    body = (i / 170) ** 2 + (j / 110) ** 2 <= 1
    ct = np.where(body, 40, -1000) + rng.normal(0, 12, case.shape)
    for side in (-1, 1):
        ct[np.broadcast_to(((i - 80 * side) / 60) ** 2 + (j / 80) ** 2 < 1, ct.shape)] = -780
    far = (i - 80) ** 2 + j**2 + k**2
    ct[far < 25**2] = 20
    ct[np.broadcast_to(i**2 + (j - 70) ** 2 < 20**2, ct.shape)] = 400
    tubes = {"SpinalCord": 70, "Esophagus": 30}
    organs = {name: (i**2 + (j - back) ** 2 < 8**2) & (abs(k) < 90) for name, back in tubes.items()}
    ct[organs["SpinalCord"]] = 30
    return _with_targets(case, ct, body & (abs(k) < 90), far, (30, 40, 50), organs)


def levels_times(factor: float) -> Change:
    """The same targets, other prescriptions."""

    def change(case: Case, _: np.random.Generator) -> Case:
        names = [
            f"PTV{target_prescription(name) * factor:g}" if name.startswith("PTV") else name for name in case.rois.names
        ]
        return replace(case, rois=RoiMask(case.rois.bits, names), assignment=Assignment())

    return change


def shifted_contours(case: Case, rng: np.random.Generator) -> Case:
    """All contours 30 mm away from where they belong in the CT."""
    return replace(case, rois=RoiMask(_shifted(case.rois.bits, case, 30.0, rng), case.rois.names))


def shifted_organ(case: Case, rng: np.random.Generator) -> Case:
    """One organ 50 mm away from where it belongs."""
    organ = rng.choice([roi for roi in case.rois.present() if roi in OARS])
    return _with_masks(case, {organ: _shifted(case.rois[organ], case, 50.0, rng)})


def half_a_body(case: Case, rng: np.random.Generator) -> Case:
    """One side of the patient is missing in CT and dose mask."""
    used = np.flatnonzero(case.dose_mask.any((0, 1)))
    middle = int(used.mean())
    gone = slice(middle, None) if rng.random() < 0.5 else slice(None, middle)
    ct, mask = case.ct.copy(), case.dose_mask.copy()
    ct[..., gone], mask[..., gone] = -1000, False
    return replace(case, ct=ct, dose_mask=mask)


def huge_couch(case: Case, _: np.random.Generator) -> Case:
    """A slab of 45 x 7 cm under the patient is taken for a part of the body."""
    slices, rows, columns = (np.flatnonzero(case.dose_mask.any(axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    thick, half = (round(length / step) for length, step in zip((70, 225), case.spacing[1:], strict=True))
    first, middle = min(int(rows[-1]) - 1, case.shape[1] - thick), int(columns.mean())
    slab = np.zeros(case.shape, bool)
    slab[slices[0] : slices[-1] + 1, first : first + thick, max(0, middle - half) : middle + half] = True
    return replace(
        case, ct=np.where(slab & (case.ct < -300), 20, case.ct).astype(np.int16), dose_mask=case.dose_mask | slab
    )


def arms(case: Case, _: np.random.Generator) -> Case:
    """Two raised arms of 9 cm, a finger's breadth beside the neck, are taken for a part of the body."""
    targets = np.logical_or.reduce([case.rois[target] for target in case.targets()]).any((1, 2))
    used = case.dose_mask[targets].any(1)
    left, right = used.shape[1] - 1 - np.median(used[:, ::-1].argmax(1)), np.median(used.argmax(1))
    _, j, i = np.ogrid[tuple(slice(n) for n in case.shape)]
    rows = np.flatnonzero(case.dose_mask[targets].any((0, 2)))
    slices = np.flatnonzero(case.dose_mask.any((1, 2)))
    arm = np.zeros(case.shape, bool)
    for edge, outwards in ((right, -1), (left, 1)):
        away = (i - edge) * case.spacing[2] - 60 * outwards
        arm[slices[0] : slices[-1] + 1] |= (away**2 + ((j - rows.mean()) * case.spacing[1]) ** 2 < 45**2)[0]
    ct = np.where(arm & (case.ct < -300), 40, case.ct).astype(np.int16)
    return replace(case, ct=ct, dose_mask=case.dose_mask | arm)


def doubled_spacing(case: Case, _: np.random.Generator) -> Case:
    return replace(case, spacing=tuple(2 * step for step in case.spacing))


def swapped_organs(case: Case, rng: np.random.Generator) -> Case:
    """Two organs have each other's names."""
    pairs = [pair for pair in SWAPS if {*pair} <= {*case.rois.present()}]
    one, other = pairs[rng.integers(len(pairs))]
    return _with_masks(case, {one: case.rois[other], other: case.rois[one]})


KINDS: dict[str, Change] = {
    "mirrored sides": mirrored,
    "feet first": feet_first,
    "prone": prone,
    "MR": mr,
    "MR less 1000": mr_less_1000,
    "pelvis": pelvis,
    "chest": chest,
    "40 Gy": levels_times(40 / 70),
    "80 Gy": levels_times(80 / 70),
    "contours shifted by 3 cm": shifted_contours,
    "an organ shifted by 5 cm": shifted_organ,
    "half a body": half_a_body,
    "huge couch": huge_couch,
    "arms": arms,
    "doubled spacing": doubled_spacing,
    "swapped organs": swapped_organs,
}


def made_up(kind: str, case: Case, seed: int = 0) -> Case:
    """A patient of a kind, through the gate of all cases; CaseError where that refuses it."""
    return checked(replace(KINDS[kind](replace(case, dose=None), np.random.default_rng(seed)), notes=()))


def _with_masks(case: Case, masks: dict[str, np.ndarray]) -> Case:
    return replace(case, rois=RoiMask.encode({roi: masks.get(roi, case.rois[roi]) for roi in case.rois}))


def _shifted(volume: np.ndarray, case: Case, millimetres: float, rng: np.random.Generator) -> np.ndarray:
    way = rng.normal(size=3)
    steps = np.rint(way / np.linalg.norm(way) * millimetres / np.array(case.spacing)).astype(int)
    return ndimage.shift(volume, steps, order=0)


def _millimetres(case: Case) -> list[np.ndarray]:
    """Open (k, j, i) axes from the middle of the grid, in mm."""
    grids = np.ogrid[tuple(slice(n) for n in case.shape)]
    return [(g - (n - 1) / 2) * step for g, n, step in zip(grids, case.shape, case.spacing, strict=True)]


def _with_targets(
    case: Case,
    ct: np.ndarray,
    mask: np.ndarray,
    far: np.ndarray,
    radii: Sequence[float],
    organs: dict[str, np.ndarray] | None = None,
) -> Case:
    """A case with disjoint balls as targets; `far` is the squared distance from their centre in mm2."""
    masks, inner = dict(organs or {}), np.zeros(case.shape, bool)
    for name, radius in zip(("PTV70", "PTV63", "PTV56"), radii, strict=True):
        ball = far < radius**2
        masks[name], inner = ball & ~inner, ball
    mask = np.broadcast_to(mask, case.shape)
    return replace(
        case, ct=ct.astype(np.int16), dose_mask=mask.copy(), rois=RoiMask.encode(masks), assignment=Assignment()
    )
