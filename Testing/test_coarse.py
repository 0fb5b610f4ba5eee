"""Coarse training: averaged patients, stretching, and a network that learns at its own resolution."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given, settings
from hypothesis import strategies as st

from deepdose_training.augment import Stretch, interpolated, stretched
from deepdose_training.coarse import CoarseModule, CoarsePatient
from deepdose_training.configuration import read_config
from deepdose_training.dataset import CACHED_ROIS, Plans, Sample
from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS, ChannelSpec, NetworkConfig
from DeepDosePredictLib.model.network import DeepDoseNet
from DeepDosePredictLib.patient.roi_mask import decode
from synthetic import make_case

ANGLES = tuple(range(0, 360, 40))
CHANNELS = (*DEFAULT_CHANNELS, "plan_dose", "spacing/k", "spacing/i")
SPEC = ChannelSpec(CHANNELS, gantry_angles=ANGLES)
BASE, MASK = CHANNELS.index("plan_dose"), CHANNELS.index("dose_mask")


def tiny(**changes) -> DeepDoseNet:
    sizes = {"in_channels": 3, "widths": (4, 4, 4), "growth": 4, "norm": "group", "group_size": 2}
    return DeepDoseNet(NetworkConfig(**sizes | changes)).eval()


@pytest.fixture(scope="module")
def sample() -> Sample:
    return Sample.from_case(make_case("pt_1", seed=1), Plans(ANGLES))


@pytest.mark.parametrize("extent", [(16, 32, 48), (32, 32, 32)])
def test_pooled_network(extent):
    """The dose of averaged inputs, padded where need be, is interpolated back; the detail of a channel is added."""
    plain, detailed = (tiny(pooling=2, detail_channel=detail) for detail in (None, 1))
    torch.nn.init.normal_(plain.head.weight)
    detailed.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, *extent)
    k, j, i = (n // 2 for n in extent)
    with torch.inference_mode():
        pooled = F.avg_pool3d(x, 2)
        padded = F.pad(pooled, [length for n in (i, j, k) for length in (0, -n % 16)])
        dose = F.interpolate(plain.dose(padded)[..., :k, :j, :i], size=extent, mode="trilinear")
        torch.testing.assert_close(plain(x), dose, atol=1e-4, rtol=0)
        smooth = F.interpolate(pooled[:, 1:2], size=extent, mode="trilinear")
        expected = (dose + x[:, 1:2] - smooth).clamp(min=0)
        torch.testing.assert_close(detailed(x), expected, atol=1e-4, rtol=0)


def test_impossible_pooling():
    for wrong in ({"pooling": 3}, {"pooling": 1, "detail_channel": 1}, {"pooling": 2, "detail_channel": 3}):
        with pytest.raises(ValueError, match=r"pooling|detail_channel"):
            tiny(**wrong)


def test_averaged_patient(sample):
    """Inputs are means over cells, the reference dose that over the part of a cell that lies in the dose mask."""
    patient = CoarsePatient.of(sample, SPEC, 2)
    assert patient.channels.shape == (len(CHANNELS), *(n // 2 for n in sample.ct.shape))
    mask = sample.bits.numpy().view(np.uint16) >> 10 & 1
    cell = np.argwhere(patient.channels[MASK].numpy() > 0.9)[7] * 2
    block = tuple(slice(n, n + 2) for n in cell)
    expected = (sample.dose.numpy() * mask)[block].sum() / mask[block].sum()
    assert patient.dose[0][tuple(cell // 2)] == pytest.approx(float(expected), abs=0.02)
    plan = float(sample.plan_dose[block].float().mean())
    assert patient.channels[BASE][tuple(cell // 2)] == pytest.approx(plan, abs=1e-3)
    assert patient.channels[MASK][tuple(cell // 2)] == pytest.approx(mask[block].mean(), abs=1e-3)
    assert (patient.body[0] >= patient.channels[MASK]).all()


def ball(shape: tuple[int, int, int], radius: float) -> torch.Tensor:
    square = sum(
        (torch.arange(n).view([-1 if a == axis else 1 for a in range(3)]) - (n - 1) / 2) ** 2
        for axis, n in enumerate(shape)
    )
    return torch.sigmoid(radius - square.sqrt())


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 360), st.floats(0.8, 1.25), st.floats(0.8, 1.25))
def test_stretching_keeps_what_it_should(degrees, along, across):
    """A ball becomes an ellipsoid of the magnified volume about the centre of its own grid, whatever its turn."""
    volume, stretch = ball((32, 32, 48), 11), Stretch(degrees, along, across)
    result = interpolated(volume[None], *stretch.source(volume > 0.01))[0]
    assert float(result.sum()) == pytest.approx(float(volume.sum()) * stretch.volume, rel=0.03)
    places = torch.nonzero(result > -1).float()
    centre = (places * result.flatten()[:, None]).sum(0) / result.sum()
    assert torch.allclose(centre, (torch.tensor(result.shape) - 1) / 2, atol=0.6)
    second = ((places - centre).square() * result.flatten()[:, None]).sum(0) / result.sum()
    assert float(second[0] / second[1]) == pytest.approx((along / across) ** 2, rel=0.05)
    assert float(second[1] / second[2]) == pytest.approx(1, rel=0.05)


def test_a_quarter_turn_is_exact():
    volume = torch.rand(2, 8, 12, 16)
    quarter = interpolated(volume, *Stretch(90).source(torch.ones(8, 12, 16, dtype=torch.bool)))
    assert quarter.shape == (2, 16, 16, 16)
    torch.testing.assert_close(quarter[:, 4:12, :, 2:14], volume.rot90(1, (2, 3)), atol=1e-4, rtol=0)


def test_a_stretched_patient_keeps_volumes_in_mm(sample):
    """Structures and dose of the sample follow the magnification, and so does the spacing."""
    stretch = Stretch(7.0, 1.2, 1.1)
    result = stretched(sample, stretch)
    torch.testing.assert_close(result.spacing * torch.tensor([1.2, 1.1, 1.1]), sample.spacing)
    for before, after in ((sample.dose, result.dose), (sample.plan_dose.float(), result.plan_dose.float())):
        assert float(after.sum()) == pytest.approx(float(before.sum()) * stretch.volume, rel=0.05)
    for r, roi in enumerate(CACHED_ROIS):
        before, after = (float(decode(s.bits, r).sum() + s.outside[r]) for s in (sample, result))
        assert after == pytest.approx(before * stretch.volume, rel=0.1, abs=60), roi
    assert stretched(sample, Stretch()) is sample


def test_inputs_of_a_stretched_patient(tmp_path, sample):
    """Mirrored organs exchange their channels, the spacing follows the magnification, extents fit the network."""
    (tmp_path / "c.yaml").write_text(f"""
