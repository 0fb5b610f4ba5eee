"""DeepDoseNet has the paper's structure and treats crops like the whole."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from DeepDosePredictLib.device import cpu_has_bf16, one_thread
from DeepDosePredictLib.model.contract import NORMS, NetworkConfig
from DeepDosePredictLib.model.network import DeepDoseNet, DenseDilatedBlock

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
        {"detail_channel": 0},
        {"pooling": 2, "detail_channel": 12},
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
