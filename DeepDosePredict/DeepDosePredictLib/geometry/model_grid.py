"""Where the model grid lies around a patient."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..patient.grid import Grid
from .body import MASK_MARGIN_MM, find_body
from .shapes import Shape
from .trained_grid import Range, TrainedGrid
from .volume import Volume

COARSE_MM = 8.0
_LPS = np.diag([-1.0, -1, 1])


def model_grid(ct: Volume, targets: Sequence[Shape], trained: TrainedGrid, external: Sequence[Shape] = ()) -> Grid:
    """The grid that the network works on: LPS-aligned, of the shape that it was trained on.

    A CT that is such a grid already, with a spacing that the training patients had, keeps it. Otherwise, where that
    gives a spacing that they had, each voxel is made of whole voxels of the CT: contours are drawn on its slices, and
    what lies between voxels need not be guessed. In plane these are four by four, as in the training data, else as many
    as come nearest to the commonest training spacing, as axially. Without such a number, and for oblique CTs, the grid
    has the commonest spacing. Axially it is centred on the targets, in plane on the body around them.
    """
    own = _lps_aligned(ct.grid)
    if own and own.shape == trained.shape and trained.has(own.spacing):
        return own
    low, high = _extent(targets)
    body_low, body_high = _extent(external) if external else _body_extent(ct, targets)
    steps, numbers = trained.spacing, (0, 0, 0)
    if own:
        steps, numbers = own.spacing, _ct_voxels_per_voxel(own, high[2] - low[2], trained)
    spacing = [n * step if n else usual for n, step, usual in zip(numbers, steps, trained.spacing, strict=True)]
    size = np.array(spacing[::-1]) * trained.shape[::-1]
    centre = (body_low + body_high) / 2
    centre[2] = (low[2] + high[2]) / 2
    # The targets come first where a wide body would push them out.
    room = (size - (high - low)) / 2
    middle = (low + high) / 2
    centre = np.where(room > 0, np.clip(centre, middle - room, middle + room), middle)
    for axis, n in enumerate(numbers[::-1]):
        if own and n:
            centre[axis] = _on_blocks(centre[axis], own, n, axis, trained.shape[2 - axis])
    return lps_grid(trained.shape, spacing, centre)


def _ct_voxels_per_voxel(ct: Grid, length: float, trained: TrainedGrid) -> tuple[int, int, int]:
    """How many voxels of a CT along k, j and i make one of the model grid; 0 where no number gives a trained spacing.

    The commonest spacing is approached as far as the grid then holds the dose around targets of this length in mm, and
    in plane the CT, or as much as it does at the commonest spacing. Pixels that are not square have no number.
    """
    step, _, pixel = ct.spacing
    slices = _numbers(step, trained.slices, (length + 2 * MASK_MARGIN_MM) / trained.shape[0])
    n_slices = min(slices, key=lambda n: abs(n * step - trained.spacing[0]), default=0)
    if not np.isclose(*ct.spacing[1:], rtol=1e-3):
        return n_slices, 0, 0
    width = min(max(ct.shape[1:]) * pixel, trained.shape[2] * trained.spacing[2])
    pixels = _numbers(pixel, trained.pixels, width / trained.shape[2])
    n_pixels = min(pixels, key=lambda n: (n != trained.ct_pixels, abs(n * pixel - trained.spacing[2])), default=0)
    return n_slices, n_pixels, n_pixels


def _numbers(step: float, trained: Range, least: float) -> list[int]:
    """What numbers of steps (mm) give a spacing that training patients had, and of at least `least` mm."""
    low, high = max(trained[0], least), trained[1]
    return [n for n in range(1, int(high / step + 1e-3) + 1) if n * step >= low - 1e-3]


def _on_blocks(centre: float, ct: Grid, n: int, axis: int, length: int) -> float:
    """The nearest centre along a RAS axis (mm) at which voxels of a grid of this length are blocks of `n` of the CT.

    Blocks are counted from the CT's first voxel, as in the training data: structures that were drawn on such voxels
    keep them.
    """
    step, sign = ct.spacing[2 - axis], _LPS[axis, axis]
    lowest = centre - (length - 1) / 2 * n * step
    off = (lowest - ct.ijk_to_ras[axis, 3]) / step - sign * (n - 1) / 2
    return centre - (off - np.rint(off / n) * n) * step


def lps_grid(shape: tuple[int, int, int], spacing: Sequence[float], centre: np.ndarray) -> Grid:
    """LPS-aligned grid around a point (RAS, mm)."""
    matrix = np.eye(4)
    matrix[:3, :3] = _LPS * np.asarray(spacing)[::-1]
    matrix[:3, 3] = centre - matrix[:3, :3] @ (np.array(shape[::-1]) - 1) / 2
    return Grid(shape, matrix)


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
    i, j, k = (int(n) + 1 for n in np.ceil(np.ptp(reach, axis=0) / COARSE_MM))
    coarse = lps_grid((k, j, i), (COARSE_MM,) * 3, reach.mean(0))
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
    i, j, k = np.array(grid.shape[::-1])[axes].tolist()
    return lps_grid((k, j, i), spacing[::-1], grid.corners().mean(0))
