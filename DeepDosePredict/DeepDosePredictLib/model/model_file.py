"""Model files: one .safetensors file holds the half-precision weights and, as metadata, the model's contract.

Nothing in a model file is ever executed or unpickled, and nothing is allocated before its sizes are checked.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import takewhile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..errors import DeepDoseError, ModelError
from ..planner.planner import Planner, untrained_planner
from .channels import ChannelSpec
from .network import DeepDoseNet, NetworkConfig

FORMAT, PLANNER_FORMAT = "deepdose-1", "deepdose-planner-1"
PLANNER = "planner."
"""What the names of a planner's weights begin with."""
ARCHITECTURE = "DeepDoseNet"
MAX_PARTNERS = 16
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Contract:
    """What a model expects and promises.

    Attributes:
        name: model name, e.g. "deepdosenet-openkbp".
        version: version of the weights.
        channels: input channels, HU window and prescription (the unit of the network's dose, in Gy).
        network: architecture.
        grid: (K, J, I) voxels of the model grid.
        single_pass: whether predictions are by default those of one pass, see `Predictor`.
        deliverable: share of the nearest deliverable dose in the prediction, see `planner.Delivery.blended`.
        planned: share of the planner's plan, likewise.
        training_data: what it was trained on, in words.
        recipe: how it was trained, in words.
        validation: scores on the validation patients, {"dose_score": Gy, "dvh_score": Gy, ...}.
    """

    name: str
    version: str
    channels: ChannelSpec
    network: NetworkConfig
    grid: tuple[int, int, int] = (128, 128, 128)
    single_pass: bool = True
    deliverable: float = 0.0
    planned: float = 0.0
    training_data: str = ""
    recipe: str = ""
    validation: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(asdict(self) | {"architecture": ARCHITECTURE})

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Parse and check; ValueError, TypeError, KeyError or DeepDoseError for anything that is not a contract."""
        content = json.loads(text)
        if "mirror" in content:  # until the shipped file is written again
            content["single_pass"] = not content.pop("mirror")
            content.pop("others", None)
            for key in ("mask_channel", "base_channel", "slope"):
                content["network"].pop(key, None)
        words = [content[key] for key in ("name", "version", "training_data", "recipe") if key in content]
        if not all(isinstance(word, str) for word in words) or not all(word.isprintable() for word in words[:2]):
            raise ValueError("name, version and descriptions must be words")
        scores = content.get("validation", {})
        if not isinstance(content.get("single_pass", True), bool) or not all(
            isinstance(key, str) and isinstance(value, int | float) for key, value in scores.items()
        ):
            raise ValueError("single_pass must be true or false, validation scores numbers")
        shares = [content.get(key, 0.0) for key in ("deliverable", "planned")]
        if not all(isinstance(share, int | float) and 0 <= share <= 1 for share in shares) or sum(shares) > 1:
            raise ValueError(f"the shares of deliverable doses must be from 0 to 1, together, too, not {shares}")
        if content.pop("architecture") != ARCHITECTURE:
            raise ValueError("unknown architecture")
        grid = content.pop("grid")
        if len(grid) != 3 or not all(isinstance(n, int) and 16 <= n <= 512 and n % 16 == 0 for n in grid):
            raise ValueError(f"impossible grid {grid}")
        spec, network = ChannelSpec(**content.pop("channels")), NetworkConfig(**content.pop("network"))
        if network.in_channels != len(spec.names):
            raise ValueError(f"{len(spec.names)} channels for a network with {network.in_channels}")
        if any(shares) and not spec.gantry_angles:
            raise ValueError("a deliverable dose needs gantry angles")
        return cls(channels=spec, network=network, grid=tuple(grid), **content)


@dataclass(frozen=True)
class Model:
    """A network with its contract, ready to run on the CPU in float32.

    Attributes:
        planner: makes the rough plans for the channel `beam_dose`, where the model has one.
        sha256: hash of the file, for provenance.
    """

    network: DeepDoseNet
    contract: Contract
    path: Path
    sha256: str
    planner: Planner | None = None

    @property
    def label(self) -> str:
        return f"{self.contract.name} {self.contract.version}"


def save_model(path: str | Path, network: DeepDoseNet, contract: Contract, planner: Planner | None = None) -> None:
    """Write a network's weights, and its planner's, in half precision with its contract."""
    weights = network.state_dict() | _planner_weights(planner)
    _save(Path(path), weights, {"format": FORMAT, "contract": contract.to_json()})


def save_planner(path: str | Path, planner: Planner) -> None:
    """Write a planner's weights in half precision."""
    _save(Path(path), _planner_weights(planner), {"format": PLANNER_FORMAT})


