"""DeepDoseNet has the paper's structure and treats crops like the whole."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from DeepDosePredictLib.device import cpu_has_bf16, one_thread
from DeepDosePredictLib.model.network import NORMS, DeepDoseNet, DenseDilatedBlock, MaskedGroupNorm, NetworkConfig

TINY = {"in_channels": 3, "widths": (4, 4, 4), "growth": 4, "head_channels": 4, "group_size": 2}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("full", [0, 4])
def test_any_multiple_of_16_gives_a_dose_of_the_same_extent(norm, full):
    network = DeepDoseNet(NetworkConfig(**TINY, norm=norm, full_resolution_channels=full)).eval()
    dose = network(torch.randn(2, 3, 16, 48, 32))
    assert dose.shape == (2, 1, 16, 48, 32)
    assert dose.min() >= 0


def test_other_extents_are_refused():
    with pytest.raises(ValueError, match="multiples of 16"):
        DeepDoseNet(NetworkConfig(**TINY))(torch.zeros(1, 3, 16, 24, 16))


def test_published_structure():
    network = DeepDoseNet(NetworkConfig())
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d) and m.kernel_size == (3, 3, 3)]
    assert network.stem[0].stride == (2, 2, 2)
    assert len(network.encoder) == len(network.decoder) == 3
    assert [layer[0].dilation[0] for layer in network.aggregation.layers] == [1, 2, 5, 9, 1]
    assert len(convolutions) == 1 + 2 * 6 + 5
    upsampling = [m for m in network.modules() if isinstance(m, nn.ConvTranspose3d)]
    assert len(upsampling) == 4 and all(m.kernel_size == m.stride == (2, 2, 2) for m in upsampling)
    assert network.head.kernel_size == (1, 1, 1)
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(5.45e6, rel=0.01)


def test_dense_block_sees_all_earlier_features():
    block = DeepDoseNet(NetworkConfig(**TINY)).aggregation
    assert [layer[0].in_channels for layer in block.layers] == [4, 8, 12, 16, 20]
    assert block(torch.randn(1, 4, 2, 2, 2)).shape[1] == block.out_channels == 24


def test_crop_equals_the_whole_beyond_the_receptive_field():
    """With batch norm (fixed statistics) nothing but the zero padding at the border tells a crop from the whole."""
    torch.manual_seed(0)
    network = DeepDoseNet(NetworkConfig(**TINY | {"dilations": (1,)}, full_resolution_channels=4))
    for _ in range(3):
        network(torch.randn(2, 3, 32, 16, 16))
    network.eval()
    with torch.no_grad():
        network.head.bias.fill_(1.0)  # away from the last ReLU's dead side
        volume = torch.randn(1, 3, 320, 16, 16)
        whole, crop = network(volume)[:, :, 64:256], network(volume[:, :, 64:256])
    difference = (whole - crop).abs().amax(dim=(0, 1, 3, 4))
    inner = difference[88:-88]
    assert inner.max() < 1e-5 * whole.abs().max()
    assert difference[:16].max() > 100 * inner.max()


@pytest.mark.parametrize(
    "wrong",
    [
        {"widths": (4, 4)},
        {"dilations": ()},
        {"norm": "layer"},
        {"growth": 0},
        {"widths": (4, 4, 10**9)},
        {"full_resolution_channels": -1},
    ],
)
def test_impossible_configurations(wrong):
    with pytest.raises(ValueError):
        NetworkConfig(**wrong)


def test_output_has_gradient_at_the_start():
    """A last ReLU that starts at zero everywhere would never learn."""
    network = DeepDoseNet(NetworkConfig(**TINY, norm="group"))
    assert (network(torch.randn(1, 3, 16, 16, 16)) > 0).float().mean() > 0.9


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    network = DeepDoseNet(
        NetworkConfig(widths=(4, 4, 4), growth=4, head_channels=4, norm="group", group_size=2, dropout=0.5)
    )
    volume = torch.randn(1, 12, 16, 16, 16)
    assert not torch.equal(network(volume), network(volume))
    network.eval()
    assert torch.equal(network(volume), network(volume))


def test_prediction_takes_the_fast_convolutions_and_gives_the_same(monkeypatch):
    """Of a single case, with and without channels-last memory, against PyTorch's own choice with gradients."""
    torch.manual_seed(0)
    network = DeepDoseNet(
        NetworkConfig(
            widths=(8, 8, 8), growth=8, head_channels=8, norm="group", group_size=2, full_resolution_channels=4
        )
    ).eval()
    calls = []
    real = torch.mkldnn_convolution
    monkeypatch.setattr(torch, "mkldnn_convolution", lambda *arguments: calls.append(1) or real(*arguments))
    for layout in (torch.contiguous_format, torch.channels_last_3d):
        network.to(memory_format=layout)
        volume = torch.randn(1, 12, 32, 16, 48).contiguous(memory_format=layout)
        expected = network(volume).detach()
        assert not calls
        with torch.inference_mode():
            torch.testing.assert_close(network(volume), expected, atol=1e-5, rtol=1e-4)
        assert calls or not torch.backends.mkldnn.is_available()
        calls.clear()


