"""Whether what was given as CT is one in HU: by the values of air, soft tissue and bone where the contours lie.

The limits were set by measurement on the 240 OpenKBP patients for training and validation and on two clinical studies,
with room on both sides; "measured" below are the extremes found there.
"""

from __future__ import annotations

import numpy as np

from ..errors import CaseError

AIR_HU = (-1100.0, -850.0)
AIR_SHARE = 0.01
"""The least part of a scan that has the value of air; measured 0.50, where shoulders are cut, to 0.99."""
SOLID_HU = -500.0
SOLID_SHARE = 0.3
"""The least part of the contoured voxels that is no air and no lung; measured 0.78 to 1."""
SOFT_HU, USUAL_SOFT_HU = (-250.0, 450.0), (-60.0, 120.0)
"""Where the commonest value of these may be, should only fat or bone be contoured, and where it usually is; measured
-110 (targets in fat) to 90."""
BONE_HU, BONE_SHARE = 250.0, 0.005
"""The least part of what is dense in the slices of the contours that is bone; measured 0.03 to 0.18."""
IMPOSSIBLE_HU, IMPOSSIBLE_SHARE = 8000.0, 0.001
"""No body and no dental metal fills that part of a scan with such values; measured up to 0.00003."""
AIR_JUMP = 0.25
"""How far the part of air may fall from one slice of the contours to the next; measured 0.60 and more."""
_BIN_HU = 20


def check_hounsfield(hu: np.ndarray, contoured: np.ndarray, where: str, scanned: np.ndarray | None = None) -> list[str]:
    """What is doubtful about the values of a CT, in words; CaseError if they cannot be HU.

    Args:
        hu: (K, J, I), values of the CT on the grid of the contours.
        contoured: (K, J, I) bool, voxels of targets and organs; at least one.
        where: file or node, for messages.
        scanned: (K, J, I) bool, where the CT has values; None for everywhere.
    """
    values = hu if scanned is None else hu[scanned]
    inside = hu[contoured if scanned is None else contoured & scanned]
    if not inside.size:
        raise CaseError(f"{where}: the contours lie beyond the CT; check that they belong together")
    soft = _commonest(inside[inside > SOLID_HU])
    _check_air(values, soft, where)
    if np.mean(values > IMPOSSIBLE_HU) > IMPOSSIBLE_SHARE:
        raise _no_ct(
            where,
            f"{np.mean(values > IMPOSSIBLE_HU):.1%} of it is above {IMPOSSIBLE_HU:g} HU, as where padding or negative"
            " values were read without their sign",
        )
    if np.mean(inside > SOLID_HU) < SOLID_SHARE:
        raise _no_ct(
            where,
            f"the contoured structures have {np.median(inside):.0f} HU, not about 40, as without the offset of about"
            " 1000 that files add to HU",
        )
    _check_slices(hu, contoured, scanned, where)
    if not SOFT_HU[0] <= soft <= SOFT_HU[1]:
        raise _no_ct(where, f"soft tissue has {soft:.0f} HU instead of about 40")
    doubts = []
    if not USUAL_SOFT_HU[0] <= soft <= USUAL_SOFT_HU[1]:
        doubts.append(f"most contoured tissue has {soft:.0f} HU, not about 40: check that the CT is in HU")
    slices = hu[contoured.any((1, 2))]
    if np.mean(slices[slices > SOLID_HU] > BONE_HU) < BONE_SHARE:
        doubts.append(
            f"no bone (above {BONE_HU:g} HU) in the slices of the contours: check that the CT is whole and in HU"
        )
    return doubts


def _check_air(values: np.ndarray, soft: float, where: str) -> None:
    share = np.mean((values >= AIR_HU[0]) & (values <= AIR_HU[1]))
    if share >= AIR_SHARE:
        return
    low, high = np.percentile(values, (1, 99))
    if low == high:
        raise _no_ct(where, f"nearly all of its values are {low + 0.0:g}")
    fact = f"nothing in it has the value of air, -1000 HU; its values run from {low:.4g} to {high:.4g}"
    if 800 <= soft <= 1300:
        fact += ", about 1000 too high, as with a wrong RescaleIntercept"
    elif high - low < 10:
        fact += ", as of HU divided by 1000"
    elif low >= 0:
        fact += ", as of an MR, a dose or an image without its rescaling"
    raise _no_ct(where, fact)


def _check_slices(hu: np.ndarray, contoured: np.ndarray, scanned: np.ndarray | None, where: str) -> None:
    """CaseError where some slices have other values than their neighbours, as with two rescalings in one series."""
    used = np.flatnonzero(contoured.any((1, 2)))
    slices = slice(int(used[0]), int(used[-1]) + 1)
    air = (hu[slices] >= AIR_HU[0]) & (hu[slices] <= AIR_HU[1])
    n_scanned = np.full(len(air), air[0].size) if scanned is None else np.count_nonzero(scanned[slices], axis=(1, 2))
    whole = n_scanned > 0.5 * n_scanned.max()  # not those at the ends of an oblique CT
    shares = np.count_nonzero(air, axis=(1, 2))[whole] / n_scanned[whole]
    lower, higher = np.minimum(shares[1:], shares[:-1]), np.maximum(shares[1:], shares[:-1])
    if np.any((higher > 10 * AIR_SHARE) & (lower < AIR_JUMP * higher)):
        raise _no_ct(where, "the values jump from one slice to the next, as where slices were rescaled in two ways")


def _no_ct(where: str, fact: str) -> CaseError:
    return CaseError(f"{where}: this is no CT in HU: {fact}; choose the planning CT, or export it again in HU")


def _commonest(values: np.ndarray) -> float:
    """Middle of the fullest bin of 20 HU; NaN where there are no values."""
    if not values.size:
        return float("nan")
    bins, counts = np.unique(np.floor(np.asarray(values, np.float64) / _BIN_HU), return_counts=True)
    return float((bins[counts.argmax()] + 0.5) * _BIN_HU)