name: x
data: {{train: a, validation: b}}
loss: {{mae: 1.0}}
channels: {list(CHANNELS)}
gantry_angles: {list(ANGLES)}
coarse: true
network: {{widths: [4, 4, 4], growth: 4, head_channels: 4, norm: group, pooling: 2}}
affine: {{share: 1.0, along: 0.2, across: 0.2}}
mirror: 1.0
derived_mask: 1.0
""")
    module = CoarseModule(read_config(tmp_path / "c.yaml"))
    patient = CoarsePatient.of(sample, SPEC, 2)
    for index in range(4):
        x, dose, weight = module._drawn(index, patient)
        assert all(n % 16 == 0 for n in x.shape[1:]) and x.shape[1:] == dose.shape[1:] == weight.shape[1:]
        inside = x[CHANNELS.index("ptv/PTV70")] > 0.5
        along = float(x[CHANNELS.index("spacing/k")][inside].mean()) * 4 / float(sample.spacing[0])
        across = float(x[CHANNELS.index("spacing/i")][inside].mean()) * 4 / float(sample.spacing[2])
        volumes = [
            float(v.sum())
            for v in (
                x[CHANNELS.index("roi/RightParotid")],
                patient.channels[CHANNELS.index("roi/LeftParotid")].float(),
            )
        ]
        assert volumes[0] * along * across**2 == pytest.approx(volumes[1], rel=0.2), "of few voxels"
        assert torch.equal(weight[0], x[MASK]) and float(weight.sum()) > 0
        assert float(x[0].min()) >= -1.03
