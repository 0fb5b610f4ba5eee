"""Bit-mask encoding of regions of interest: one integer volume holds up to 64 overlapping ROIs without loss.

After Gao, Staring and Dankers (2026), "Clinical DVH metrics as a loss function for 3D dose prediction in head and neck
radiotherapy"; only its abstract is at hand, so the details are ours. Bit r of a voxel says whether it belongs to ROI r.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CaseError

if TYPE_CHECKING:
    from torch import Tensor

MAX_ROIS = 64
_DTYPES = {8: np.uint8, 16: np.uint16, 32: np.uint32, 64: np.uint64}
_SIGNED = {1: np.uint8, 2: np.int16, 4: np.int32, 8: np.int64}


def smallest_dtype(n_rois: int) -> np.dtype:
    """Smallest unsigned integer type with a bit for each ROI; CaseError beyond 64 ROIs."""
    for bits, dtype in _DTYPES.items():
        if n_rois <= bits:
            return np.dtype(dtype)
    raise CaseError(f"{n_rois} structures do not fit a bit-mask; leave out all but {MAX_ROIS}")


@dataclass(frozen=True)
class RoiMask:
    """Named ROIs in one unsigned integer volume.

    Attributes:
        bits: (K, J, I) unsigned integers; bit r set where the voxel lies in `names[r]`.
        names: names of the ROIs, in the order of their bits.
    """

    bits: np.ndarray
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if len(set(self.names)) != len(self.names):
            raise CaseError(f"two structures have the same name: {', '.join(sorted(self.names))}")
        if self.bits.ndim != 3 or self.bits.dtype.kind != "u":
            raise CaseError(
                f"a ROI bit-mask is a 3D volume of unsigned integers, not {self.bits.dtype}"
                f" with shape {self.bits.shape}"
            )
        if len(self.names) > self.bits.dtype.itemsize * 8:
            raise CaseError(f"{len(self.names)} structures do not fit a bit-mask of type {self.bits.dtype}")

    @classmethod
    def encode(cls, masks: Mapping[str, np.ndarray]) -> RoiMask:
        """Pack boolean (K, J, I) masks, in the order of the mapping."""
        dtype = smallest_dtype(len(masks))
        if not masks:
            raise CaseError("a ROI bit-mask needs at least one structure")
        shapes = {mask.shape for mask in masks.values()}
        if len(shapes) != 1:
            raise CaseError(f"the structures lie on different grids: {', '.join(map(str, sorted(shapes)))}")
        bits = np.zeros(shapes.pop(), dtype)
        for r, mask in enumerate(masks.values()):
            bits |= (mask != 0).astype(dtype) << dtype.type(r)
        return cls(bits, tuple(masks))

    def __getitem__(self, name: str) -> np.ndarray:
        """Boolean (K, J, I) mask of one ROI; KeyError if there is no such ROI."""
        if name not in self.names:
            raise KeyError(name)
        return (self.bits >> self.bits.dtype.type(self.names.index(name))) & self.bits.dtype.type(1) != 0

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def present(self) -> tuple[str, ...]:
        """Names of the ROIs that have at least one voxel."""
        used = int(np.bitwise_or.reduce(self.bits, axis=None))
        return tuple(name for r, name in enumerate(self.names) if used >> r & 1)


def to_tensor(bits: np.ndarray) -> Tensor:
    """Unsigned bit-mask volume as a torch tensor of the same bytes (int16 for uint16, ...), without a copy."""
    import torch  # only here: cases and metrics are used where PyTorch is not installed, too

    return torch.from_numpy(np.ascontiguousarray(bits).view(_SIGNED[bits.dtype.itemsize]))


def decode(bits: Tensor, r: int) -> Tensor:
    """Boolean mask of ROI r, on the device of `bits`; any shape, any integer type of `to_tensor`."""
    return (bits >> r) & 1 != 0


def swap_bits(bits: Tensor, pairs: Sequence[tuple[int, int]]) -> Tensor:
    """Exchange ROIs a and b for every (a, b) in `pairs`: left and right organs when a volume is mirrored."""
    for a, b in pairs:
        differ = ((bits >> a) ^ (bits >> b)) & 1
        bits = bits ^ (differ << a) ^ (differ << b)
    return bits
