"""Patients for training: a compact cache on disk, batches of crops, and samplers that are the same on any machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import Any, Generic, TypeVar

import lightning
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from DeepDosePredictLib.app.console import progress_bar
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.geometry.body import find_body
from DeepDosePredictLib.io.atomic import atomic_path
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.contract import ChannelSpec
from DeepDosePredictLib.model.model_file import load_planner, planner_hash
from DeepDosePredictLib.patient.case import Case, dose_box
from DeepDosePredictLib.patient.roi_mask import RoiMask, decode, to_tensor
from DeepDosePredictLib.patient.rois import DOSE_MASK, PTVS, ROIS
from DeepDosePredictLib.planner.delivery import plan_dose
from DeepDosePredictLib.planner.planner import Planner, untrained_planner
from DeepDosePredictLib.planner.planning_case import PlanningCase

from .configuration import TrainingConfig

CACHED_ROIS = (*ROIS, DOSE_MASK)
CACHE_VERSION = "5"
VOLUMES = ("ct", "bits", "dose", "plan_dose")
AIR_HU = -1000
MASK_MARGINS_MM = 70.0
"""Up to where OpenKBP's dose masks reach beyond the targets."""
Cohorts = str | Path | Sequence[str]
"""A folder of patients, or several."""
Batch = dict[str, Tensor]
"""`index` (B,) and, by the names of `Sample`, its volumes (B, k, j, i), `outside` (B, ROIs) and `spacing` (B, 3)."""


@dataclass(frozen=True)
class Plans:
    """What the plans of the channel `plan_dose` depend on; without gantry angles there are none.

    Attributes:
        gantry_angles: in degrees.
        file: with the planner, or None for an untrained one.
    """

    gantry_angles: tuple[float, ...] = ()
    file: Path | None = None

    @classmethod
    def of(cls, config: TrainingConfig) -> Plans:
        return cls(tuple(config.gantry_angles), Path(config.planner) if config.planner else None)

    @classmethod
    def of_training_patients(cls, config: TrainingConfig) -> list[Plans]:
        """In turn for one patient after the other: by planners that have not seen them where there are such."""
        held_out = [cls(tuple(config.gantry_angles), Path(planner)) for planner in config.held_out_planners]
        return held_out or [cls.of(config)]

    @cached_property
    def planner(self) -> Planner:
        return load_planner(self.file) if self.file else untrained_planner()

    @cached_property
    def kind(self) -> str:
        """Name of the folder in a cache."""
        angles = "".join(f"-{angle:g}" for angle in self.gantry_angles)
        weights = f"-{planner_hash(self.planner)}" if angles and self.file else ""
        return f"v{CACHE_VERSION}{angles}{weights}"

    def sample(self, case: Case) -> Sample:
        """The case, cropped, with its plan."""
        if not self.gantry_angles:
            return Sample.from_case(case)
        planning_case = PlanningCase.of(case, dose_box(case.dose_mask))
        return Sample.from_case(case, plan_dose(self.planner, planning_case, self.gantry_angles))


NO_PLANS = Plans()


@dataclass(frozen=True)
class Sample:
    """A patient cropped to the box of the dose mask.

    Attributes:
        name: patient.
        ct: (k, j, i) int16 HU.
        bits: (k, j, i) int16 bit-mask of `CACHED_ROIS`, the dose mask being the last.
        dose: (k, j, i) float32 Gy.
        outside: (number of cached ROIs,) int64, voxels of each ROI outside the crop.
        spacing: (3,) float64 mm.
        plan_dose: (k, j, i) float16, in units of the highest prescription; zero where the channels do not need it.
    """

    name: str
    ct: Tensor
    bits: Tensor
    dose: Tensor
    outside: Tensor
    spacing: Tensor
    plan_dose: Tensor

    @classmethod
    def from_case(cls, case: Case, plan_dose: np.ndarray | None = None) -> Sample:
        """A case with a reference dose, cropped; `plan_dose` is the plan inside the box, 0 where there is none."""
        if case.dose is None:
            raise DeepDoseError(f"{case.name}: no reference dose to train on")
        box = dose_box(case.dose_mask)
        masks = {roi: case.rois[roi] if roi in case.rois else np.zeros(case.shape, bool) for roi in ROIS}
        masks[DOSE_MASK] = case.dose_mask
        outside = [int(mask.sum() - mask[box].sum()) for mask in masks.values()]
        plan = torch.zeros(case.ct[box].shape) if plan_dose is None else torch.from_numpy(plan_dose)
        return cls(
            case.name,
            torch.from_numpy(np.ascontiguousarray(case.ct[box])),
            to_tensor(RoiMask.encode({name: mask[box] for name, mask in masks.items()}).bits),
            torch.from_numpy(np.ascontiguousarray(case.dose[box])),
            torch.tensor(outside),
            torch.tensor(case.spacing, dtype=torch.float64),
            plan.half(),
        )

    def save(self, path: Path) -> None:
        tensors = {key: getattr(self, key) for key in (*VOLUMES, "outside", "spacing")}
        with atomic_path(path) as temporary:
            save_file(tensors, temporary, {"name": self.name, "version": CACHE_VERSION, "rois": ",".join(CACHED_ROIS)})

    @classmethod
    def load(cls, path: Path) -> Sample:
        with safe_open(path, "pt") as file:
            return cls(file.metadata()["name"], **{key: file.get_tensor(key) for key in file.keys()})


