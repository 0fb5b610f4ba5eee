"""What a patient is like, in numbers: where targets and organs lie, how large they are, and what the CT shows there.

All of it is measured in the box of the dose mask, which is what a network sees, and the body in the slices of the
targets: how far a dose mask goes beyond them differs between clinics and tells nothing about the patient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from ..geometry.body import BODY_HU
from ..patient.case import Case, dose_box
from ..patient.roi_mask import RoiMask
from ..patient.rois import OARS

Features = dict[str, float]
"""{name: value}; what cannot be measured, as of an organ that is not contoured, is missing.

Names are "STRUCTURE quantity", with the quantities of QUANTITIES. TARGETS is what all targets hold together, HIGHEST
the target of the highest prescription, BODY the body in the targets' slices.
"""

TARGETS, HIGHEST, BODY, PATIENT, CT = "targets", "highest target", "body", "patient", "CT"
LOG, PERCENT = "log", "log %"
QUANTITIES = {
    "volume": (LOG, 0.15, "volume", "cm3"),
    "height": ("", 3.0, "height", "mm"),
    "depth": ("", 3.0, "depth", "mm"),
    "width": ("", 3.0, "width", "mm"),
    "up": ("", 3.0, "above the targets' centre", "mm"),
    "back": ("", 3.0, "behind the body's middle", "mm"),
    "left": ("", 3.0, "left of the body's middle", "mm"),
    "HU": ("", 15.0, "median", "HU"),
    "air": (PERCENT, 0.5, "air in it", "%"),
    "bone": (PERCENT, 0.5, "bone in it", "%"),
    "area": (LOG, 0.1, "cross-section", "cm2"),
    "breadth": (LOG, 0.1, "breadth", "mm"),
    "narrowest": (LOG, 0.1, "breadth where it is narrow", "mm"),
    "thickness": (LOG, 0.1, "thickness", "mm"),
    "fill": ("", 3.0, "part of the rectangle around it that it fills", "%"),
    "flatness": ("", 5.0, "breadth at its back, of all of its breadth", "%"),
    "gaps": (PERCENT, 0.3, "gaps between its left and right end", "%"),
    "asymmetry": ("", 2.0, "more of it on the left than on the right", "%"),
    "organs": ("", 0.5, "organs contoured", ""),
    "slices": ("", 0.2, "slice distance", "mm"),
    "pixels": ("", 0.3, "pixel size", "mm"),
}
"""{quantity: (how it is kept: as it is, as a logarithm, or as that of 1 + percent; the smallest spread that counts;
words; unit)}."""
MIN_VOXELS = 3
AIR_HU, BONE_HU, SOFT_HU = -400.0, 250.0, (-200.0, 250.0)
ENDS_PERCENT, NARROW_PERCENT, BACK_MM = 5.0, 10.0, 25.0
"""What an extent leaves out at each end, so that stray voxels make nothing larger; which slice is narrow; and how thick
the back is."""


def case_features(case: Case) -> Features:
    """What a case is like; {} where no target lies in the dose mask."""
    box = dose_box(case.dose_mask)
    ct, mask, rois = case.ct[box], case.dose_mask[box], RoiMask(case.rois.bits[box], case.rois.names)
    targets = np.logical_or.reduce([rois[target] for target in case.targets()])
    if np.count_nonzero(targets & mask) < MIN_VOXELS:
        return {}
    spacing = np.array(case.spacing)
    used = np.flatnonzero(targets.any((1, 2)))
    slices = slice(int(used[0]), int(used[-1]) + 1)
    axis = np.array([np.nonzero(targets)[0].mean(), *_middle(mask[slices])])
    structures = {TARGETS: targets, HIGHEST: rois[case.highest_target]}
    structures |= {organ: rois[organ] for organ in OARS if organ in rois}
    places = {name: np.nonzero(voxels) for name, voxels in structures.items()}
    places = {name: place for name, place in places.items() if len(place[0]) >= MIN_VOXELS}
    found: Features = {
        f"{CT} slices": case.spacing[0],
        f"{CT} pixels": math.sqrt(case.spacing[1] * case.spacing[2]),
        f"{PATIENT} organs": float(len(places.keys() & {*OARS})),
    }
    found |= {f"{BODY} {name}": value for name, value in _of_body(ct[slices], mask[slices], axis[2], spacing)}
    for structure, place in places.items():
        found |= {f"{structure} {name}": value for name, value in _of(place, ct[place], axis, spacing)}
    return found


def _of(
    place: tuple[np.ndarray, ...], hu: np.ndarray, axis: np.ndarray, spacing: np.ndarray
) -> Iterator[tuple[str, float]]:
    """Of a structure with voxels at (k, j, i) indices, with their HU."""
    yield "volume", float(np.log(len(hu) * spacing.prod() / 1000))
    centre = (np.array([indices.mean() for indices in place]) - axis) * spacing
    yield from zip(("up", "back", "left"), map(float, centre), strict=True)
    for name, indices, step in zip(("height", "depth", "width"), place, spacing, strict=True):
        first, last = np.percentile(indices, (ENDS_PERCENT, 100 - ENDS_PERCENT))
        yield name, float((last - first + 1) * step)
    yield "HU", float(np.median(hu))
    yield from _air_and_bone(hu)


def _air_and_bone(hu: np.ndarray) -> Iterator[tuple[str, float]]:
    yield "air", float(np.log1p(100 * np.mean(hu < AIR_HU)))
    yield "bone", float(np.log1p(100 * np.mean(hu > BONE_HU)))


def _of_body(ct: np.ndarray, mask: np.ndarray, middle: float, spacing: np.ndarray) -> Iterator[tuple[str, float]]:
    """Of the slices of the targets; `middle` is the column between left and right."""
    body = mask & (ct > BODY_HU)
    body = body[body.any((1, 2))]
    voxels = np.count_nonzero(body, axis=(1, 2))
    breadth, thickness = (np.count_nonzero(body.any(along), axis=1) for along in (1, 2))
    fill = 100 * voxels / np.maximum(1, breadth * thickness)
    yield "area", float(np.log(max(1.0, np.median(voxels) * spacing[1] * spacing[2] / 100)))
    yield "breadth", float(np.log(max(1.0, np.median(breadth) * spacing[2])))
    yield "narrowest", float(np.log(max(1.0, np.percentile(breadth, NARROW_PERCENT) * spacing[2])))
    yield "thickness", float(np.log(max(1.0, np.median(thickness) * spacing[1])))
    yield "fill", float(np.median(fill))
    yield "flatness", float(np.median(_at_the_back(body, round(BACK_MM / spacing[1])) * 100 / np.maximum(1, breadth)))
    ends = body.argmax(2), body.shape[2] - body[:, :, ::-1].argmax(2)
    spans = np.where(body.any(2), ends[1] - ends[0], 0).sum()
    yield "gaps", float(np.log1p(100 * (1 - voxels.sum() / max(1, spans))))
    left, right = int(body[:, :, round(middle) :].sum()), int(body[:, :, : round(middle)].sum())
    yield "asymmetry", 100 * (left - right) / max(1, right + left)
    hu = ct[mask]
    soft = hu[(hu > SOFT_HU[0]) & (hu < SOFT_HU[1])]
    if soft.size:
        yield "HU", float(np.median(soft))
    yield from _air_and_bone(hu)


def _at_the_back(body: np.ndarray, rows: int) -> np.ndarray:
    """(K,) the mean number of voxels in each of the hindmost rows of every slice."""
    used = np.count_nonzero(body, axis=2) > 0
    last = body.shape[1] - used[:, ::-1].argmax(1)
    behind = np.arange(body.shape[1])[None] >= (last - max(1, rows))[:, None]
    return np.count_nonzero(body & behind[..., None], axis=(1, 2)) / max(1, rows)


def _middle(mask: np.ndarray) -> tuple[float, float]:
    """(j, i) half-way between the outermost voxels of a mask, in the median slice."""
    middles = []
    for along in (2, 1):
        used = np.count_nonzero(mask, axis=along) > 0
        used = used[np.flatnonzero(used.sum(1))]
        first, last = used.argmax(1), used.shape[1] - 1 - used[:, ::-1].argmax(1)
        middles.append(float(np.median((first + last) / 2)))
    return middles[0], middles[1]


def is_feature(name: str) -> bool:
    return name.rpartition(" ")[2] in QUANTITIES


def smallest_spread(name: str) -> float:
    """Differences of a feature that tell nothing."""
    return QUANTITIES[name.rpartition(" ")[2]][1]


def described(name: str, value: float, usual: tuple[float, float]) -> str:
    """A feature in words with its usual range: "Larynx, above the targets' centre: 90 mm (training patients: ...)"."""
    structure, _, quantity = name.rpartition(" ")
    kind, _, words, unit = QUANTITIES[quantity]
    kept = {LOG: math.exp, PERCENT: math.expm1}.get(kind, float)
    shown, low, high = (f"{kept(x) + 0.0:.3g}" for x in (value, *usual))
    return f"{structure}, {words}: {shown}{f' {unit}' * bool(unit)} (training patients: {low} to {high})"
