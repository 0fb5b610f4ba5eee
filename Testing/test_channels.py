"""Input channels hold what their names say, in their order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from DeepDosePredictLib.errors import ModelError
from DeepDosePredictLib.model.channels import ChannelInputs, build_channels, target_slots
from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS, ChannelSpec
from DeepDosePredictLib.patient.roi_mask import RoiMask, to_tensor


def inputs_of(case, **more):
    return ChannelInputs(
        torch.from_numpy(case.ct)[None],
        to_tensor(case.rois.bits)[None],
        case.rois.names,
        torch.from_numpy(case.dose_mask)[None],
        **more,
    )


def channels_of(case, spec, slots=None):
    return build_channels(inputs_of(case), spec, slots)[0].numpy()


def test_each_channel(case):
    spec = ChannelSpec()
    channels = dict(zip(spec.names, channels_of(case, spec), strict=True))
    np.testing.assert_allclose(channels["ct"], np.clip(case.ct, -1024, 1500) / 1000, atol=1e-6)
    np.testing.assert_array_equal(channels["dose_mask"], case.dose_mask)
    np.testing.assert_array_equal(channels["roi/SpinalCord"], case.rois["SpinalCord"])
    np.testing.assert_allclose(channels["ptv/PTV56"], case.rois["PTV56"] * 0.8, atol=1e-7)
    np.testing.assert_allclose(channels["ptv/PTV70"], case.rois["PTV70"] * 1.0)
    assert not channels["roi/Larynx"].any()


def test_spacing_and_plan_dose_are_passed_on(case):
    spec = ChannelSpec(("spacing/k", "plan_dose", "spacing/i"), gantry_angles=(0,))
    spacing, plan_dose = torch.tensor([[3.0, 5, 5]]), torch.rand(1, *case.shape)
    channels = build_channels(inputs_of(case, spacing=spacing, plan_dose=plan_dose), spec)[0]
    assert (channels[0] == 0.75).all() and (channels[2] == 1.25).all() and torch.equal(channels[1], plan_dose[0])
    assert spec.rois() == () and spec.mirrored() == [0, 1, 2]


@pytest.mark.parametrize("missing", ["spacing", "plan_dose"])
def test_a_channel_that_is_not_given_is_named(case, missing):
    spec = ChannelSpec(("spacing/k", "plan_dose"), gantry_angles=(0,))
    given = {"spacing": torch.ones(1, 3), "plan_dose": torch.ones(1, *case.shape)}
    del given[missing]
    with pytest.raises(ModelError, match=f"input channel {missing}"):
        build_channels(inputs_of(case, **given), spec)


def test_order_and_window_are_the_models(case):
    spec = ChannelSpec(("dose_mask", "ct", "roi/Unknown"), hu_window=(-100, 50), prescription=60)
    channels = channels_of(case, spec)
    np.testing.assert_array_equal(channels[0], case.dose_mask)
    assert channels[1].min() == pytest.approx(-0.1) and channels[1].max() == pytest.approx(0.05)
    assert not channels[2].any()


def test_mirrored_channels_are_the_mirrored_patient(case):
    """Flipping the volume and swapping left and right names is the same as permuting the flipped channels."""
    spec = ChannelSpec()
    flipped = channels_of(case, spec)[..., ::-1][spec.mirrored()]
    by_name = dict(zip(spec.names, flipped, strict=True))
    np.testing.assert_array_equal(by_name["roi/LeftParotid"], case.rois["RightParotid"][..., ::-1])
    np.testing.assert_array_equal(by_name["roi/Mandible"], case.rois["Mandible"][..., ::-1])


@pytest.mark.parametrize("names", [("ct", "ct"), (), ("hu",), ("ptv/Brainstem",), ("roi/",)])
def test_unknown_or_repeated_channels(names):
    with pytest.raises(ModelError, match="channel"):
        ChannelSpec(names)


def test_default_is_the_papers_twelve():
    assert len(DEFAULT_CHANNELS) == 12


@pytest.mark.parametrize(
    ("targets", "slots"),
    [
        (("PTV70", "PTV63", "PTV56"), ("PTV70", "PTV63", "PTV56")),
        (("PTV70", "PTV56"), ("PTV70", "PTV56")),
        (("PTV66", "PTV60", "PTV54"), ("PTV70", "PTV63", "PTV56")),
        (("PTV60", "PTV54"), ("PTV70", "PTV63")),
        (("PTV70", "PTV66", "PTV60", "PTV50"), ("PTV70", "PTV63", "PTV63", "PTV56")),
        (("PTV50",), ("PTV70",)),
    ],
)
def test_targets_take_the_nearest_channel_in_units_of_the_highest(targets, slots):
    assert target_slots(targets, ChannelSpec()) == dict(zip(targets, slots, strict=True))


def test_other_prescriptions_keep_their_values_in_the_nearest_channels(case):
    """60/55/54 Gy: channels hold 1, 55/60 and 54/60; several targets share a channel, each with its own value."""
    names = {"PTV70": "PTV60", "PTV63": "PTV55", "PTV56": "PTV54"}
    rois = RoiMask.encode({names.get(roi, roi): case.rois[roi] for roi in case.rois})
    spec = ChannelSpec()
    channels = channels_of(replace(case, rois=rois), spec, target_slots(tuple(names.values()), spec))
    by_name = dict(zip(spec.names, channels, strict=True))
    np.testing.assert_allclose(by_name["ptv/PTV70"], case.rois["PTV70"])
    expected = case.rois["PTV63"] * (55 / 60) + case.rois["PTV56"] * (54 / 60)
    np.testing.assert_allclose(by_name["ptv/PTV63"], expected, atol=1e-6)
    assert not by_name["ptv/PTV56"].any()


def test_targets_that_overlap_in_one_channel_do_not_add_up():
    """The higher prescription counts there, as it does everywhere."""
    one, two = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    one[0], two[:, 0] = True, True
    rois = RoiMask.encode({"PTV60": one, "PTV59": two})
    spec = ChannelSpec()
    inputs = ChannelInputs(
        torch.zeros((1, 2, 2, 2), dtype=torch.int16), to_tensor(rois.bits)[None], rois.names, torch.ones((1, 2, 2, 2))
    )
    channels = build_channels(inputs, spec, {"PTV60": "PTV70", "PTV59": "PTV70"})
    expected = np.where(one, 1.0, np.where(two, 59 / 60, 0.0))
    np.testing.assert_allclose(channels[0, spec.names.index("ptv/PTV70")], expected, rtol=1e-6)