def channel_spec(config: TrainingConfig) -> ChannelSpec:
    """The channels that a configuration names."""
    return ChannelSpec(
        tuple(config.channels), prescription=config.prescription, gantry_angles=tuple(config.gantry_angles)
    )


def cache_patients(
    cohorts: Cohorts, cache: str | Path, plans: Sequence[Plans] = (NO_PLANS,), limit: int = 0
) -> list[Sample]:
    """Read OpenKBP patients, from the cache where they are in it; new ones are added to the cache.

    A folder that `train.py import` wrote is such a cache itself: its samples are read as they are.

    Args:
        plans: taken in turn for one patient after the other.
        limit: see `patient_folders`.
    """
    if not isinstance(cohorts, str | Path):
        return _cached(patient_folders(cohorts, limit), Path(cache), plans)
    kind = plans[0].kind
    folder = Path(cohorts)
    if len(plans) > 1 and any(folder.glob("v*/*.safetensors")):
        raise DeepDoseError(
            f"{folder}: imported with the plans of one planner; held_out_planners take folders of OpenKBP patients only"
        )
    if imported := sorted((folder / kind).glob("*.safetensors")):
        return [Sample.load(path) for path in imported]
    if any(folder.glob("v*/*.safetensors")):
        raise DeepDoseError(
            f"{folder}: imported for other beams, with another planner or by another version; import it"
            f" again for {kind}"
        )
    return _cached(patient_folders(folder, limit), Path(cache), plans)


def _cached(patients: Sequence[Path], cache: Path, plans: Sequence[Plans]) -> list[Sample]:
    samples = []
    for patient, plan in zip(progress_bar(patients, desc="Loading patients", leave=False), cycle(plans)):
        path = cache / plan.kind / patient.parent.name / f"{patient.name}.safetensors"
        if not path.exists():
            plan.sample(read_openkbp(patient)).save(path)
        samples.append(Sample.load(path))
    return samples


def patient_folders(cohorts: Cohorts, limit: int = 0) -> list[Path]:
    """Of OpenKBP patients, in a fixed order, of each cohort the first `limit` or all; DeepDoseError where are none."""
    found = []
    for cohort in map(Path, [cohorts] if isinstance(cohorts, str | Path) else cohorts):
        patients = sorted(p for p in cohort.iterdir() if p.is_dir()) if cohort.is_dir() else []
        if not patients:
            raise DeepDoseError(f"{cohort}: no patient folders here")
        found += patients[: limit or None]
    return found


def collate(items: Sequence[tuple[int, Sample]]) -> Batch:
    """A batch; crops of different extents are padded at their upper ends with air that lies outside the dose mask."""
    indices, samples = zip(*items, strict=True)
    extent = [max(s.ct.shape[axis] for s in samples) for axis in range(3)]

    def stack(key: str, fill: float) -> Tensor:
        volumes = [getattr(s, key) for s in samples]
        batch = volumes[0].new_full((len(volumes), *extent), fill)
        for target, volume in zip(batch, volumes, strict=True):
            target[tuple(slice(n) for n in volume.shape)] = volume
        return batch

    return {
        "index": torch.tensor(indices),
        "ct": stack("ct", AIR_HU),
        "bits": stack("bits", 0),
        "dose": stack("dose", 0.0),
        "plan_dose": stack("plan_dose", 0.0),
        "outside": torch.stack([s.outside for s in samples]),
        "spacing": torch.stack([s.spacing for s in samples]),
    }


