"""CellNet, patients on cells and how they are changed for training."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch

from deepdose_training.cell_augment import CellSource, ExampleMaker, drawn_slab, in_plane
from deepdose_training.cell_module import CellModule
from deepdose_training.cells import CellPatient
from deepdose_training.configuration import AugmentConfig, DataConfig, TrainingConfig
from deepdose_training.dataset import Plans
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.cell_network import CellNet, FactorisedBlock, Up, averaged
from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS, CellNetConfig, ChannelSpec
from synthetic import make_case

CPU = torch.device("cpu")
SPEC = ChannelSpec(
    ("density", *DEFAULT_CHANNELS[1:], "plan_dose", "feature/left of the isocentre", "spacing/k", "spacing/i"),
    gantry_angles=(0, 120, 240),
)
TINY = {"in_channels": 3, "detail_channel": 1, "widths": (8, 16, 16), "dilations": (1,)}


@cache
def patient() -> CellPatient:
    return CellPatient.of(make_case(), Plans(SPEC.gantry_angles), SPEC, 2)


def maker(*, mirror: float = 0.0, derived_mask: float = 0.0, **augment) -> ExampleMaker:
    settings = AugmentConfig(**{"warp": 0.0, "density": 0.0, "slabs": (0,)} | augment)
    config = TrainingConfig("x", DataConfig("a", "b"), {}, augment=settings, mirror=mirror, derived_mask=derived_mask)
    return ExampleMaker(config, SPEC, 2)


@pytest.mark.parametrize("extent", [(16, 16, 16), (5, 9, 7), (2, 2, 2)])
def test_any_extent_gives_a_dose_of_the_same_extent(extent):
    network = CellNet(CellNetConfig(**TINY)).eval()
    dose = network(torch.randn(2, 3, *extent))
    assert dose.shape == (2, 1, *extent) and dose.min() >= 0


def test_without_a_change_the_dose_is_the_plan():
    """Its detail, too; whatever the extents and the other inputs."""
    network = CellNet(CellNetConfig(**TINY)).eval()
    torch.nn.init.zeros_(network.head.weight)
    x = torch.rand(1, 3, 11, 12, 13)
    torch.testing.assert_close(network(x)[:, 0], x[:, 1])


def test_crop_equals_the_whole_beyond_the_receptive_field():
    torch.manual_seed(0)
    network = CellNet(CellNetConfig(**TINY)).eval()
    with torch.no_grad():
        network.head.weight.normal_()
        volume = torch.randn(1, 3, 160, 16, 16)
        whole, crop = network.dose(volume)[:, :, 32:128], network.dose(volume[:, :, 32:128])
    torch.testing.assert_close(whole[:, :, 32:64], crop[:, :, 32:64], atol=1e-4, rtol=1e-4)


def test_up_is_a_transposed_convolution():
    up, reference = Up(3, 2), torch.nn.ConvTranspose3d(3, 2, 2, 2)
    weight = up.product.weight.view(2, 2, 2, 2, 3)
    with torch.no_grad():
        reference.weight.copy_(weight.permute(4, 3, 0, 1, 2))
        reference.bias.zero_()
        up.product.bias.zero_()
    x = torch.randn(1, 3, 2, 3, 4)
    torch.testing.assert_close(up(x), reference(x), atol=1e-5, rtol=1e-5)


def test_gradients_of_flat_volumes_are_finite():
    block = FactorisedBlock(16)
    x = torch.randn(1, 16, 2, 3, 5, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        block(x).sum().backward()
    assert torch.isfinite(x.grad).all()


def test_the_last_layer_cannot_die():
    """Whatever the sign of what it gets, the layers before it learn."""
    network = CellNet(CellNetConfig(**TINY))
    torch.nn.init.constant_(network.norm.bias, -50.0)
    network.dose(torch.randn(1, 3, 8, 8, 8)).sum().backward()
    assert network.stem.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": (8,)},
        {"encoder_blocks": (1,)},
        {"dilations": ()},
        {"widths": (8, 16, 10**9)},
        {"decoder_blocks": (1, 99)},
        {"cell": 3},
        {"dropout": 1.0},
        {"detail_channel": 3},
    ],
)
def test_impossible_configurations(wrong):
    with pytest.raises(ValueError):
        CellNetConfig(**TINY | wrong)


def test_patients_on_cells_are_means():
    whole = patient()
    names = SPEC.names
    plan = averaged(whole.sample.plan_dose.float()[None], 2)[0]
    torch.testing.assert_close(whole.channels[names.index("plan_dose")].float(), plan, atol=1e-3, rtol=1e-3)
    density = averaged(((whole.sample.ct.float().clamp(-1024, 1500) + 1000) / 1000).clamp(min=0)[None], 2)[0]
    torch.testing.assert_close(whole.channels[0].float(), density, atol=1e-3, rtol=1e-3)
    places = whole.channels[names.index("feature/left of the isocentre")].float()
    assert (places.diff(dim=-1) > 0).all()  # I to the patient's left


def test_a_patient_without_targets_has_no_plan():
    case = make_case()
    case.dose_mask[:] = False
    case.dose_mask[0, 0, 0] = True
    with pytest.raises(DeepDoseError, match="no target in the dose mask"):
        CellPatient.of(case, Plans(SPEC.gantry_angles), SPEC, 2)


def test_a_right_angle_turns_exactly():
    volumes = torch.zeros(3, 2, 21, 33)
    occupied = torch.zeros(21, 33, dtype=torch.bool)
    occupied[5:15, 8:25] = True
    volumes[:, :, occupied] = torch.rand(len(volumes), 2, int(occupied.sum()))
    around = volumes[:, :, 4:16, 7:26]
    turned = in_plane(volumes, occupied, 90.0, 1.0)
    assert any(torch.allclose(turned, torch.rot90(around, n, (2, 3)), atol=1e-5) for n in (1, 3))


def test_slabs_weigh_as_much_as_the_patient():
    """On average the sum of weight times error is the patient's mean error, whatever slab is drawn."""
    source, make = CellSource.of(patient(), SPEC, CPU), maker(slabs=(4, 8, 0), warp=0.5)
    weights = [float(make.draw(source, np.random.default_rng(n)).weight.sum()) for n in range(400)]
    assert np.mean(weights) == pytest.approx(1, abs=3 * np.std(weights) / 20)


