"""Prediction: a Case and a model give a dose."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from ..device import autocast_dtype, select_device
from ..errors import ModelError
from ..patient.case import Case, dose_box
from ..patient.grid import Box
from ..patient.roi_mask import to_tensor
from ..planner.delivery import Delivery
from ..planner.gantry_angles import same_angles
from ..planner.planning_case import PlanningCase
from ..trust.intervals import Band, Measured
from .channels import ChannelInputs, build_channels, target_slots
from .model_file import Model
from .result_check import check_result

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """A predicted dose with its circumstances.

    Attributes:
        dose: (K, J, I) float32 Gy, >= 0, zero outside the case's dose mask.
        seconds: time from Case to dose.
        device: where the network ran, e.g. "cpu" or "cuda".
        warnings: what the user should know before trusting the dose, in words.
        scope: whether the patient is of the kind that the model learnt from, in words; a warning, too, where it is not.
        bands: {structure: its intervals}; without those that nothing is known of.
        intervals: where the intervals come from, or why there are none, in words.
    """

    dose: np.ndarray
    seconds: float
    device: str
    warnings: tuple[str, ...] = ()
    scope: str = ""
    bands: Mapping[str, Band] = field(default_factory=dict)
    intervals: str = ""


class Predictor:
    """Runs one model on one device.

    Args:
        model: from `load_model`.
        device: "auto", "cpu", "cuda" or "mps"; DeepDoseError if it is not there. Half precision is used where the
            device computes fast in it.
        single_pass: plan with the model's first planner alone and run the network once, instead of averaging the plans
            of all planners, and the prediction with that of the mirrored patient; None takes the model's default.
        gantry_angles: of the beams to plan for, in degrees, for a model that takes them; None takes those it was
            trained with. ModelError for a model that takes none.
    """

    def __init__(
        self,
        model: Model,
        device: str = "auto",
        single_pass: bool | None = None,
        gantry_angles: Sequence[float] | None = None,
    ):
        self.model = model
        self.channels = model.contract.channels
        if gantry_angles is not None:
            if not self.channels.gantry_angles:
                raise ModelError(f"model {model.label} takes no gantry angles")
            self.channels = replace(self.channels, gantry_angles=tuple(angle % 360 for angle in gantry_angles))
        self.single_pass = model.contract.single_pass if single_pass is None else single_pass
        self._move_to(select_device(device))

    def _move_to(self, device: torch.device) -> None:
        self.device = device
        network = self.model.network if device.type == "cpu" else copy.deepcopy(self.model.network)
        self.network = network.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def predict(
        self, case: Case, any_prescription: bool = False, interrupt: Callable[[], None] | None = None
    ) -> Prediction:
        """Predict a dose; ModelError if the case lacks what the model needs.

        The network sees the bounding box of the dose mask only. Out of memory on a GPU moves the predictor to the CPU
        for good and says so in the warnings.

        Args:
            any_prescription: serve prescriptions that the model was not trained on, too, with a warning: PTVs go into
                the nearest channels and the dose is scaled by the highest prescription. Without it they are refused.
            interrupt: called before every layer of the networks; what it raises stops the prediction.
        """
        with _interruptible((self.network, self.model.planner), interrupt):
            return self._predict(case, any_prescription)

    def _predict(self, case: Case, any_prescription: bool) -> Prediction:
        start = time.perf_counter()
        warnings = self.check(case, any_prescription)
        verdict = self.model.contract.verdict(case)
        warnings = [
            *([verdict.words] if verdict.like is False and self.model.contract.scope else []),
            *case.notes,
            *warnings,
        ]
        box = dose_box(case.dose_mask)
        try:
            inside, deliverable = self._run(case, box)
        except RuntimeError as error:
            if self.device.type == "cpu" or not _is_out_of_memory(error):
                raise
            warnings.append(f"{self.device.type} ran out of memory; the dose was computed on the CPU instead")
            log.warning("%s: %s", case.name, warnings[-1])
            self._move_to(torch.device("cpu"))
            inside, deliverable = self._run(case, box)
        dose = np.zeros(case.shape, np.float32)
        dose[box] = inside
        warnings += check_result(case, dose)
        bands = self._bands(case, dose, box, deliverable)
        return Prediction(
            dose,
            time.perf_counter() - start,
            self.device.type,
            tuple(warnings),
            verdict.words,
            bands,
            self.model.contract.interval_words(case.targets()),
        )

    def measured(self, case: Case) -> dict[str, Measured]:
        """{structure: what its intervals rest on} in the predicted dose of a case."""
        box = dose_box(case.dose_mask)
        dose = np.zeros(case.shape, np.float32)
        dose[box], deliverable = self._run(case, box)
        return _measured(case, dose, box, deliverable)

    def _bands(self, case: Case, dose: np.ndarray, box: Box, deliverable: np.ndarray | None) -> dict[str, Band]:
        contract = self.model.contract
        if contract.intervals is None or not contract.knows(case.targets()):
            return {}
        measured = _measured(case, dose, box, deliverable)
        bands = {roi: contract.intervals.band(roi, one) for roi, one in measured.items()}
        return {roi: band for roi, band in bands.items() if band is not None}

    def check(self, case: Case, any_prescription: bool = False) -> list[str]:
        """Warnings about a case; ModelError if the model cannot serve it at all."""
        contract = self.model.contract
        if case.shape != contract.grid.shape:
            raise ModelError(
                f"{case.name}: the grid is {case.shape}, model {contract.name} needs {contract.grid.shape}"
            )
        targets = case.targets()
        if not any_prescription:
            self._check_prescriptions(case)
        warnings = contract.doubts(targets, case.rois.present())
        for target in targets:
            mask = case.rois[target]
            outside = np.count_nonzero(mask & ~case.dose_mask) / np.count_nonzero(mask)
            if outside > 0.01:
                warnings.append(f"{outside:.0%} of {target} lies outside the dose mask and gets no dose")
        if not contract.grid.has(case.spacing):
            warnings.append(
                f"voxels of {_sizes(case.spacing)} mm; model {contract.name} was trained with {contract.grid}"
            )
        if not same_angles(self.channels.gantry_angles, contract.channels.gantry_angles):
            warnings.append(
                f"beams from {_angles(self.channels.gantry_angles)} degrees; model {contract.name} was"
                f" trained with {_angles(contract.channels.gantry_angles)}"
            )
        return warnings

    def _check_prescriptions(self, case: Case) -> None:
        contract = self.model.contract
        if contract.knows(case.targets()):
            return
        levels, unit = contract.channels.levels(), contract.channels.prescription
        if case.prescription != unit:
            raise ModelError(
                f"{case.name}: no PTV{unit:g} (the highest with voxels is {case.highest_target}); model"
                f" {contract.name} was trained with a highest prescription of {unit:g} Gy"
            )
        unknown = [target for target in case.targets() if target not in levels]
        raise ModelError(
            f"{case.name}: model {contract.name} knows no {', '.join(unknown)}; it takes {', '.join(levels)}"
        )

    def _run(self, case: Case, box: Box) -> tuple[np.ndarray, np.ndarray | None]:
        """Dose in Gy inside the box, and one that beams can deliver; None without beams.

        That is the nearest one where the model mixes it in, else the planner's.
        """
        ct = torch.from_numpy(np.ascontiguousarray(case.ct[box]))[None].to(self.device)
        bits = to_tensor(case.rois.bits[box])[None].to(self.device)
        mask = torch.from_numpy(np.ascontiguousarray(case.dose_mask[box]))[None].to(self.device)
        spec = self.channels
        slots = target_slots(case.targets(), spec)
        delivery = self.delivery(case, box)
        plan_dose = torch.zeros_like(ct, dtype=torch.float32)
        told = dict.fromkeys(spec.features(), plan_dose)
        if delivery:
            plan_dose = torch.from_numpy(delivery.plan_dose)[None].to(self.device)
            told = {name: volume[None].to(self.device) for name, volume in delivery.features.items()}
        spacing = torch.tensor([case.spacing], dtype=torch.float32, device=self.device)
        inputs = ChannelInputs(ct, bits, case.rois.names, mask, spacing, plan_dose, told)
        channels = build_channels(inputs, spec, slots)
        output = self._network(channels)
        if not self.single_pass:
            output = (output + self._network(channels[:, spec.mirrored()].flip(-1)).flip(-1)) / 2
        dose = (output[0].clamp(min=0) * mask[0]).cpu().numpy()
        if not np.isfinite(dose).all():
            advice = "the model file is damaged: choose another model"
            if self.device.type != "cpu":
                advice = "try device 'cpu'"
            raise ModelError(
                f"{case.name}: model {self.model.contract.name} gave values that are not finite on"
                f" {self.device.type}; {advice}"
            )
        contract = self.model.contract
        if delivery is None:
            return dose * case.prescription, None
        deliverable = delivery.nearest(dose) if contract.deliverable_share else delivery.plan_dose
        if contract.deliverable_share or contract.plan_dose_share:
            dose = delivery.blended(dose, contract.deliverable_share, contract.plan_dose_share, deliverable)
        return dose * case.prescription, deliverable * mask[0].cpu().numpy() * case.prescription

    def delivery(self, case: Case, box: Box, gantry_angles: Sequence[float] | None = None) -> Delivery | None:
        """What the model's beams, or others, can deliver inside a box; None without beams or PTV in the dose mask."""
        planner = self.model.planner
        if not self.channels.gantry_angles or planner is None:
            return None
        planning_case = PlanningCase.of(case, box)
        if not planning_case.plannable:
            return None
        angles = gantry_angles or self.channels.gantry_angles
        features = self.channels.features()
        return Delivery(planner, planning_case, angles, partners=not self.single_pass, features=features)

    def _network(self, channels: Tensor) -> Tensor:
        """(1, C, K, J, I) to (1, K, J, I) float32."""
        dtype = autocast_dtype(self.device)
        with torch.inference_mode(), torch.autocast(self.device.type, dtype, enabled=dtype is not None):
            return self.network(channels.contiguous(memory_format=torch.channels_last_3d))[:, 0].float()


