"""Bit-mask ROIs against one-hot ROI volumes, for 10 and 40 ROIs, on the crop of the phantom's dose box.

Bytes on disk, loading + transfer + decoding, one training step with the DVH loss, and peak memory of the process. Both
variants share network, loss and crop; they differ in how the ROIs are stored and travel to the device.

    python Testing/benchmarks/bitmask.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from common import median_seconds, peak_megabytes, run_alone
from DeepDosePredictLib.core.bitmask import RoiMask, decode, to_tensor
from DeepDosePredictLib.core.case import dose_box
from DeepDosePredictLib.core.network import DeepDoseNet, NetworkConfig
from DeepDosePredictLib.core.phantom import head_and_neck_phantom

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def prepare(folder: Path, n_rois: int) -> None:
    """Store the phantom's crop both ways; beyond its ten ROIs, shifted copies stand in."""
    case = head_and_neck_phantom()
    box = dose_box(case.dose_mask)
    masks = {f"{roi} {n}": np.roll(case.rois[roi], 2 * n, axis=1)[box] for n in range(4) for roi in case.rois}
    masks = dict(list(masks.items())[:n_rois])
    bits = to_tensor(RoiMask.encode(masks).bits)
    one_hot = torch.from_numpy(np.stack([mask.astype(np.uint8) for mask in masks.values()]))
    dose = torch.from_numpy(np.ascontiguousarray(case.dose[box]))
    save_file({"rois": bits, "dose": dose}, folder / "bit-mask.safetensors")
    save_file({"rois": one_hot, "dose": dose}, folder / "one-hot.safetensors")


def load(path: Path, kind: str, n_rois: int) -> tuple[list[torch.Tensor], torch.Tensor]:
    """ROI masks as bool tensors and the reference dose, on the device."""
    content = load_file(path)
    rois, dose = content["rois"].to(DEVICE), content["dose"].to(DEVICE)
    masks = [decode(rois, r) if kind == "bit-mask" else rois[r].bool() for r in range(n_rois)]
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return masks, dose


def measure(path: Path, kind: str, n_rois: int) -> dict:
    """Timings and peak memory of one variant, in this process."""
    torch.manual_seed(0)
    config = NetworkConfig(in_channels=n_rois, widths=(16, 64, 128), norm="group", head_channels=8,
                           full_resolution_channels=8)
    network = DeepDoseNet(config).to(DEVICE, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.AdamW(network.parameters())

    def step() -> None:
        masks, dose = load(path, kind, n_rois)
        channels = torch.stack(masks).float()[None].contiguous(memory_format=torch.channels_last_3d)
        predicted = network(channels)[0, 0] * 70
        loss = (predicted - dose).abs().mean()
        for mask in masks:
            loss = loss + 0.01 * (predicted[mask].sort().values - dose[mask].sort().values).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    result = {"bytes": path.stat().st_size, "load": median_seconds(lambda: load(path, kind, n_rois), 7)}
    result["step"] = median_seconds(step, 3)
    result["peak"] = torch.cuda.max_memory_allocated() / 2**20 if DEVICE == "cuda" else peak_megabytes()
    return result


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
        return
    print(f"device: {DEVICE}\n{'ROIs':>4}  {'':<28}{'one-hot':>12}{'bit-mask':>12}{'ratio':>8}")
    for n_rois in (10, 40):
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder), n_rois)
            results = {kind: run_alone(__file__, Path(folder) / f"{kind}.safetensors", kind, n_rois)
                       for kind in ("one-hot", "bit-mask")}
        for key, label, scale in (("bytes", "bytes on disk [MB]", 1e-6), ("load", "load+transfer+decode [ms]", 1e3),
                                  ("step", "training step [ms]", 1e3), ("peak", "peak memory [MB]", 1)):
            one_hot, bit_mask = (results[kind][key] for kind in ("one-hot", "bit-mask"))
            print(f"{n_rois:>4}  {label:<28}{one_hot * scale:>12.1f}{bit_mask * scale:>12.1f}"
                  f"{bit_mask / one_hot:>8.2f}")


if __name__ == "__main__":
    main()
