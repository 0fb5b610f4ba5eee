"""Whether a predicted dose can be one: what cannot is an error, what is odd is said in words.

The limits were set on the reference doses of 240 OpenKBP patients and the predictions of the shipped model for the 40
among them that it was not trained on; "measured" below are the extremes.
"""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from ..geometry.body import BODY_HU
from ..patient.case import Case

IMPOSSIBLE_MAXIMUM, ODD_MAXIMUM = 2.0, 1.2
"""The dose maximum in parts of the highest prescription; measured up to 1.14 in plans and 1.13 in predictions."""
LOWEST_D95 = 0.9
"""D95 of a target in parts of its prescription; measured from 0.94 in predictions (in plans from 0.82 of the highest
targets, from 0.77 of others but for one of 4 cm3)."""
AIR_HU, HIGH_DOSE, HOT_AIR_CM3 = -700.0, 0.5, 400.0
"""Volume of air that gets more than half of the prescription; measured up to 313 cm3 in
plans and 283 in predictions."""
CUT_AREA_CM2, CUT_SHARE, END_DOSE = 30.0, 0.2, 0.75
"""What counts as an end of the CT inside the body: the tissue of its last slice, the part of it that the next one still
has at most; and the dose there, in parts of the prescription, from which it is said: of one plan in twelve."""


def check_result(case: Case, dose: np.ndarray) -> list[str]:
    """What is odd about a predicted dose, in words.

    Args:
        dose: (K, J, I), Gy.

    Raises:
        ModelError: no plan gives such a dose.
    """
    highest = float(dose.max())
    if not np.isfinite(highest) or highest > IMPOSSIBLE_MAXIMUM * case.prescription:
        raise ModelError(
            f"{case.name}: the predicted dose reaches {highest:.4g} Gy for a prescription of {case.prescription:g} Gy,"
            " which no plan does; the model file is damaged or does not fit: choose another model"
        )
    doubts = []
    if highest > ODD_MAXIMUM * case.prescription:
        doubts.append(
            f"the predicted dose reaches {highest:.1f} Gy, {highest / case.prescription:.0%} of the prescription"
        )
    return [*doubts, *_targets(case, dose), *_air(case, dose), *_ends(case, dose)]


def _targets(case: Case, dose: np.ndarray) -> list[str]:
    doubts = []
    for target, level in case.prescriptions.items():
        d95 = float(np.percentile(dose[case.rois[target]], 5))
        if d95 < LOWEST_D95 * level:
            doubts.append(f"the predicted D95% of {target} is {d95:.1f} Gy, {d95 / level:.0%} of its {level:g} Gy")
    return doubts


def _air(case: Case, dose: np.ndarray) -> list[str]:
    hot = (dose > HIGH_DOSE * case.prescription) & (case.ct < AIR_HU)
    volume = np.count_nonzero(hot) * case.voxel_volume_mm3 / 1000
    if volume <= HOT_AIR_CM3:
        return []
    return [
        f"{volume:.0f} cm3 of air get more than half of the prescription: check the CT, and that the body's contour"
        " holds the body only"
    ]


def _ends(case: Case, dose: np.ndarray) -> list[str]:
    """Where the CT ends in the middle of the body, and the dose is high there."""
    slices = np.flatnonzero(case.dose_mask.any((1, 2)))
    area = np.count_nonzero(case.ct > BODY_HU, axis=(1, 2)) * case.spacing[1] * case.spacing[2] / 100
    doubts = []
    for k, beyond, end in ((slices[0], slices[0] - 1, "lower"), (slices[-1], slices[-1] + 1, "upper")):
        after = area[beyond] if 0 <= beyond < len(area) else 0.0
        highest = float(np.percentile(dose[k][case.dose_mask[k]], 98))
        if area[k] > CUT_AREA_CM2 and after < CUT_SHARE * area[k] and highest > END_DOSE * case.prescription:
            doubts.append(
                f"the CT ends where the dose is still {highest:.0f} Gy, at its {end} end: beyond it none is shown"
            )
    return doubts
