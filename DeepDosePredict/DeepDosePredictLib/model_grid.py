"""Where the model grid lies around a patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .body import MASK_MARGIN_MM, find_body
from .core.case import GRID
from .geometry import Grid, Volume
from .shapes import Shape

SPACING = (2.5, 3.906, 3.906)
"""(k, j, i) mm: the commonest spacing among the training patients."""
TRAINED_SPACING_K, TRAINED_SPACING_IN_PLANE = (1.5, 3.3), (2.7, 5.5)
COARSE_MM = 8.0
_LPS = np.diag([-1.0, -1, 1])


def model_grid(ct: Volume, targets: Sequence[Shape], external: Sequence[Shape] = ()) -> Grid:
    """The grid that the network works on: LPS-aligned, 128 voxels along each axis.

    A CT that is such a grid already, with a spacing that the training patients had, keeps it. Otherwise the grid has
    the commonest training spacing, but axially the nearest one at which its slices are the CT's: contours are drawn
    there, and what lies between slices need not be guessed. Axially it is centred on the targets, in plane on the body
    around them.
    """
    own = _lps_aligned(ct.grid)
    if own and own.shape == GRID and _trained_spacing(own.spacing):
        return own
    low, high = _extent(targets)
    body_low, body_high = _extent(external) if external else _body_extent(ct, targets)
    n_slices = _slices_per_voxel(own.spacing[0], high[2] - low[2]) if own else 0
    spacing = (n_slices * own.spacing[0] if n_slices else SPACING[0], *SPACING[1:])
    size = np.array(spacing[::-1]) * GRID[::-1]
    centre = (body_low + body_high) / 2
    centre[2] = (low[2] + high[2]) / 2
    # The targets come first where a wide body would push them out.
    room = (size - (high - low)) / 2
    middle = (low + high) / 2
    centre = np.where(room > 0, np.clip(centre, middle - room, middle + room), middle)
    if n_slices:
        centre[2] = _on_slices(centre[2], own, n_slices)
    return lps_grid(GRID, spacing, centre)


def _slices_per_voxel(step: float, length: float) -> int:
    """How many slices of a CT make one of the model grid; 0 where no number gives a spacing that training patients had.

    The commonest spacing is approached as far as the grid then holds the dose around targets of this length in mm.
    """
    low, high = TRAINED_SPACING_K
    low = max(low, (length + 2 * MASK_MARGIN_MM) / GRID[0])
    numbers = [n for n in range(1, int(high / step + 1e-3) + 1) if n * step >= low - 1e-3]
    return min(numbers, key=lambda n: abs(n * step - SPACING[0]), default=0)


def _on_slices(centre: float, ct: Grid, n_slices: int) -> float:
    """The nearest centre (superior, mm) at which slices of the model grid lie amid `n_slices` slices of the CT each."""
    step = ct.spacing[0]
    lowest = centre - (GRID[0] - 1) / 2 * n_slices * step
    off = (lowest - ct.ijk_to_ras[2, 3]) / step - (n_slices - 1) / 2
    return centre - (off - np.rint(off)) * step


def lps_grid(shape: tuple[int, int, int], spacing: Sequence[float], centre: np.ndarray) -> Grid:
    """LPS-aligned grid around a point (RAS, mm)."""
    matrix = np.eye(4)
    matrix[:3, :3] = _LPS * np.asarray(spacing)[::-1]
    matrix[:3, 3] = centre - matrix[:3, :3] @ (np.array(shape[::-1]) - 1) / 2
    return Grid(tuple(shape), matrix)


def beyond(shapes: Sequence[Shape], grid: Grid) -> float:
    """How far in mm the shapes' bounding box reaches out of the grid; 0 where it fits."""
    low, high = _extent(shapes)
    corners = grid.corners()
    return float(max(0, (corners.min(0) - low).max(), (high - corners.max(0)).max()))


def _extent(shapes: Sequence[Shape]) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest RAS coordinates of shapes that have any."""
    points = np.concatenate([shape.corners() for shape in shapes])
    return points.min(0), points.max(0)


def _body_extent(ct: Volume, targets: Sequence[Shape]) -> tuple[np.ndarray, np.ndarray]:
    """Extent of the body in the slices of the targets, roughly; of the targets where no body is found."""
    low, high = _extent(targets)
    corners = ct.grid.corners()
    reach = np.stack((corners.min(0), corners.max(0)))
    reach[:, 2] = low[2], high[2]
    shape = [int(n) for n in np.ceil(np.ptp(reach, axis=0) / COARSE_MM)[::-1] + 1]
    coarse = lps_grid(tuple(shape), (COARSE_MM,) * 3, reach.mean(0))
    inside = np.zeros(coarse.shape, bool)
    for target in targets:
        box, mask = target.inside(coarse)
        inside[box] |= mask
    body = find_body(ct.sampled(coarse, background=-1000), inside)
    if not body.any():
        return low, high
    used = np.argwhere(body)[:, ::-1]
    ends = np.stack((used.min(0) - 0.5, used.max(0) + 0.5)) @ coarse.ijk_to_ras[:3, :3].T + coarse.ijk_to_ras[:3, 3]
    return ends.min(0), ends.max(0)


def _lps_aligned(grid: Grid) -> Grid | None:
    """The same voxels with I, J, K to Left, Posterior, Superior; None if the axes are oblique."""
    steps = grid.ijk_to_ras[:3, :3]
    directions = steps / np.linalg.norm(steps, axis=0)
    if not np.allclose(np.abs(directions), np.abs(np.rint(directions)), atol=1e-4):
        return None
    axes = np.abs(directions).argmax(1)  # which of i, j, k runs along R, A, S
    if len(set(axes.tolist())) < 3:
        return None
    spacing = np.linalg.norm(steps, axis=0)[axes]
    shape = np.array(grid.shape[::-1])[axes]
    return lps_grid(tuple(int(n) for n in shape[::-1]), spacing[::-1], grid.corners().mean(0))


def _trained_spacing(spacing: tuple[float, float, float]) -> bool:
    (low_k, high_k), (low, high) = TRAINED_SPACING_K, TRAINED_SPACING_IN_PLANE
    return low_k <= spacing[0] <= high_k and all(low <= s <= high for s in spacing[1:])
