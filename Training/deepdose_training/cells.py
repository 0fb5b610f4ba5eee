"""Patients on cells of several voxels: what a `CellNet` sees and learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import cycle
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from DeepDosePredictLib.app.console import progress_bar
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.geometry.body import find_body
from DeepDosePredictLib.io.atomic import atomic_path
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.cell_network import averaged
from DeepDosePredictLib.model.channels import ChannelInputs, build_channels
from DeepDosePredictLib.model.contract import ChannelSpec
from DeepDosePredictLib.patient.case import Case, dose_box
from DeepDosePredictLib.patient.roi_mask import decode
from DeepDosePredictLib.patient.rois import DOSE_MASK, PTVS
from DeepDosePredictLib.planner.delivery import Delivery
from DeepDosePredictLib.planner.planning_case import PlanningCase

from .dataset import CACHED_ROIS, Plans, Sample

CELLS = ("channels", "dose", "body")


@dataclass(frozen=True)
class CellPatient:
    """A patient averaged over cells; axes (k, j, i).

    Attributes:
        sample: the same at full resolution, with its plan.
        channels: (C, k, j, i) float16 inputs, in the order of a `ChannelSpec`.
        dose: (1, k, j, i) float16 reference in units of the prescription, mean over the cell's part in the dose mask.
        body: (1, k, j, i) float16 share of the cell in the body, where derived dose masks may be.
    """

    sample: Sample
    channels: Tensor
    dose: Tensor
    body: Tensor

    @classmethod
    def of(cls, case: Case, plans: Plans, spec: ChannelSpec, cell: int) -> CellPatient:
        """Planned by the first planner alone; DeepDoseError without a reference dose or a target to plan for."""
        box = dose_box(case.dose_mask)
        planning_case = PlanningCase.of(case, box)
        if not planning_case.plannable:
            raise DeepDoseError(f"{case.name}: no target in the dose mask")
        delivery = Delivery(plans.planner, planning_case, spec.gantry_angles, features=spec.features())
        sample = Sample.from_case(case, delivery.plan_dose)
        mask = decode(sample.bits, CACHED_ROIS.index(DOSE_MASK))
        targets = torch.stack([decode(sample.bits, CACHED_ROIS.index(ptv)) for ptv in PTVS]).any(0)
        body = torch.from_numpy(find_body(sample.ct.numpy(), targets.numpy())) | mask
        inputs = ChannelInputs(
            sample.ct[None],
            sample.bits[None],
            CACHED_ROIS,
            mask[None],
            sample.spacing[None].float(),
            torch.from_numpy(delivery.plan_dose)[None],
            {name: volume[None] for name, volume in delivery.features.items()},
        )
        channels = averaged(build_channels(inputs, spec)[0], cell)
        dose = averaged((sample.dose * mask)[None], cell) / averaged(mask[None], cell).clamp(min=0.5 / cell**3)
        return cls(sample, channels.half(), (dose / spec.prescription).half(), averaged(body[None], cell).half())

    def save(self, path: Path) -> None:
        self.sample.save(path)
        with atomic_path(_beside(path)) as temporary:
            save_file({key: getattr(self, key) for key in CELLS}, temporary)

    @classmethod
    def load(cls, path: Path) -> CellPatient:
        with safe_open(_beside(path), "pt") as file:
            return cls(Sample.load(path), **{key: file.get_tensor(key) for key in CELLS})


def _beside(path: Path) -> Path:
    return path.with_suffix(".cells")


def cache_cell_patients(
    patients: Sequence[Path], plans: Sequence[Plans], cache: Path, spec: ChannelSpec, cell: int
) -> list[CellPatient]:
    """OpenKBP patients by their folders, from the cache where they are in it; new ones are added to the cache.

    Args:
        plans: taken in turn for one patient after the other.
    """
    kind = sha256(repr((spec, cell)).encode()).hexdigest()[:8]
    found = []
    for patient, plan in zip(progress_bar(patients, desc="Planning patients", leave=False), cycle(plans)):
        path = cache / f"{plan.kind}-{kind}" / patient.parent.name / f"{patient.name}.safetensors"
        if not _beside(path).exists():
            CellPatient.of(read_openkbp(patient), plan, spec, cell).save(path)
        found.append(CellPatient.load(path))
    return found