def test_masked_norm_looks_at_the_mask_only():
    """Inside the mask it equals group norm of the voxels inside; what lies outside, or is padded, changes nothing."""
    torch.manual_seed(0)
    norm = MaskedGroupNorm(2, 6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    plain = torch.nn.GroupNorm(2, 6)
    plain.load_state_dict(norm.state_dict())
    volume, mask = 3 + torch.randn(2, 6, 4, 5, 6), (torch.rand(2, 1, 4, 5, 6) > 0.5).float()
    normalised = norm(volume, mask)
    for case in range(2):
        inside = mask[case, 0] > 0
        expected = plain(volume[case : case + 1, :, inside])
        torch.testing.assert_close(normalised[case : case + 1, :, inside], expected, atol=1e-5, rtol=1e-4)
    other = torch.where(mask > 0, volume, torch.randn_like(volume) * 100)
    torch.testing.assert_close(norm(other, mask) * mask, normalised * mask)
    padded = norm(F.pad(volume, (0, 3, 2, 0, 1, 1)), F.pad(mask, (0, 3, 2, 0, 1, 1)))
    torch.testing.assert_close(padded[:, :, 1:-1, 2:, :-3], normalised)


def test_masked_norm_makes_a_batch_of_padded_crops_equal_to_its_cases():
    """Up to the zero padding at the crop's border, which reaches the far side of so small a crop only faintly."""
    torch.manual_seed(0)
    sizes = {"widths": (8, 8, 8), "growth": 8, "head_channels": 8, "group_size": 2, "dilations": (1,)}
    volume = torch.randn(1, 12, 32, 32, 32)
    volume[:, -1] = 0
    volume[:, -1, 2:14, 2:14, 2:14] = 1
    differences = {}
    for norm in ("masked", "group"):
        network = DeepDoseNet(NetworkConfig(norm=norm, **sizes)).eval()
        with torch.inference_mode():
            alone, padded = network(volume), network(F.pad(volume, (0, 64, 0, 64, 0, 64)))[..., :32, :32, :32]
        differences[norm] = (alone - padded)[..., 2:14, 2:14, 2:14].abs().max() / alone.std()
    assert differences["masked"] < 0.2 * differences["group"]


def test_base_channel_is_corrected_from_the_start():
    """An untrained network gives little more than the base it is to correct; its weights see the gradient."""
    network = DeepDoseNet(
        NetworkConfig(in_channels=3, widths=(4, 4, 4), growth=4, norm="group", group_size=2, base_channel=1)
    )
    x = torch.rand(1, 3, 16, 32, 16)
    output = network(x)
    assert (output[:, 0] - x[:, 1]).abs().mean() < 0.2
    output.sum().backward()
    assert network.head.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match="base_channel"):
        NetworkConfig(in_channels=3, base_channel=3)


@pytest.mark.skipif(not cpu_has_bf16(), reason="the processor does not compute in bf16")
@pytest.mark.parametrize("extent", [(2, 3, 5), (2, 5, 6), (3, 3, 4)])
def test_half_precision_gradients_of_few_slices(extent):
    """With one thread PyTorch's bf16 convolutions of two slices gave gradients that were wrong, infinite or NaN."""
    torch.manual_seed(0)
    block = DenseDilatedBlock(NetworkConfig(norm="group", growth=48), 96).to(memory_format=torch.channels_last_3d)
    x = torch.rand(1, 96, *extent).contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(1, block.out_channels, *extent)
    gradients = []
    with one_thread():
        for half in (False, True):
            block.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                (block(x).float() * weight).mean().backward()
            gradients.append([p.grad.flatten() for p in block.parameters()])
    assert all(F.cosine_similarity(exact, half, 0) > 0.9 for exact, half in zip(*gradients, strict=True))
