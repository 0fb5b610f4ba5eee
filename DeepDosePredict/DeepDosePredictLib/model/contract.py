"""What a model expects and promises: the contract, which a model file holds as metadata. Nothing here needs PyTorch.

Input channels, by their names:

    ct            CT in kHU: HU clipped to the model's window, divided by 1000
    density       the same counted from air, which is 0
    dose_mask     1 where dose can be
    roi/NAME      1 inside the structure
    ptv/NAME      inside the PTV, its prescription in units of the highest prescription (PTV56 -> 0.8 for 70 Gy)
    plan_dose     dose that the model's planner plans for the model's gantry angles, see `planner`
    feature/NAME  what planners are told of a voxel, see `planner.features`
    spacing/k     distance of the slices in units of 4 mm, everywhere the same; spacing/i: size of the pixels
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import DeepDoseError, ModelError
from ..geometry.trained_grid import TrainedGrid
from ..patient.case import Case
from ..patient.rois import OARS, PTVS, is_target, mirrored_name, prescription, target_prescription
from ..planner.feature_names import FEATURES, PLACES
from ..planner.gantry_angles import MAX_BEAMS
from ..trust.features import case_features
from ..trust.intervals import Intervals
from ..trust.scope import Scope, Verdict

FORMAT = "deepdose-2"
MAX_HEADER_BYTES = 10**8
MAX_CHANNELS, MAX_PRESCRIPTION = 64, 1000.0
DEFAULT_CHANNELS = ("ct", *(f"roi/{oar}" for oar in OARS), *(f"ptv/{ptv}" for ptv in PTVS), "dose_mask")
PLAIN_CHANNELS = ("ct", "density", "dose_mask", "plan_dose", "spacing/k", "spacing/i")
"""Those that are no structure."""
NORMS = ("batch", "group")


@dataclass(frozen=True)
class ChannelSpec:
    """What a model takes in.

    Attributes:
        names: channels in their order.
        hu_window: (lowest, highest) HU that the CT is clipped to.
        prescription: highest prescription in Gy, the network's unit of dose.
        gantry_angles: of the beams for `plan_dose`, IEC 61217 in degrees.
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
            named = {"roi": bool(roi), "ptv": prescription(roi) is not None, "feature": roi in (*FEATURES, *PLACES)}
            if name not in PLAIN_CHANNELS and not named.get(kind, False):
                raise ModelError(
                    f"unknown input channel {name!r}; known are {', '.join(PLAIN_CHANNELS)}, roi/NAME, ptv/PTVxx,"
                    " feature/NAME"
                )
        if len(set(self.names)) != len(self.names) or not 0 < len(self.names) <= MAX_CHANNELS:
            raise ModelError(f"a model needs 1 to {MAX_CHANNELS} distinct input channels, not {list(self.names)[:99]}")
        object.__setattr__(self, "gantry_angles", tuple(float(angle) for angle in self.gantry_angles))
        if (
            any(name == "plan_dose" or name.startswith("feature/") for name in self.names) != bool(self.gantry_angles)
            or len(self.gantry_angles) > MAX_BEAMS
            or not all(abs(angle) <= 360 for angle in self.gantry_angles)
        ):
            raise ModelError(
                "the channels plan_dose and feature/NAME go with gantry angles from -360 to 360, not"
                f" {list(self.gantry_angles)}"
            )
        low, high = self.hu_window
        if not (0 < self.prescription < MAX_PRESCRIPTION and -math.inf < low < high < math.inf):
            raise ModelError(f"impossible prescription or HU window: {self.prescription}, {self.hu_window}")

    def levels(self) -> dict[str, float]:
        """{PTV with a channel of its own: its prescription in Gy}."""
        return {roi: level for roi in self.rois() if (level := prescription(roi)) is not None}

    def rois(self) -> tuple[str, ...]:
        """Structures that have a channel of their own."""
        return tuple(name.partition("/")[2] for name in self.names if name.startswith(("roi/", "ptv/")))

    def features(self) -> tuple[str, ...]:
        """Of voxels that have a channel, see `planner.features`."""
        return tuple(name.partition("/")[2] for name in self.names if name.startswith("feature/"))

    def mirrored(self) -> list[int]:
        """Permutation of the channels that goes with a left-right flip of the volume."""
        swapped = [mirrored_name(name) for name in self.names]
        return [self.names.index(name) if name in self.names else i for i, name in enumerate(swapped)]