def planner_hash(planner: Planner) -> str:
    """Eight characters that differ between planners as they are saved."""
    return sha256(save({name: _half(t).contiguous() for name, t in planner.state_dict().items()})).hexdigest()[:8]


def _planner_weights(planner: Planner | None) -> dict[str, torch.Tensor]:
    return {PLANNER + name: tensor for name, tensor in planner.state_dict().items()} if planner else {}


def _save(path: Path, weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    content = save({name: _half(tensor).contiguous() for name, tensor in weights.items()}, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _half(tensor: torch.Tensor) -> torch.Tensor:
    if not tensor.is_floating_point():
        return tensor
    if not torch.isfinite(half := tensor.half()).all():
        raise ModelError("the weights have values that are not finite in half precision; the training diverged")
    return half


def read_contract(path: str | Path) -> Contract:
    """Only the contract of a model file; ModelError if it is missing, damaged or of another kind."""
    path = Path(path)
    with _open(path) as file:
        return _contract(path, file.metadata() or {})


def load_model(path: str | Path) -> Model:
    """Read a model file; ModelError names the file and what is wrong with it."""
    path = Path(path)
    with _open(path) as file:
        contract = _contract(path, file.metadata() or {})
        with torch.device("meta"):  # the file's own sizes are not trusted with memory before they are compared
            network = DeepDoseNet(contract.network)
        planned = bool(contract.channels.gantry_angles)
        names = {name for name in file.keys() if not (planned and name.startswith(PLANNER))}
        _fill(path, file, network, names)
        planner = _planner(path, file) if planned else None
    return Model(network, contract, path, sha256(path.read_bytes()).hexdigest(), planner)


def load_planner(path: str | Path) -> Planner:
    """The planner of a planner file or of a model file; ModelError names the file and what is wrong with it."""
    path = Path(path)
    with _open(path) as file:
        if (file.metadata() or {}).get("format") not in (FORMAT, PLANNER_FORMAT):
            raise ModelError(f"{path}: neither a planner nor a model of this program")
        return _planner(path, file)


def _planner(path: Path, file) -> Planner:
    """The file's planner; an untrained one for a model from before planners were learned, which has none."""
    names = {name for name in file.keys() if name.startswith(PLANNER)}
    if not names:
        return untrained_planner()
    if any(name.startswith(PLANNER + "preference.") for name in names):
        raise ModelError(
            f"{path}: its planner is of the form that came with version 6, which this program no longer"
            " plans with; train its preference again (Training/train.py planner --preference)"
        )
    numbers = [
        sum(name.startswith(prefix + "preferences.") and name.endswith(".stem.bias") for name in names)
        for prefix in (PLANNER, *_partners(names))
    ]
    with torch.device("meta"):
        planner = Planner(preferences=numbers[0], partners=numbers[1:])
    _fill(path, file, planner, names, PLANNER)
    return planner


def _partners(names: set[str]) -> list[str]:
    """What the names of the weights of a planner's partners begin with."""
    prefixes = (f"{PLANNER}partners.{n}." for n in range(MAX_PARTNERS))
    return list(takewhile(lambda prefix: prefix + "tissue" in names, prefixes))


def _fill(path: Path, file, module: torch.nn.Module, names: set[str], prefix: str = "") -> None:
    """Give a module on the meta device its weights, for use without gradients."""
    expected = {prefix + name: tensor for name, tensor in module.state_dict().items()}
    shapes = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    found = {name: tuple(file.get_slice(name).get_shape()) for name in names}
    if shapes != found:
        differing = sorted(n for n in shapes.keys() | found.keys() if shapes.get(n) != found.get(n))
        raise ModelError(
            f"{path}: its weights do not fit the architecture it names ({differing[0]} and {len(differing) - 1} more)"
        )
    weights = {}
    for name, tensor in expected.items():
        value = file.get_tensor(name)
        if tensor.is_floating_point() and value.dtype in FLOATS:
            value = value.float()
            if not torch.isfinite(value).all():
                raise ModelError(f"{path}: the weights have NaN or infinite values")
        elif value.dtype != tensor.dtype:
            raise ModelError(f"{path}: {name} has the type {value.dtype}, not {tensor.dtype}")
        weights[name.removeprefix(prefix)] = value
    module.load_state_dict(weights, assign=True)
    module.eval().requires_grad_(False)


def _open(path: Path):
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: damaged or not a .safetensors file ({error}); copy it again") from error


def _contract(path: Path, metadata: dict[str, str]) -> Contract:
    if metadata.get("format") != FORMAT:
        raise ModelError(f"{path}: not a model of this program (format {metadata.get('format')!r}, not {FORMAT!r})")
    try:
        return Contract.from_json(metadata["contract"])
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError, DeepDoseError) as error:
        raise ModelError(f"{path}: its contract cannot be read ({error})") from error
