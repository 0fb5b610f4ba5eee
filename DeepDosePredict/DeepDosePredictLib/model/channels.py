"""Input channels of the network: one function for training and prediction.

Their names and what they mean are in `contract`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import ModelError
from ..patient.roi_mask import decode
from ..patient.rois import target_prescription
from .contract import PLAIN_CHANNELS, ChannelSpec

SPACING_UNIT_MM = 4.0


def target_slots(targets: Sequence[str], spec: ChannelSpec) -> dict[str, str]:
    """{PTV of a case: PTV of the model whose channel it goes into}.

    A target whose name the model knows keeps it if the highest prescription is the model's. Otherwise the highest takes
    the highest channel and every other the channel that is nearest in units of the highest prescription.
    """
    wanted = {target: target_prescription(target) for target in targets}
    levels, unit = spec.levels(), max(wanted.values())
    return {
        target: min(levels, key=lambda roi: abs(levels[roi] / spec.prescription - level / unit))
        for target, level in wanted.items()
    }


@dataclass(frozen=True)
class ChannelInputs:
    """Cases of one extent, on one device, from which the channels are made.

    Attributes:
        ct: (B, K, J, I) int16 HU.
        bits: (B, K, J, I) bit-mask as given by `roi_mask.to_tensor`.
        roi_names: names of the bits.
        dose_mask: (B, K, J, I) bool.
        spacing: (B, 3) k, j, i in mm; for the channels of that name.
        plan_dose: (B, K, J, I) in units of the highest prescription; for the channel of that name.
        features: {name: (B, K, J, I)}, for the channels of features.
    """

    ct: Tensor
    bits: Tensor
    roi_names: Sequence[str]
    dose_mask: Tensor
    spacing: Tensor | None = None
    plan_dose: Tensor | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)

    def inside(self, roi: str) -> Tensor:
        """(B, K, J, I) 1 inside a structure."""
        return decode(self.bits, list(self.roi_names).index(roi))

    def plain(self, name: str, spec: ChannelSpec) -> Tensor:
        """A channel that is no structure, (B, K, J, I) or what broadcasts to it; ModelError where it is not given."""
        if name in ("ct", "density"):
            khu = self.ct.float().clamp(*spec.hu_window) / 1000
            return khu if name == "ct" else (khu + 1).clamp(min=0)
        if name == "dose_mask":
            return self.dose_mask
        if name == "plan_dose" and self.plan_dose is not None:
            return self.plan_dose
        if name.startswith("spacing/") and self.spacing is not None:
            return (self.spacing[:, "kji".index(name[-1])] / SPACING_UNIT_MM)[:, None, None, None]
        feature = name.removeprefix("feature/")
        if feature in self.features:
            return self.features[feature]
        raise ModelError(f"the input channel {name} is not given")


def build_channels(inputs: ChannelInputs, spec: ChannelSpec, slots: Mapping[str, str] | None = None) -> Tensor:
    """Input channels (B, C, K, J, I) float32, on the device of the inputs.

    A structure that the model knows but the inputs have not gives a channel of zeros.

    Args:
        slots: from `target_slots`, for a case with other prescriptions than the model's: targets go into the channels
            named there with their own prescriptions, in units of the highest of them.
    """
    ct = inputs.ct
    channels = torch.zeros((ct.shape[0], len(spec.names), *ct.shape[1:]), device=ct.device)
    for c, name in enumerate(spec.names):
        kind, _, roi = name.partition("/")
        if name in PLAIN_CHANNELS or kind == "feature":
            channels[:, c] = inputs.plain(name, spec)
        elif kind == "ptv" and slots:
            unit = max(map(target_prescription, slots))
            for target in (target for target, slot in slots.items() if slot == roi):
                level = target_prescription(target) / unit
                channels[:, c] = torch.maximum(channels[:, c], inputs.inside(target) * level)
        elif roi in inputs.roi_names:
            level = target_prescription(roi) / spec.prescription if kind == "ptv" else 1.0
            channels[:, c] = inputs.inside(roi) * level
    return channels
