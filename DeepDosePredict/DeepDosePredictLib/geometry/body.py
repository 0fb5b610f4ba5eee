"""The patient's body in a CT, and the dose mask derived from it where no plan says where dose can be."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

BODY_HU = -300
MASK_MARGIN_MM, LONGEST_MARGIN_MM = 40.0, 75.0
WALL_VOXELS = 2

_IN_PLANE = np.array([[[0, 0, 0]] * 3, [[0, 1, 0], [1, 1, 1], [0, 1, 0]], [[0, 0, 0]] * 3], bool)


def find_body(ct: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(K, J, I) bool: the body, without couch and immobilisation, its cavities filled.

    The body is what is denser than air and connected with `inside`, after an opening of one voxel in plane that parts
    it from couch and mask; air that an axial slice encloses belongs to it. Empty where nothing dense lies in `inside`.

    Args:
        ct: (K, J, I) HU, K along the patient's axis, in-plane voxels of a few mm.
        inside: (K, J, I) bool, voxels known to lie in the body: the targets.
    """
    dense = ct > BODY_HU
    core = ndimage.binary_erosion(dense, _IN_PLANE, border_value=1)  # the body may go on beyond the grid
    labels, _ = ndimage.label(core)
    found = np.unique(labels[inside & core])
    body = ndimage.binary_dilation(np.isin(labels, found), _IN_PLANE, mask=dense)
    # The opening may have cut through thin walls, of the sinuses for instance: closed while cavities are filled.
    closed = ndimage.binary_dilation(body, _IN_PLANE, WALL_VOXELS)
    closed |= _enclosed(~closed)
    return body | ndimage.binary_erosion(closed, _IN_PLANE, WALL_VOXELS, border_value=1)


def derived_dose_mask(
    body: np.ndarray, targets: np.ndarray, spacing_k: float, margin_mm: float = MASK_MARGIN_MM
) -> np.ndarray:
    """(K, J, I) bool: the body in the slices of the targets and up to `margin_mm` above and below them.

    OpenKBP's masks end 2 to 70 mm beyond the targets, by the patient; of 10, 25, 40, 55 and 70 mm the default was best
    on validation patients.
    """
    slices = np.flatnonzero(targets.any((1, 2)))
    margin = round(margin_mm / spacing_k)
    mask = np.zeros_like(body)
    near = slice(max(0, slices[0] - margin), slices[-1] + margin + 1)
    mask[near] = body[near]
    return mask


def ends_near(body: np.ndarray, targets: np.ndarray, spacing_k: float) -> bool:
    """Whether a contoured body ends above and below the targets as OpenKBP's dose masks do: it can serve as one."""
    slices, ends = (np.flatnonzero(mask.any((1, 2))) for mask in (targets, body))
    beyond = max(slices[0] - ends[0], ends[-1] - slices[-1]) * spacing_k
    return beyond <= LONGEST_MARGIN_MM and ends[0] > 0 and ends[-1] < len(body) - 1


def _enclosed(air: np.ndarray) -> np.ndarray:
    """Air that does not reach the rim of its axial slice."""
    labels, n = ndimage.label(air, _IN_PLANE)
    open_ = np.zeros(n + 1, bool)
    for rim in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        open_[rim] = True
    return air & ~open_[labels]
