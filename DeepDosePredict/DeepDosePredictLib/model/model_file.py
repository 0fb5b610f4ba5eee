"""Model files: one .safetensors file holds the half-precision weights and, as metadata, the model's contract.

Nothing in a model file is ever executed or unpickled, and nothing is allocated before its sizes are checked.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import sha256
from itertools import takewhile
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from ..errors import ModelError
from ..planner.planner import Planner
from .architectures import DoseNetwork, make_network
from .contract import FORMAT, Contract, contract_of

PLANNER_FORMAT = "deepdose-planner-2"
PLANNER = "planner."
"""What the names of a planner's weights begin with."""
MAX_PARTNERS, MAX_NETWORKS = 16, 64
"""Planners beside the first, and networks for bixel factors of each."""
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True)
class Model:
    """A network with its contract, ready to run on the CPU in float32.

    Attributes:
        planner: makes the plans for the channel `plan_dose`, where the model has one.
        sha256: hash of the file, for provenance.
    """

    network: DoseNetwork
    contract: Contract
    path: Path
    sha256: str
    planner: Planner | None = None

    @property
    def label(self) -> str:
        return f"{self.contract.name} {self.contract.version}"


def save_model(path: str | Path, network: DoseNetwork, contract: Contract, planner: Planner | None = None) -> None:
    """Write a network's weights, and its planner's, in half precision with its contract."""
    weights = network.state_dict() | _planner_weights(planner)
    _save(Path(path), weights, {"format": FORMAT, "contract": contract.to_json()})


def rewrite_contract(source: str | Path, output: str | Path, contract: Contract) -> None:
    """Write a copy of a model file with another contract, the weights byte for byte; ModelError as in `load_model`."""
    load_model(source)
    content = Path(source).read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] |= {"contract": contract.to_json()}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # weights begin at multiples of 8 bytes
    _write(Path(output), len(text).to_bytes(8, "little") + text + content[end:])


def save_planner(path: str | Path, planner: Planner) -> None:
    """Write a planner's weights in half precision."""
    _save(Path(path), _planner_weights(planner), {"format": PLANNER_FORMAT})


def planner_hash(planner: Planner) -> str:
    """Eight characters that differ between planners as they are saved."""
    return sha256(save({name: _half(t).contiguous() for name, t in planner.state_dict().items()})).hexdigest()[:8]


def _planner_weights(planner: Planner | None) -> dict[str, torch.Tensor]:
    return {PLANNER + name: tensor for name, tensor in planner.state_dict().items()} if planner else {}


def _save(path: Path, weights: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    _write(path, save({name: _half(tensor).contiguous() for name, tensor in weights.items()}, metadata))


def _write(path: Path, content: bytes) -> None:
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


def load_model(path: str | Path) -> Model:
    """Read a model file; ModelError names the file and what is wrong with it."""
    path = Path(path)
    with _open(path) as file:
        contract = contract_of(path, file.metadata() or {})
        with torch.device("meta"):  # the file's own sizes are not trusted with memory before they are compared
            network = make_network(contract.network)
        plans = bool(contract.channels.gantry_angles)
        names = {name for name in file.keys() if not (plans and name.startswith(PLANNER))}
        _fill(path, file, network, names)
        planner = _planner(path, file) if plans else None
    return Model(network, contract, path, sha256(path.read_bytes()).hexdigest(), planner)


def load_planner(path: str | Path) -> Planner:
    """The planner of a planner file or of a model file; ModelError names the file and what is wrong with it."""
    path = Path(path)
    with _open(path) as file:
        if (file.metadata() or {}).get("format") not in (FORMAT, PLANNER_FORMAT):
            raise ModelError(f"{path}: neither a planner nor a model of this program")
        return _planner(path, file)


def _planner(path: Path, file: safe_open) -> Planner:
    """The file's planner."""
    names = {name for name in file.keys() if name.startswith(PLANNER)}
    numbers = [
        sum(name.startswith(prefix + "bixel_factors.") and name.endswith(".stem.bias") for name in names)
        for prefix in (PLANNER, *_partners(names))
    ]
    if max(numbers) > MAX_NETWORKS:
        raise ModelError(f"{path}: its planner has {max(numbers)} networks, more than {MAX_NETWORKS}; copy it again")
    with torch.device("meta"):
        planner = Planner(numbers[0], numbers[1:])
    _fill(path, file, planner, names, PLANNER)
    return planner


def _partners(names: set[str]) -> list[str]:
    """What the names of the weights of a planner's partners begin with."""
    prefixes = (f"{PLANNER}partners.{n}." for n in range(MAX_PARTNERS))
    return list(takewhile(lambda prefix: prefix + "stem.bias" in names, prefixes))


def _fill(path: Path, file: safe_open, module: torch.nn.Module, names: set[str], prefix: str = "") -> None:
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


def _open(path: Path) -> safe_open:
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path}: damaged or not a .safetensors file ({error}); copy it again") from error