@pytest.mark.parametrize(("everything", "count"), [(20, 6), (20, 7), (5, 5), (3, 9), (30, 1)])
def test_every_slice_counts_as_much(everything, count):
    total, draw = np.zeros(everything), np.random.default_rng(0)
    for _ in range(3000):
        slices, share = drawn_slab(everything, count, draw)
        total[slices.numpy()] += 1 / share.numpy()
    assert total / 3000 == pytest.approx(np.ones(everything), abs=0.25)


def test_flips_exchange_sides_and_tell_that_they_flipped():
    """Organs exchange their names; places in the patient flip along, so a flipped patient is told from a real one."""
    source = CellSource.of(patient(), SPEC, CPU)
    as_is, flipped = (maker(mirror=p).draw(source, np.random.default_rng(0)) for p in (0.0, 1.0))
    for name, partner in (
        ("density", "density"),
        ("roi/LeftParotid", "roi/RightParotid"),
        ("feature/left of the isocentre", "feature/left of the isocentre"),
    ):
        assert torch.equal(flipped.x[SPEC.names.index(name)].flip(-1), as_is.x[SPEC.names.index(partner)])
    assert torch.equal(flipped.dose.flip(-1), as_is.dose)


def test_a_magnified_patient_has_a_finer_grid():
    source = CellSource.of(patient(), SPEC, CPU)
    example = maker(warp=1.0, turn_degrees=0, along=0.1, across=0.0).draw(source, np.random.default_rng(3))
    plain = maker().draw(source, np.random.default_rng(3))
    k = SPEC.names.index("spacing/k")
    ratio = example.dose.shape[0] / plain.dose.shape[0]
    assert ratio != 1
    assert float(plain.x[k].mean() / example.x[k].mean()) == pytest.approx(ratio, rel=0.05)


def test_derived_masks_lie_in_the_body():
    source = CellSource.of(patient(), SPEC, CPU)
    body = in_plane(source.volumes[-1:].float(), source.occupied.any(0), 0.0, 1.0)[0] > 0
    masks = []
    for seed in range(8):
        given, derived = (
            maker(derived_mask=p).draw(source, np.random.default_rng(seed)).weight > 0 for p in (0.0, 1.0)
        )
        assert not (derived & ~body).any() and derived.any()
        assert not (derived.any(2).any(1) & ~given.any(2).any(1)).any()
        masks.append(not torch.equal(given, derived))
    assert any(masks)


def test_whole_patients_are_predicted_as_by_the_network():
    """What is trained and validated on cells is what the model predicts from volumes."""
    config = TrainingConfig(
        "x",
        DataConfig("a", "b"),
        {"mae": 1.0},
        architecture="CellNet",
        channels=SPEC.names,
        gantry_angles=SPEC.gantry_angles,
        network={"widths": (8, 16, 16), "dilations": (1,)},
    )
    module = CellModule(config).eval()
    with torch.no_grad():
        module.network.head.weight.normal_()
        one = patient()
        dose = module.predict_patient(one)
        volumes = one.channels.float().repeat_interleave(2, 1).repeat_interleave(2, 2).repeat_interleave(2, 3)[None]
        volumes[:, module.network.config.detail_channel] = one.sample.plan_dose.float()
        expected = 70 * module.network(volumes)[0, 0]
    mask = dose > 0
    torch.testing.assert_close(dose[mask], expected[mask], atol=0.1, rtol=1e-2)