@dataclass(frozen=True)
class NetworkConfig:
    """What DeepDoseNet's paper leaves open, and the variants under study.

    Attributes:
        in_channels: number of input channels (the length of the model's channel list).
        widths: feature channels of the three encoder levels (1/2, 1/4 and 1/8 of the input resolution); the decoder
            mirrors them. Not published; 32/64/128 gives 5.4 M parameters.
        growth: channels that each dilated convolution adds to the dense block. Not published.
        dilations: dilation of each of the five convolutions of the dense block. The paper names 1, 2, 5, 9 for five
            layers; the fifth is taken as 1, which smooths the gridding that the large dilations leave.
        head_channels: channels of the last transposed convolution, before the final 1x1x1 convolution.
        norm: "batch" as published, or "group", which treats a batch of one as any other.
        group_size: channels per group when `norm` is "group".
        full_resolution_channels: 0 as published; otherwise one 3x3x3 convolution with this many channels over
            [decoder output, raw inputs] at full resolution before the last layer, because the stride-2 stem loses
            detail that no skip brings back.
        dropout: share of the dense block's channels that are dropped in training.
        pooling: the network may work on inputs averaged over cells of so many voxels along every axis; its dose is
            interpolated back. 1 as published.
        detail_channel: input channel, in units of the output, whose detail goes with a dose from pooled inputs: what it
            loses itself when it is averaged and interpolated back.
    """

    in_channels: int = 12
    widths: tuple[int, int, int] = (32, 64, 128)
    growth: int = 64
    dilations: tuple[int, ...] = (1, 2, 5, 9, 1)
    head_channels: int = 16
    norm: str = "batch"
    group_size: int = 8
    full_resolution_channels: int = 0
    dropout: float = 0.0
    pooling: int = 1
    detail_channel: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "widths", tuple(self.widths))
        object.__setattr__(self, "dilations", tuple(self.dilations))
        if len(self.widths) != 3 or not 0 < len(self.dilations) <= 16:
            raise ValueError("DeepDoseNet needs three widths and 1 to 16 dilations")
        counts = (self.in_channels, *self.widths, self.growth, self.group_size)
        if not all(isinstance(n, int) and 1 <= n <= 512 for n in counts):
            raise ValueError(f"DeepDoseNet's channels, widths and growth must be whole numbers from 1 to 512: {self}")
        if not all(isinstance(n, int) and 1 <= n <= 16 for n in self.dilations):
            raise ValueError(f"DeepDoseNet's dilations must be whole numbers from 1 to 16: {self}")
        full = (self.head_channels, 1 + self.full_resolution_channels)
        if not all(isinstance(n, int) and 1 <= n <= 65 for n in full):
            raise ValueError(f"head_channels and full_resolution_channels must be up to 64, a channel of 128^3: {self}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be from 0 to below 1, not {self.dropout}")
        channel = self.detail_channel
        if channel is not None and not (isinstance(channel, int) and 0 <= channel < self.in_channels):
            raise ValueError(f"detail_channel must be one of the {self.in_channels} input channels: {self}")
        if self.pooling not in (1, 2, 4) or (self.pooling == 1 and self.detail_channel is not None):
            raise ValueError(f"pooling must be 1, or 2 or 4 with or without a detail_channel: {self}")
        if self.norm not in NORMS:
            raise ValueError(f"norm must be one of {', '.join(NORMS)}, not {self.norm!r}")
        normalised = {*self.widths, self.growth, self.full_resolution_channels} - {0}
        if self.norm == "group" and any(n % max(1, n // self.group_size) for n in normalised):
            raise ValueError(f"groups of {self.group_size} channels do not divide {sorted(normalised)} evenly")


@dataclass(frozen=True)
class CellNetConfig:
    """A U-Net on cells, see `cell_network`.

    Attributes:
        in_channels: number of input channels.
        detail_channel: input channel, in units of the output, from which the dose differs by what the network says, and
            whose detail it gets.
        cell: voxels of a cell along every axis.
        widths: feature channels of the levels, from the finest on; each level is half as fine as the one before.
        encoder_blocks: residual blocks of every level before it is made coarser, without the coarsest.
        decoder_blocks: and after the coarser level's features came back.
        dilations: one block of the coarsest level for each; in plane.
        dropout: share of channels that are dropped in the coarsest level's blocks.
    """

    in_channels: int
    detail_channel: int
    cell: int = 2
    widths: tuple[int, ...] = (16, 96, 192)
    encoder_blocks: tuple[int, ...] = (0, 2)
    decoder_blocks: tuple[int, ...] = (1, 2)
    dilations: tuple[int, ...] = (1, 2, 4, 1)
    dropout: float = 0.1

    def __post_init__(self) -> None:
        lists = ("widths", "encoder_blocks", "decoder_blocks", "dilations")
        for name in lists:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        levels = len(self.widths)
        if not (2 <= levels <= 5 and len(self.encoder_blocks) == len(self.decoder_blocks) == levels - 1):
            raise ValueError(f"CellNet needs 2 to 5 widths and numbers of blocks for all but the coarsest: {self}")
        counts = (self.in_channels, *self.widths, *self.dilations)
        if not all(isinstance(n, int) and 1 <= n <= 512 for n in counts) or not 1 <= len(self.dilations) <= 16:
            raise ValueError(f"CellNet's channels, widths and dilations must be whole numbers from 1 to 512: {self}")
        if not all(isinstance(n, int) and 0 <= n <= 16 for n in (*self.encoder_blocks, *self.decoder_blocks)):
            raise ValueError(f"CellNet's numbers of blocks must be whole numbers up to 16: {self}")
        if self.cell not in (1, 2, 4) or not 0 <= self.dropout < 1:
            raise ValueError(f"CellNet's cells have 1, 2 or 4 voxels, its dropout is below 1: {self}")
        if not (isinstance(self.detail_channel, int) and 0 <= self.detail_channel < self.in_channels):
            raise ValueError(f"detail_channel must be one of the {self.in_channels} input channels: {self}")

    @property
    def stride(self) -> int:
        """Numbers of cells that the network computes with are multiples of this."""
        return 2 ** (len(self.widths) - 1)


ARCHITECTURES: dict[str, type[NetworkConfig] | type[CellNetConfig]] = {
    "DeepDoseNet": NetworkConfig,
    "CellNet": CellNetConfig,
}


@dataclass(frozen=True)
class Contract:
    """What a model expects and promises.

    Attributes:
        name: model name, e.g. "deepdosenet-openkbp".
        version: version of the weights.
        channels: input channels, HU window and prescription (the unit of the network's dose, in Gy).
        network: architecture.
        grid: voxels of the model grid, and their sizes in training.
        single_pass: whether predictions are by default those of one pass, see `Predictor`.
        deliverable_share: of the nearest deliverable dose in the prediction, see `Delivery.blended`.
        plan_dose_share: of the planner's plan, likewise.
        training_data: what it was trained on, in words.
        recipe: how it was trained, in words.
        validation: scores on the validation patients, {"dose_score": Gy, "dvh_score": Gy, ...}.
        scope: the kind of patients that it learnt from; None where nobody has measured it.
        intervals: how plans differ from its predictions; None likewise.
    """

    name: str
    version: str
    channels: ChannelSpec
    network: NetworkConfig | CellNetConfig
    grid: TrainedGrid = field(default_factory=TrainedGrid)
    single_pass: bool = True
    deliverable_share: float = 0.0
    plan_dose_share: float = 0.0
    training_data: str = ""
    recipe: str = ""
    validation: dict[str, float] = field(default_factory=dict)
    scope: Scope | None = None
    intervals: Intervals | None = None

    @property
    def architecture(self) -> str:
        return next(name for name, kind in ARCHITECTURES.items() if isinstance(self.network, kind))

    def doubts(self, targets: Collection[str], structures: Collection[str]) -> list[str]:
        """What the model was not trained on, in words; of a case's targets and all of its structures."""
        doubts = []
        if not self.knows(targets):
            doubts.append(
                f"model {self.name} was trained on {_levels(self.channels.levels())} Gy, not {_levels(targets)} Gy;"
                f" the dose is scaled to {max(map(target_prescription, targets)):g} Gy"
            )
        if missing := [roi for roi in self.channels.rois() if not is_target(roi) and roi not in structures]:
            doubts.append(f"not contoured, so not spared: {', '.join(missing)}")
        return doubts

    def verdict(self, case: Case) -> Verdict:
        """Whether a case is of the kind that the model learnt from."""
        reasons = []
        if not self.knows(case.targets()):
            reasons.append(f"prescriptions of {_levels(case.targets())} Gy, not {_levels(self.channels.levels())} Gy")
        if self.scope is None:
            return Verdict.of(self.name, None, reasons)
        distance, others = self.scope.unlike(case_features(case))
        return Verdict.of(self.name, self.scope.n_patients, [*reasons, *others], distance)

    def interval_words(self, targets: Collection[str]) -> str:
        """Where the intervals of these targets' patient come from, or why there are none."""
        if self.intervals is None:
            return f"no intervals: nobody has measured how far model {self.name} is off"
        if not self.knows(targets):
            return f"no intervals: nothing is known of the model's errors at prescriptions of {_levels(targets)} Gy"
        return self.intervals.words()

    def knows(self, targets: Collection[str]) -> bool:
        """Whether the model was trained on these prescriptions: its highest one is among them, and no other."""
        highest = max(map(target_prescription, targets))
        return highest == self.channels.prescription and set(targets) <= set(self.channels.levels())

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"architecture": self.architecture})

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Parse and check; ValueError, TypeError, KeyError or DeepDoseError for anything that is not a contract."""
        content = json.loads(text)
        words = [content[key] for key in ("name", "version", "training_data", "recipe") if key in content]
        if not all(isinstance(word, str) for word in words) or not all(word.isprintable() for word in words[:2]):
            raise ValueError("name, version and descriptions must be words")
        scores = content.get("validation", {})
        if not isinstance(content.get("single_pass", True), bool) or not all(
            isinstance(key, str) and isinstance(value, int | float) for key, value in scores.items()
        ):
            raise ValueError("single_pass must be true or false, validation scores numbers")
        shares = [content.get(key, 0.0) for key in ("deliverable_share", "plan_dose_share")]
        if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares) or sum(shares) > 1:
            raise ValueError(f"the shares of deliverable doses must be from 0 to 1, together, too, not {shares}")
        architecture = content.pop("architecture")
        if architecture not in ARCHITECTURES:
            raise ValueError(f"unknown architecture {architecture!r}")
        spec = ChannelSpec(**content.pop("channels"))
        network = ARCHITECTURES[architecture](**content.pop("network"))
        if network.in_channels != len(spec.names):
            raise ValueError(f"{len(spec.names)} channels for a network with {network.in_channels}")
        if any(shares) and not spec.gantry_angles:
            raise ValueError("a deliverable dose needs gantry angles")
        scope = Scope(**found) if (found := content.pop("scope", None)) is not None else None
        if (found := content.pop("intervals", None)) is not None:
            content["intervals"] = Intervals.from_json(found)
        return cls(channels=spec, network=network, grid=TrainedGrid(**content.pop("grid")), scope=scope, **content)


def read_contract(path: str | Path) -> Contract:
    """Only the contract of a model file; ModelError if it is missing, damaged or of another kind."""
    path = Path(path)
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(min(length, MAX_HEADER_BYTES))
    try:
        metadata = json.loads(header).get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: damaged or not a .safetensors file; copy it again") from error
    return contract_of(path, metadata)


def contract_of(path: Path, metadata: Mapping[str, str]) -> Contract:
    """The contract in a model file's metadata; ModelError names the file and what is wrong with it."""
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path}: not a model of this program (format {metadata.get('format')!r}, not {FORMAT!r})")
    try:
        return Contract.from_json(metadata["contract"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, DeepDoseError) as error:
        raise ModelError(f"{path}: its contract cannot be read ({error})") from error


def _levels(targets: Collection[str]) -> str:
    return "/".join(f"{level:g}" for level in sorted(map(target_prescription, targets), reverse=True))
