"""Small made-up cases and models for tests: quick to make, with the traits of real data that matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from DeepDosePredictLib.io.openkbp import CT_OFFSET, from_case_axes, write_dose
from DeepDosePredictLib.model.contract import ChannelSpec, Contract, NetworkConfig
from DeepDosePredictLib.model.model_file import save_model
from DeepDosePredictLib.model.network import DeepDoseNet
from DeepDosePredictLib.patient.case import GRID, Case
from DeepDosePredictLib.patient.roi_mask import RoiMask
from DeepDosePredictLib.patient.rois import DOSE_MASK, ROIS
from DeepDosePredictLib.planner.planner import Planner


def ball(shape: tuple[int, ...], centre: tuple[float, ...], radius: float) -> np.ndarray:
    """Bool mask of the voxels within `radius` voxels of a point (k, j, i)."""
    grids = np.ogrid[tuple(slice(n) for n in shape)]
    return sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True)) <= radius**2


def padded(hu: np.ndarray, value: float) -> np.ndarray:
    """(K, J, I) with what a scanner writes outside its round field of view."""
    j, i = (np.arange(n) - (n - 1) / 2 for n in hu.shape[1:])
    return np.where((j[:, None] / len(j)) ** 2 + (i / len(i)) ** 2 > 0.25, value, hu)


def make_case(name: str = "made-up", seed: int = 0, shape: tuple[int, int, int] = GRID) -> Case:
    """A ball-shaped patient of 28 voxels in diameter in the middle of the grid.

    PTVs are nested balls made disjoint; the cord is a rod that leaves the dose mask and its box; the larynx and the
    esophagus are not contoured; left and right parotid differ. The mandible is bone, all else is soft.
    """
    rng = np.random.default_rng(seed)
    k, j, i = ((n - 1) / 2 for n in shape)
    mask = ball(shape, (k, j, i), 13.5)  # no wobble: every made-up case has the same, symmetric box of 32 voxels
    wobble = rng.uniform(-1, 1, 3)
    ptv70 = ball(shape, (k + wobble[0], j + wobble[1], i + wobble[2]), 4.5)
    ptv63 = ball(shape, (k, j, i), 7) & ~ptv70
    ptv56 = ball(shape, (k, j, i), 9) & ~ptv70 & ~ptv63
    cord = np.zeros(shape, bool)
    cord[int(k) - 25 : int(k) + 15, int(j) + 10 : int(j) + 12, int(i) : int(i) + 2] = True
    empty = np.zeros(shape, bool)
    masks = {
        "Brainstem": ball(shape, (k + 10, j + 5, i), 3),
        "SpinalCord": cord,
        "RightParotid": ball(shape, (k, j, i - 10), 3),
        "LeftParotid": ball(shape, (k, j + 2, i + 10), 2.5),
        "Esophagus": empty,
        "Larynx": empty,
        "Mandible": ball(shape, (k, j - 9, i), 3.5),
        "PTV56": ptv56,
        "PTV63": ptv63,
        "PTV70": ptv70,
    }
    grids = np.ogrid[tuple(slice(n) for n in shape)]
    distance = np.sqrt(sum((g - c) ** 2 for g, c in zip(grids, (k, j, i), strict=True)))
    dose = np.clip(75 - 0.2 * distance**2 + rng.normal(0, 0.5, shape), 0.05, 76) * mask
    ct = np.where(mask, rng.integers(-50, 80, shape), -1000).astype(np.int16)
    ct[masks["Mandible"]] += 700
    ct[cord] = 30
    spacing = (2.5, 3.906, 3.906)
    dose = dose.round(3).astype(np.float32)
    return Case(name, ct, RoiMask.encode({roi: masks[roi] for roi in ROIS}), mask, spacing, dose)


def write_openkbp(folder: Path, case: Case) -> Path:
    """Write a case as an OpenKBP patient folder."""
    folder.mkdir(parents=True)

    def indices(mask: np.ndarray) -> np.ndarray:
        return np.flatnonzero(np.ascontiguousarray(from_case_axes(mask)))

    for name, mask in {**{roi: case.rois[roi] for roi in case.rois}, DOSE_MASK: case.dose_mask}.items():
        lines = [",data", *(f"{index}," for index in indices(mask))]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    stored = np.ascontiguousarray(from_case_axes(case.ct)).astype(int).ravel() + CT_OFFSET
    where = np.flatnonzero(stored)
    lines = [",data", *(f"{index},{value}.0" for index, value in zip(where, stored[where], strict=True))]
    (folder / "ct.csv").write_text("\n".join(lines) + "\n")
    if case.dose is not None:
        write_dose(folder / "dose.csv", case.dose)
    k, j, i = case.spacing
    (folder / "voxel_dimensions.csv").write_text(f"{j:.18e}\n{i:.18e}\n{k:.18e}\n")
    return folder


def write_cohort(root: Path, **seeds: range) -> Path:
    """OpenKBP patients pt_SEED in a folder for each keyword; returns `root`."""
    for split, those in seeds.items():
        for seed in those:
            write_openkbp(root / split / f"pt_{seed}", make_case(f"pt_{seed}", seed=seed))
    return root


def make_model(
    path: Path,
    *,
    seed: int = 0,
    single_pass: bool = True,
    deliverable_share: float = 0.0,
    spec: ChannelSpec | None = None,
    **network,
) -> Path:
    """A model file with small random weights."""
    spec = spec or ChannelSpec()
    torch.manual_seed(seed)
    sizes = {"widths": (4, 4, 4), "growth": 4, "head_channels": 4, "norm": "group", "group_size": 2} | network
    config = NetworkConfig(in_channels=len(spec.names), **sizes)
    contract = Contract("tiny", "1", spec, config, single_pass=single_pass, deliverable_share=deliverable_share)
    planner = Planner(bixel_factors=1) if spec.gantry_angles else None
    save_model(path, DeepDoseNet(config), contract, planner)
    return path
