"""Bit-mask ROIs against one-hot ROI volumes, for 10 and 40 ROIs: an epoch of training, bytes on disk, peak memory.

An epoch reads every patient from disk, as with a cohort larger than memory, and takes one training step of DeepDoseNet
as published with MAE and DVH loss on the crop to the dose mask's box. Both variants share all but how the ROIs are
stored and travel to the device. Without PATIENTS the phantom is the only patient.

    python Testing/benchmarks/bitmask.py [PATIENTS]        e.g. data/openkbp/train-pats; the first eight are taken
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from common import peak_megabytes, run_alone
from DeepDosePredictLib.device import keep_freed_memory
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.contract import NetworkConfig
from DeepDosePredictLib.model.network import DeepDoseNet
from DeepDosePredictLib.patient.case import Case, dose_box
from DeepDosePredictLib.patient.roi_mask import RoiMask, decode, to_tensor
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
N_PATIENTS, BIN_GY = 8, 1.0


def prepare(folder: Path, case: Case, n_rois: int) -> None:
    """Store a crop both ways; beyond its ten ROIs, shifted copies stand in."""
    box = dose_box(case.dose_mask)
    masks = {f"{roi} {n}": np.roll(case.rois[roi], 2 * n, axis=1)[box] for n in range(4) for roi in case.rois}
    masks = dict(list(masks.items())[:n_rois])
    shared = {
        "dose": torch.from_numpy(np.ascontiguousarray(case.dose[box])),
        "ct": torch.from_numpy(np.ascontiguousarray(case.ct[box])),
    }
    one_hot = torch.from_numpy(np.stack([mask.astype(np.uint8) for mask in masks.values()]))
    for kind, rois in (("bit-mask", to_tensor(RoiMask.encode(masks).bits)), ("one-hot", one_hot)):
        (folder / kind).mkdir(exist_ok=True)
        save_file(shared | {"rois": rois}, folder / kind / f"{case.name}.safetensors")


def load(path: Path, kind: str, n_rois: int) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """ROI masks as bool tensors, CT and reference dose, on the device."""
    content = {key: value.to(DEVICE) for key, value in load_file(path).items()}
    rois = content["rois"]
    masks = [decode(rois, r) if kind == "bit-mask" else rois[r].bool() for r in range(n_rois)]
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return masks, content["ct"], content["dose"]


def measure(folder: Path, kind: str, n_rois: int) -> dict:
    """Seconds of the second epoch and of its loading alone, bytes on disk, peak memory; in this process."""
    keep_freed_memory()
    torch.manual_seed(0)
    network = DeepDoseNet(NetworkConfig(in_channels=n_rois + 1)).to(DEVICE, memory_format=torch.channels_last_3d)
    optimizer = torch.optim.Adam(network.parameters())
    bins = torch.arange(0, 80, BIN_GY, device=DEVICE)
    paths = sorted((folder / kind).iterdir())
    for _ in range(2):
        start, loading = time.perf_counter(), 0.0
        for path in paths:
            before = time.perf_counter()
            masks, ct, dose = load(path, kind, n_rois)
            loading += time.perf_counter() - before
            channels = torch.stack([ct / 1000, *masks])[None].contiguous(memory_format=torch.channels_last_3d)
            with torch.autocast(DEVICE, torch.bfloat16):
                predicted = network(channels)[0, 0].float() * 70
            loss = (predicted - dose).abs().mean()
            for mask in masks:
                if mask.any():
                    curves = [torch.sigmoid((d[mask][:, None] - bins) / BIN_GY).mean(0) for d in (predicted, dose)]
                    loss = loss + (curves[0] - curves[1]).abs().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        seconds = time.perf_counter() - start
    peak = torch.cuda.max_memory_allocated() / 2**20 if DEVICE == "cuda" else peak_megabytes()
    return {
        "epoch": seconds / len(paths),
        "load": loading / len(paths),
        "peak": peak,
        "bytes": sum(path.stat().st_size for path in paths) / len(paths),
    }


def main() -> None:
    if len(sys.argv) > 2:
        print(json.dumps(measure(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
        return
    cases = [head_and_neck_phantom()]
    if len(sys.argv) == 2:
        cases = [read_openkbp(p) for p in sorted(Path(sys.argv[1]).iterdir())[:N_PATIENTS]]
    print(f"device: {DEVICE}, {len(cases)} patient(s); all figures per patient")
    print(f"{'ROIs':>4}  {'':<28}{'one-hot':>12}{'bit-mask':>12}{'ratio':>8}")
    for n_rois in (10, 40):
        with tempfile.TemporaryDirectory() as folder:
            for case in cases:
                prepare(Path(folder), case, n_rois)
            results = {kind: run_alone(__file__, folder, kind, n_rois) for kind in ("one-hot", "bit-mask")}
        for key, label, scale in (
            ("epoch", "training epoch [ms]", 1e3),
            ("load", "of it load and decode [ms]", 1e3),
            ("bytes", "bytes on disk [MB]", 1e-6),
            ("peak", "peak memory [MB]", 1),
        ):
            one_hot, bit_mask = (results[kind][key] for kind in ("one-hot", "bit-mask"))
            print(
                f"{n_rois:>4}  {label:<28}{one_hot * scale:>12.1f}{bit_mask * scale:>12.1f}{bit_mask / one_hot:>8.2f}"
            )


if __name__ == "__main__":
    main()
