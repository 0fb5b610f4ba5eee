"""Bit-mask ROIs are lossless, also under overlap, with every integer type and on tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.patient.roi_mask import RoiMask, decode, smallest_dtype, swap_bits, to_tensor


@given(st.integers(1, 64).flatmap(lambda n: arrays(bool, (n, 2, 3, 4))))
@settings(max_examples=60, deadline=None)
def test_round_trip_in_numpy_and_torch(masks):
    encoded = RoiMask.encode({f"roi {r}": mask for r, mask in enumerate(masks)})
    tensor = to_tensor(encoded.bits)
    assert tensor.element_size() == encoded.bits.dtype.itemsize
    for r, mask in enumerate(masks):
        np.testing.assert_array_equal(encoded[f"roi {r}"], mask)
        np.testing.assert_array_equal(decode(tensor, r).numpy(), mask)
    assert encoded.present() == tuple(f"roi {r}" for r, mask in enumerate(masks) if mask.any())


@pytest.mark.parametrize(("n", "dtype"), [(1, "u1"), (8, "u1"), (9, "u2"), (17, "u4"), (33, "u8"), (64, "u8")])
def test_smallest_type(n, dtype):
    assert smallest_dtype(n) == np.dtype(dtype)


def test_too_many_or_mismatched_rois_are_refused():
    mask = np.ones((1, 1, 1), bool)
    with pytest.raises(CaseError, match="65 structures"):
        RoiMask.encode({str(r): mask for r in range(65)})
    with pytest.raises(CaseError, match="different grids"):
        RoiMask.encode({"a": mask, "b": np.ones((1, 1, 2), bool)})
    with pytest.raises(CaseError, match="same name"):
        RoiMask(np.zeros((1, 1, 1), np.uint8), ("a", "a"))
    with pytest.raises(CaseError, match="do not fit"):
        RoiMask(np.zeros((1, 1, 1), np.uint8), tuple("abcdefghi"))


@given(arrays(np.uint16, (2, 2, 2)))
@settings(deadline=None)
def test_swapping_bits_exchanges_two_rois_and_no_other(bits):
    tensor = to_tensor(bits)
    swapped = swap_bits(tensor, [(2, 3), (0, 15)])
    partner = {2: 3, 3: 2, 0: 15, 15: 0}
    for r in range(16):
        assert torch.equal(decode(swapped, r), decode(tensor, partner.get(r, r)))
