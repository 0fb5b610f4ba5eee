"""Input channels of the network: one function for training and prediction.

A model's metadata lists its channels by these names, so other channel sets can follow:

    ct            CT in kHU: HU clipped to the model's window, divided by 1000
    dose_mask     1 where dose can be
    roi/NAME      1 inside the structure
    ptv/NAME      inside the PTV, its prescription in units of the highest prescription (PTV56 -> 0.8 for 70 Gy)
    beam_dose     dose of a rough plan with the model's planner and gantry angles, see `planner`
    spacing/k     distance of the slices in units of 4 mm, everywhere the same; spacing/i: size of the pixels
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import ModelError
from ..patient.roi_mask import RoiMask, decode
from ..patient.rois import OARS, PTVS, mirrored_name, prescription
from ..planner.gantry_angles import MAX_BEAMS
from ..planner.planner import ORGANS, Patient, Planner

SPACING_UNIT_MM = 4.0
MAX_CHANNELS, MAX_PRESCRIPTION = 64, 1000.0
DEFAULT_CHANNELS = ("ct", *(f"roi/{oar}" for oar in OARS), *(f"ptv/{ptv}" for ptv in PTVS), "dose_mask")

_PLAIN = ("ct", "dose_mask", "beam_dose", "spacing/k", "spacing/i")


@dataclass(frozen=True)
class ChannelSpec:
    """What a model takes in.

    Attributes:
        names: channels in their order.
        hu_window: (lowest, highest) HU that the CT is clipped to.
        prescription: highest prescription in Gy, the network's unit of dose.
        gantry_angles: of the beams for `beam_dose`, IEC 61217 in degrees.
    """

    names: tuple[str, ...] = DEFAULT_CHANNELS
    hu_window: tuple[float, float] = (-1024.0, 1500.0)
    prescription: float = 70.0
    gantry_angles: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "hu_window", tuple(float(x) for x in self.hu_window))
        for name in self.names:
            kind, _, roi = name.partition("/")
            known = name in _PLAIN or (kind == "roi" and roi) or (kind == "ptv" and prescription(roi))
            if not known:
                raise ModelError(f"unknown input channel {name!r}; known are {', '.join(_PLAIN)}, roi/NAME, ptv/PTVxx")
        if len(set(self.names)) != len(self.names) or not 0 < len(self.names) <= MAX_CHANNELS:
            raise ModelError(f"a model needs 1 to {MAX_CHANNELS} distinct input channels, not {list(self.names)[:99]}")
        object.__setattr__(self, "gantry_angles", tuple(float(angle) for angle in self.gantry_angles))
        if (
            ("beam_dose" in self.names) != bool(self.gantry_angles)
            or len(self.gantry_angles) > MAX_BEAMS
            or not all(map(math.isfinite, self.gantry_angles))
        ):
            raise ModelError(f"the channel beam_dose goes with gantry angles, not {list(self.gantry_angles)}")
        low, high = self.hu_window
        if not (0 < self.prescription < MAX_PRESCRIPTION and -math.inf < low < high < math.inf):
            raise ModelError(f"impossible prescription or HU window: {self.prescription}, {self.hu_window}")

    def rois(self) -> tuple[str, ...]:
        """Structures that have a channel of their own."""
        return tuple(name.partition("/")[2] for name in self.names if name.startswith(("roi/", "ptv/")))

    def mirrored(self) -> list[int]:
        """Permutation of the channels that goes with a left-right flip of the volume."""
        swapped = [mirrored_name(name) for name in self.names]
        return [self.names.index(name) if name in self.names else i for i, name in enumerate(swapped)]


def target_slots(targets: Sequence[str], spec: ChannelSpec) -> dict[str, str]:
    """{PTV of a case: PTV of the model whose channel it goes into}.

    A target whose name the model knows keeps it if the highest prescription is the model's. Otherwise the highest takes
    the highest channel and every other the channel that is nearest in units of the highest prescription.
    """
    levels = {roi: level for roi in spec.rois() if (level := prescription(roi))}
    unit = max(map(prescription, targets))
    return {
        target: min(levels, key=lambda roi: abs(levels[roi] / spec.prescription - prescription(target) / unit))
        for target in targets
    }


def build_channels(
    ct: Tensor,
    bits: Tensor,
    roi_names: Sequence[str],
    dose_mask: Tensor,
    spec: ChannelSpec,
    slots: Mapping[str, str] | None = None,
    spacing: Tensor | None = None,
    beams: Tensor | None = None,
) -> Tensor:
    """Input channels, on the device of the inputs.

    Args:
        ct: (B, K, J, I) int16 HU.
        bits: (B, K, J, I) bit-mask as given by `bitmask.to_tensor`.
        roi_names: names of the bits. A structure that the model knows but the case has not gives a channel of zeros.
        dose_mask: (B, K, J, I) bool.
        spec: the model's channels.
        slots: from `target_slots`, for a case with other prescriptions than the model's: targets go into the channels
            named there with their own prescriptions, in units of the highest of them.
        spacing: (B, 3) k, j, i in mm; for the channels of that name.
        beams: (B, K, J, I) from `rough_plan`; for the channel `beam_dose`.

    Returns:
        (B, C, K, J, I) float32.
    """
    channels = torch.zeros((ct.shape[0], len(spec.names), *ct.shape[1:]), device=ct.device)
    for c, name in enumerate(spec.names):
        kind, _, roi = name.partition("/")
        if kind == "ct":
            channels[:, c] = ct.float().clamp(*spec.hu_window) / 1000
        elif kind == "dose_mask":
            channels[:, c] = dose_mask
        elif kind == "beam_dose":
            channels[:, c] = beams
        elif kind == "spacing":
            channels[:, c] = (spacing[:, "kji".index(roi)] / SPACING_UNIT_MM)[:, None, None, None]
        elif kind == "ptv" and slots:
            unit = max(map(prescription, slots))
            for target in (target for target, slot in slots.items() if slot == roi):
                channels[:, c] += decode(bits, list(roi_names).index(target)) * (prescription(target) / unit)
        elif roi in roi_names:
            level = prescription(roi) / spec.prescription if kind == "ptv" else 1.0
            channels[:, c] = decode(bits, list(roi_names).index(roi)) * level
    return channels


def rough_plan(
    ct: np.ndarray,
    rois: RoiMask,
    dose_mask: np.ndarray,
    spacing: Sequence[float],
    planner: Planner,
    gantry_angles: Sequence[float],
) -> np.ndarray:
    """`Planner.plan` (K, J, I) for a case's arrays."""
    return planner.plan(plan_patient(ct, rois, dose_mask, spacing), gantry_angles)


def plan_patient(ct: np.ndarray, rois: RoiMask, dose_mask: np.ndarray, spacing: Sequence[float]) -> Patient:
    """A case's arrays as the planner takes them; structures that are neither PTV nor of its kinds are left out."""
    present = rois.present()
    levels = {name: level for name in present if (level := prescription(name))}
    level, organ = np.zeros(ct.shape, np.float32), np.zeros(ct.shape, np.uint8)
    for name in levels:
        level = np.maximum(level, rois[name] * np.float32(levels[name] / max(levels.values())))
    for kind, word in enumerate(ORGANS, 1):
        for name in present:
            if name.removeprefix("Left").removeprefix("Right") == word:
                organ[rois[name]] = kind
    return Patient(ct, level, organ, dose_mask, spacing)
