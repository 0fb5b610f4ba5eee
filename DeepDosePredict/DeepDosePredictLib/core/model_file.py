"""Model files: one .safetensors file holds the half-precision weights and, as metadata, the model's contract.

Nothing in a model file is ever executed or unpickled, and nothing is allocated before its sizes are checked.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .channels import ChannelSpec
from .errors import DeepDoseError, ModelError
from .network import DeepDoseNet, NetworkConfig

FORMAT = "deepdose-1"
ARCHITECTURE = "DeepDoseNet"
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
        mirror: whether predictions are averaged with the mirrored prediction by default.
        training_data: what it was trained on, in words.
        recipe: how it was trained, in words.
        validation: scores on the validation patients, {"dose_score": Gy, "dvh_score": Gy, ...}.
    """

    name: str
    version: str
    channels: ChannelSpec
    network: NetworkConfig
    grid: tuple[int, int, int] = (128, 128, 128)
    mirror: bool = False
    training_data: str = ""
    recipe: str = ""
    validation: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> str:
        content = asdict(self) | {"network": self.network.to_dict(), "architecture": ARCHITECTURE}
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Parse and check; ValueError, TypeError, KeyError or DeepDoseError for anything that is not a contract."""
        content = json.loads(text)
        words = [content[key] for key in ("name", "version", "training_data", "recipe") if key in content]
        if not all(isinstance(word, str) for word in words) or not all(word.isprintable() for word in words[:2]):
            raise ValueError("name, version and descriptions must be words")
        scores = content.get("validation", {})
        if not isinstance(content.get("mirror", False), bool) or not all(
                isinstance(key, str) and isinstance(value, int | float) for key, value in scores.items()):
            raise ValueError("mirror must be true or false, validation scores numbers")
        if content.pop("architecture") != ARCHITECTURE:
            raise ValueError("unknown architecture")
        grid = content.pop("grid")
        if len(grid) != 3 or not all(isinstance(n, int) and 16 <= n <= 512 and n % 16 == 0 for n in grid):
            raise ValueError(f"impossible grid {grid}")
        spec, network = ChannelSpec(**content.pop("channels")), NetworkConfig(**content.pop("network"))
        if network.in_channels != len(spec.names):
            raise ValueError(f"{len(spec.names)} channels for a network with {network.in_channels}")
        return cls(channels=spec, network=network, grid=tuple(grid), **content)


@dataclass(frozen=True)
class Model:
    """A network with its contract, ready to run on the CPU in float32.

    Attributes:
        sha256: hash of the file, for provenance.
    """

    network: DeepDoseNet
    contract: Contract
    path: Path
    sha256: str


def save_model(path: str | Path, network: DeepDoseNet, contract: Contract) -> None:
    """Write a network's weights in half precision with its contract."""
    weights = {name: _half(tensor).contiguous() for name, tensor in network.state_dict().items()}
    content = save(weights, {"format": FORMAT, "contract": contract.to_json()})
    path = Path(path)
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
        expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
        found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        if expected != found:
            differing = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
            raise ModelError(f"{path}: its weights do not fit the architecture it names ({differing[0]} and"
                             f" {len(differing) - 1} more)")
        weights = {name: file.get_tensor(name) for name in expected}
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and weights[name].dtype in FLOATS:
            weights[name] = weights[name].float()
            if not torch.isfinite(weights[name]).all():
                raise ModelError(f"{path}: the weights have NaN or infinite values")
        elif weights[name].dtype != tensor.dtype:
            raise ModelError(f"{path}: {name} has the type {weights[name].dtype}, not {tensor.dtype}")
    network.load_state_dict(weights, assign=True)
    network.eval().requires_grad_(False)
    return Model(network, contract, path, sha256(path.read_bytes()).hexdigest())


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