def _measured(case: Case, dose: np.ndarray, box: Box, deliverable: np.ndarray | None) -> dict[str, Measured]:
    """{structure: what its intervals rest on}.

    Args:
        dose: (K, J, I) Gy.
        deliverable: Gy in the box, see `Predictor._run`.
    """
    disagreement = np.zeros(case.shape, np.float32)
    if deliverable is not None:
        disagreement[box] = np.abs(deliverable - dose[box])
    masks = {roi: case.rois[roi] for roi in case.rois.present()}
    return {roi: Measured.of(dose[mask], disagreement[mask], case.voxel_volume_mm3) for roi, mask in masks.items()}


@contextmanager
def _interruptible(networks: Iterable[nn.Module | None], interrupt: Callable[[], None] | None) -> Iterator[None]:
    """`interrupt` is called before every layer."""

    def ask(*_: object) -> None:  # what a hook returns would become the layer's input
        if interrupt is not None:
            interrupt()

    layers = [layer for network in networks if network is not None for layer in network.modules()]
    hooks = [layer.register_forward_pre_hook(ask) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _sizes(spacing: Sequence[float]) -> str:
    return " x ".join(f"{step:g}" for step in spacing)


def _angles(angles: Sequence[float]) -> str:
    return ", ".join(f"{angle:g}" for angle in sorted(angle % 360 for angle in angles))


def _is_out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()