def near_targets(targets: Tensor, draw: np.random.Generator, spacing_k: float) -> Tensor:
    """(K,) which slices a derived dose mask takes: from a random distance below the targets to another one above them.

    Args:
        targets: (K, J, I) bool.
        spacing_k: distance of the slices in mm.
    """
    margins = draw.uniform(0, MASK_MARGINS_MM, 2) / spacing_k
    slices = torch.nonzero(targets.any(-1).any(-1)).flatten()
    where = torch.arange(len(targets), device=targets.device)
    return (where >= slices[0] - round(margins[0])) & (where <= slices[-1] + round(margins[1]))


def derived_masks(batch: Batch, share: float, seed: int, epoch: int) -> Batch:
    """The batch with other dose masks for a share of its cases, drawn by seed, epoch and patient.

    Such a mask is the given one or, as often, the body in the CT, near the targets; where the given mask ends earlier,
    so does it. Dose outside the new mask no longer counts.
    """
    bits, dose = batch["bits"].clone(), batch["dose"].clone()
    for n, index in enumerate(batch["index"].tolist()):
        draw = np.random.default_rng([seed, epoch, index, 2])
        targets = torch.stack([decode(bits[n], CACHED_ROIS.index(ptv)) for ptv in PTVS]).any(0)
        if draw.random() >= share or not targets.any():
            continue
        mask = decode(bits[n], CACHED_ROIS.index(DOSE_MASK))
        near = near_targets(targets, draw, float(batch["spacing"][n, 0]))
        if draw.random() < 0.5:
            body = torch.from_numpy(find_body(batch["ct"][n].cpu().numpy(), targets.cpu().numpy())).to(mask.device)
            mask = body & mask.any(-1).any(-1)[:, None, None] | mask
        new = mask & near[:, None, None]
        bit = 1 << CACHED_ROIS.index(DOSE_MASK)
        bits[n] = torch.where(new, bits[n] | bit, bits[n] & ~bit)
        dose[n] *= new
    return batch | {"bits": bits, "dose": dose}


Item = TypeVar("Item")


class Patients(Dataset[tuple[int, Item]], Generic[Item]):
    """Patients by index; an item is (index, patient)."""

    def __init__(self, patients: Sequence[Item]):
        self.patients = list(patients)

    def __len__(self) -> int:
        return len(self.patients)

    def __getitem__(self, index: int) -> tuple[int, Item]:
        return index, self.patients[index]


class ShardSampler(Sampler[int]):
    """Every world_size-th patient from `rank` on; shuffled in an order that only seed and epoch decide.

    So a run on several processes sees the same global batches as one process, and a resumed run goes on as if it had
    never stopped. For training the order is cut so that all processes take the same number of steps; for validation
    every patient is seen once.
    """

    def __init__(self, n: int, rank: int, world_size: int, *, shuffle: bool, seed: int = 0):
        self.n, self.rank, self.world_size, self.shuffle, self.seed, self.epoch = n, rank, world_size, shuffle, seed, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.world_size if self.shuffle else len(range(self.rank, self.n, self.world_size))

    def __iter__(self) -> Iterator[int]:
        if not self.shuffle:
            return iter(range(self.rank, self.n, self.world_size))
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.n)
        return iter(order[self.rank :: self.world_size][: len(self)].tolist())


class PatientData(lightning.LightningDataModule, Generic[Item]):
    """Training and validation patients, samples or whatever else the module takes, kept in memory.

    Args:
        batch: makes a batch of (index, patient).
    """

    def __init__(
        self,
        train: Sequence[Item],
        validation: Sequence[Any],
        config: TrainingConfig,
        batch: Callable[[Any], Any] | None = None,
    ):
        super().__init__()
        self.train, self.validation = Patients(train), Patients(validation)
        self.config, self.batch = config, batch or collate

    def _sampler(self, patients: Patients, *, shuffle: bool) -> ShardSampler:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        return ShardSampler(len(patients), rank, world_size, shuffle=shuffle, seed=self.config.seed)

    def train_dataloader(self) -> DataLoader:
        sampler = self._sampler(self.train, shuffle=True)
        return DataLoader(self.train, self.config.batch_size, sampler=sampler, collate_fn=self.batch)

    def val_dataloader(self) -> DataLoader:
        sampler = self._sampler(self.validation, shuffle=False)
        return DataLoader(self.validation, 1, sampler=sampler, collate_fn=self.batch)
