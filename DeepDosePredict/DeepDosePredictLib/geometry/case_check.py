"""The gate that every case passes, wherever it was read: what cannot be is refused, what is doubtful is said.

The limits were set on the 240 OpenKBP patients for training and validation; "measured" below are the extremes there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ..errors import CaseError
from ..patient.body_sites import organs_elsewhere
from ..patient.case import Case
from ..patient.rois import OARS, PRESCRIPTIONS_GY, mirrored_name
from .ct_check import check_hounsfield
from .site_check import site_doubts

SPACING_K_MM, SPACING_IN_PLANE_MM = (0.75, 6.6), (1.0, 11.0)
"""Of the model's grid of 128 voxels, which holds a head and neck: half and twice what was measured, 1.5 to 3.3 and 1.95
to 5.42."""
HIGHEST_MEDIAN, HIGHEST_D95, LOWER_MEDIAN = (0.8, 1.2), 0.7, (0.85, 1.3)
"""A plan's dose in parts of the prescription: the median and D95 of the highest target, measured 0.89 to 1.06 and 0.82
to 1.03, and the median of the lower ones, measured from 0.95 (up to 1.19, next to the higher ones)."""
TISSUE_HU = {
    "Mandible": (200.0, 4000.0, 0.4),
    "Brainstem": (-100.0, 200.0, 0.5),
    "SpinalCord": (-100.0, 200.0, 0.5),
    "LeftParotid": (-250.0, 250.0, 0.75),
    "RightParotid": (-250.0, 250.0, 0.75),
}
"""HU that an organ has, and in what part of it at least; measured from 0.67, 0.93, 0.76, 0.89 and 0.96, but for one
patient whose contours lie beside the anatomy (brainstem 0.28, cord 0.40, parotids 0.72 and 0.63)."""
TARGET_AIR_HU, TARGET_AIR = -700.0, 0.3
"""What part of a target may be air; measured up to 0.19."""
_ABOVE = (("Brainstem", "SpinalCord"), ("Brainstem", "Larynx"), ("Brainstem", "Esophagus"), ("Larynx", "Esophagus"))
_IN_FRONT = (("Mandible", "SpinalCord"), ("Larynx", "SpinalCord"), ("Mandible", "Brainstem"))


def checked(case: Case) -> Case:
    """The case, with what is doubtful about its values, anatomy and reference dose added to its notes.

    Raises:
        CaseError: the CT is none in HU, or a spacing, a prescription or a reference dose cannot be.
    """
    check_spacing_of_grid(case)
    contoured = case.rois.bits != 0
    doubts = [*check_hounsfield(case.ct, contoured, case.name), *case_doubts(case)]
    return replace(case, notes=(*case.notes, *doubts))


def with_reference(case: Case, dose: np.ndarray) -> Case:
    """The case with a reference dose, (K, J, I) in Gy, and what is doubtful about it in the notes; see `checked`."""
    case = replace(case, dose=dose)
    return replace(case, notes=(*case.notes, *reference_doubts(case)))


def case_doubts(case: Case, field: np.ndarray | None = None) -> list[str]:
    """What is doubtful about a case whose CT is known to be one, in words; CaseError for what cannot be.

    Args:
        field: (K, J, I) bool, where the CT sees something; None: found in the case itself.
    """
    check_levels(case)
    return [
        *_organs(case),
        *site_doubts(case, field),
        *orientation_doubts(case),
        *tissue_doubts(case),
        *reference_doubts(case),
    ]


def check_spacing_of_grid(case: Case) -> None:
    """CaseError for a model grid that is too small or too large for a head and neck."""
    limits = (SPACING_K_MM, SPACING_IN_PLANE_MM, SPACING_IN_PLANE_MM)
    if all(low <= step <= high for step, (low, high) in zip(case.spacing, limits, strict=True)):
        return
    size = " x ".join(f"{n * step:.0f}" for n, step in zip(case.shape, case.spacing, strict=True))
    spacing = " x ".join(f"{step:g}" for step in case.spacing)
    raise CaseError(
        f"{case.name}: voxels of {spacing} mm make a grid of {size} mm, which holds no head and neck; check the spacing"
        " and its unit (mm)"
    )


def check_levels(case: Case) -> None:
    """CaseError for prescriptions that nobody gives."""
    low, high = PRESCRIPTIONS_GY
    if odd := [target for target, level in case.prescriptions.items() if not low <= level <= high]:
        raise CaseError(
            f"{case.name}: {', '.join(odd)}: a prescription lies between {low:g} and {high:g} Gy; give the targets"
            " their prescriptions in Gy"
        )


def _organs(case: Case) -> list[str]:
    names = organs_elsewhere(use.contour for use in case.assignment.uses)
    return [f"contours of another part of the body: {', '.join(names)}; the models know head and neck only"] * bool(
        names
    )


def orientation_doubts(case: Case) -> list[str]:
    """Organs on the wrong side of each other: left and right, above and below, in front and behind."""
    centres = {roi: centre for roi in OARS if roi in case.rois and (centre := _centre(case.rois[roi])) is not None}
    return [*_sides(centres), *_order(centres, _ABOVE, 0, "above"), *_order(centres, _IN_FRONT, 1, "in front of")]


def tissue_doubts(case: Case) -> list[str]:
    """Contours that do not hold what they are called, as those of another patient or of a shifted CT."""
    odd = []
    for roi, (low, high, least) in TISSUE_HU.items():
        hu = case.ct[case.rois[roi]] if roi in case.rois else np.empty(0)
        if hu.size and (share := np.mean((hu >= low) & (hu <= high))) < least:
            odd.append(f"only {share:.0%} of {roi} has its HU ({low:g} to {high:g})")
    for target in case.targets():
        if (share := np.mean(case.ct[case.rois[target]] < TARGET_AIR_HU)) > TARGET_AIR:
            odd.append(f"{share:.0%} of {target} is air")
    return [f"{', '.join(odd)}: check that CT and contours belong together"] if odd else []


def reference_doubts(case: Case) -> list[str]:
    """Whether the reference dose can be the whole plan's for these prescriptions.

    CaseError if it misses the targets.
    """
    if case.dose is None:
        return []
    highest = case.highest_target
    doses = case.dose[case.rois[highest]]
    if not any(case.dose[case.rois[target]].any() for target in case.targets()):
        raise CaseError(f"{case.name}: the reference dose is 0 in all targets; check that it belongs to this CT")
    median, d95 = np.percentile(doses, (50, 5)) / case.prescription
    advice = "check its unit, and that it is the dose of this patient's whole plan for these prescriptions"
    if not HIGHEST_MEDIAN[0] <= median <= HIGHEST_MEDIAN[1]:
        return [f"{_share(case, highest, median)}: {advice}"]
    doubts = []
    if d95 < HIGHEST_D95:
        doubts.append(f"the reference dose leaves part of {highest} below {d95:.0%} of its prescription: {advice}")
    for target, level in case.prescriptions.items():
        median = np.median(case.dose[case.rois[target]]) / level
        if target != highest and not LOWER_MEDIAN[0] <= median <= LOWER_MEDIAN[1]:
            doubts.append(f"{_share(case, target, median)}: {advice}")
    return doubts


def _share(case: Case, target: str, median: float) -> str:
    level = case.prescriptions[target]
    return f"the reference dose gives {target} {median * level:.1f} Gy (median), {median:.0%} of its {level:g} Gy"


def _centre(mask: np.ndarray) -> np.ndarray | None:
    """Mean index of the used slices along each axis: quick, and good enough to tell the order of organs."""
    if not mask.any():
        return None
    others = ((1, 2), (0, 2), (0, 1))
    return np.array([np.flatnonzero(mask.any(axis=axes)).mean() for axes in others])


def _sides(centres: dict[str, np.ndarray]) -> Iterator[str]:
    """Left organs must lie to the left of their right twins; I grows to Left."""
    for roi, centre in centres.items():
        other = mirrored_name(roi)
        if roi.startswith("Left") and other in centres and centre[2] < centres[other][2]:
            yield f"{roi} lies to the right of {other}: check their names and the orientation of the patient"


def _order(centres: dict[str, np.ndarray], pairs: tuple[tuple[str, str], ...], axis: int, words: str) -> Iterator[str]:
    """Along K the first of a pair has the higher index, along J the lower: K grows to Superior, J to Posterior."""
    sign = 1 if axis == 0 else -1
    for first, second in pairs:
        if first in centres and second in centres and sign * (centres[first][axis] - centres[second][axis]) < 0:
            yield f"{first} does not lie {words} {second}: check their names and the orientation of the patient"
