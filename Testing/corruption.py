"""Damaged inputs for every reader but DICOM's, and what the readers make of them.

A case is a tiny, valid input in which a seed damages something. It must end in a DeepDoseError that names the file, or
in a result that keeps its promises; anything else is a fault.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import right_results
from DeepDosePredictLib.dvh.goals import read_goals
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io import openkbp
from DeepDosePredictLib.io.nrrd_case import read_nrrd_case, write_nrrd_case
from DeepDosePredictLib.io.roles import read_roles
from DeepDosePredictLib.io.slicer_case import read_slicer_case
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.patient.roi_mask import RoiMask
from synthetic import make_case, make_model, write_openkbp

SHAPE = (16, 16, 16)
_HUGE = ("99999999999", "1073741824", "9" * 400, "-1", "0", "1e308", "65537", "4096")
_ODD = ("nan", "inf", "-inf", "NaN", "1e999", "0x10", "١٢", "", "1,2,3", "null", "true", "[]", "{}", '"x"')
_PATHS = ("../../../etc/passwd", "/etc/passwd", "..\\..\\x", "a\0b", "CON", "~", "x" * 5000, "\n", "\r", "%s%n", "‮")


@dataclass(frozen=True)
class Reader:
    """A reader under test.

    Attributes:
        make: writes a valid input into an empty folder.
        read: reads what lies in the folder.
        check: raises AssertionError if a result breaks the reader's promises.
        oracle: raises AssertionError if a result is not what the folder holds, see `right_results`.
        alone: whether it can end the process and must run in one of its own.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    check: Callable[[object], None]
    oracle: Callable[[object, Path], None] = lambda result, folder: None
    alone: bool = False


def tiny_case() -> Case:
    """A patient of 16 voxels each way."""
    case = make_case(shape=(64, 64, 64))
    box = (slice(16, 48, 2),) * 3
    return Case(
        "tiny",
        np.ascontiguousarray(case.ct[box]),
        RoiMask(case.rois.bits[box].copy(), case.rois.names),
        case.dose_mask[box].copy(),
        tuple(2 * step for step in case.spacing),
        case.dose[box].copy(),
    )


def use_tiny_grid(patch: Callable[[object, str, object], None] = setattr) -> None:
    """OpenKBP's reader for files of 16x16x16 voxels: a case takes milliseconds."""
    patch(openkbp, "GRID", SHAPE)
    patch(openkbp, "N_VOXELS", int(np.prod(SHAPE)))


def _check_case(case: Case) -> None:
    assert case.ct.dtype == np.int16 and case.ct.shape == case.rois.bits.shape == case.dose_mask.shape
    assert case.targets() and case.dose_mask.any() and np.isfinite(case.spacing).all()
    assert case.dose is None or (np.isfinite(case.dose).all() and case.dose.min() >= 0 and case.dose.max() <= 200)
    assert case.name == "input" and np.isfinite(case.origin).all()


def _check_dose(dose: np.ndarray) -> None:
    assert dose.shape == openkbp.GRID and np.isfinite(dose).all() and dose.min() >= 0 and dose.max() <= 200


def _check_model(model) -> None:
    assert all(tensor.isfinite().all() for tensor in model.network.state_dict().values())
    assert model.contract.name.isprintable() and isinstance(model.contract.single_pass, bool)


def _check_roles(roles: dict) -> None:
    patients = roles.get("patients", {})
    one = {role: names for role, names in roles.items() if role != "patients"}
    for answers in (one, *patients.values()):
        assert all(isinstance(name, str) for names in answers.values() for name in names or ())


def _check_goals(goals: list) -> None:
    for goal in goals:
        goal.met(goal.metric.evaluate(np.array([1.0, 2.0]), 10.0))
        assert 0 < goal.weight < np.inf


def _write_roles(folder: Path) -> None:
    (folder / "roles.json").write_text(json.dumps({"PTV70": "PTV_7000", "PTV56": ["PTVn_L", "PTVn_R"], "Larynx": "L"}))


def _write_goals(folder: Path) -> None:
    goals = [
        {"structure": "PTV70", "metric": "D95%", "goal": ">= 66.5 Gy", "weight": 2},
        {"structure": "SpinalCord", "metric": "D0.1cc", "goal": "<= 45 Gy"},
        {"structure": "Larynx", "metric": "V20Gy", "goal": "<= 30 %"},
    ]
    (folder / "goals.json").write_text(json.dumps({"name": "tiny", "goals": goals}))


def _write_scene(folder: Path) -> None:
    """ct.nrrd, segmentation.seg.nrrd and dose.nrrd as Slicer writes them."""
    from mrml_scene import Scene, lps_grid

    case, scene = tiny_case(), Scene()
    place = lps_grid(case.spacing)
    nodes = {
        "ct.nrrd": scene.volume(case.ct, place),
        "dose.nrrd": scene.volume(case.dose, place, "Dose"),
        "segmentation.seg.nrrd": scene.segmentation({roi: case.rois[roi] for roi in case.rois.present()}, place),
    }
    for name, node in nodes.items():
        node.AddDefaultStorageNode()
        node.GetStorageNode().SetFileName(str(folder / name))
        assert node.GetStorageNode().WriteData(node)


def _read_scene(folder: Path) -> Case:
    return read_slicer_case(folder)


READERS = {
    "openkbp": Reader(
        lambda folder: write_openkbp(folder / "x", tiny_case()) and _up(folder / "x"),
        openkbp.read_openkbp,
        _check_case,
        right_results.openkbp_case,
    ),
    "prediction": Reader(
        lambda folder: openkbp.write_dose(folder / "pt_1.csv", tiny_case().dose),
        lambda folder: openkbp.read_dose(folder / "pt_1.csv"),
        _check_dose,
        right_results.openkbp_dose,
    ),
    "compact": Reader(
        lambda folder: write_nrrd_case(folder, tiny_case()), read_nrrd_case, _check_case, right_results.compact_case
    ),
    "scene": Reader(_write_scene, _read_scene, _check_case, right_results.slicer_case),
    "roles": Reader(_write_roles, lambda folder: read_roles(folder / "roles.json"), _check_roles, right_results.roles),
    "goals": Reader(_write_goals, lambda folder: read_goals(folder / "goals.json"), _check_goals, right_results.goals),
    "model": Reader(
        lambda folder: make_model(folder / "m.safetensors", widths=(1, 1, 1), growth=1, head_channels=1, norm="batch"),
        lambda folder: load_model(folder / "m.safetensors"),
        _check_model,
        right_results.model,
    ),
}


def _up(folder: Path) -> None:
    for file in folder.iterdir():
        file.rename(folder.parent / file.name)
    folder.rmdir()


def outcome(reader: Reader, original: Path, folder: Path, seed: int) -> str:
    """ "refused", "read", or the fault in words, of one damaged copy of `original`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(original, folder)
    rng = np.random.default_rng(seed)
    files = sorted(path for path in folder.iterdir())
    path = files[rng.integers(len(files))]
    how = damage(path, rng)
    before = sorted(p.name for p in folder.iterdir())
    try:
        read = reader.read(folder)
        reader.check(read)
        reader.oracle(read, folder)
        result = "read"
    except DeepDoseError as error:
        named = path.name in str(error) or str(folder) in str(error) or folder.name in str(error)
        result = "refused" if named else f"seed {seed} ({how} {path.name}): names no file: {error}"
    except BaseException as error:
        result = f"seed {seed} ({how} {path.name}): {type(error).__name__}: {str(error)[:200]}"
    if sorted(p.name for p in folder.iterdir()) != before:
        result = f"seed {seed} ({how} {path.name}): the reader changed the folder"
    return result


def damage(path: Path, rng: np.random.Generator) -> str:
    """Damage a file in a way that the generator chooses; returns its name."""
    kinds = [_truncate, _flip, _garbage, _splice, _numbers, _numbers, _odd, _odd, _words, _lines]
    if path.suffix == ".json":
        kinds += [_json] * 6
    if path.suffix == ".safetensors":
        kinds += [_contract] * 8
    kind = kinds[rng.integers(len(kinds))]
    path.write_bytes(kind(path.read_bytes(), rng))
    return kind.__name__.strip("_")


def _truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def _flip(content: bytes, rng: np.random.Generator) -> bytes:
    """One to twenty bits, half of the time in the first kilobyte."""
    damaged = bytearray(content)
    end = min(1024, len(damaged)) if rng.random() < 0.5 else len(damaged)
    for position in rng.integers(end, size=rng.integers(1, 21)):
        damaged[position] ^= 1 << rng.integers(8)
    return bytes(damaged)


def _garbage(content: bytes, rng: np.random.Generator) -> bytes:
    return rng.bytes(int(rng.integers(4096)))


def _splice(content: bytes, rng: np.random.Generator) -> bytes:
    a, b = sorted(rng.integers(len(content) + 1, size=2))
    return content[:a] + rng.bytes(int(rng.integers(64))) + content[b:] * int(rng.integers(1, 3))


def _replaced(content: bytes, rng: np.random.Generator, pattern: bytes, words: tuple[str, ...]) -> bytes:
    """One match among the first 4 kB, or anywhere, becomes a word."""
    found = list(re.finditer(pattern, content[:4096] if rng.random() < 0.7 else content[:200_000]))
    if not found:
        return content[:-1]
    match = found[rng.integers(len(found))]
    return content[: match.start()] + words[rng.integers(len(words))].encode() + content[match.end() :]


def _numbers(content: bytes, rng: np.random.Generator) -> bytes:
    return _replaced(content, rng, rb"-?\d+(?:\.\d+)?", _HUGE)


def _odd(content: bytes, rng: np.random.Generator) -> bytes:
    return _replaced(content, rng, rb"-?\d+(?:\.\d+)?", _ODD)


def _words(content: bytes, rng: np.random.Generator) -> bytes:
    return _replaced(
        content,
        rng,
        rb"[A-Za-z_]{3,}",
        (*_PATHS, "data file", "Data File", "byte skip", "sizes", "gzip", "raw", "double", "bool"),
    )


def _lines(content: bytes, rng: np.random.Generator) -> bytes:
    """A line lost, doubled, exchanged or added."""
    lines = content.split(b"\n")
    n = int(rng.integers(min(len(lines), 64)))
    extra = (
        b"data file: /etc/passwd",
        b"Data File: /etc/passwd",
        b"   ",
        b"byte skip: -1",
        b"BYTE SKIP: 5",
        b"line skip: 1000000000000",
        b"sizes: 1 1 1",
        b",",
        b"0,0",
        b"-5,3",
        b"\xff\xfe",
        b"",
    )
    change = rng.integers(4)
    if change == 0:
        del lines[n]
    elif change == 1:
        lines.insert(n, lines[n])
    elif change == 2:
        other = int(rng.integers(min(len(lines), 64)))
        lines[n], lines[other] = lines[other], lines[n]
    else:
        lines.insert(n, extra[rng.integers(len(extra))])
    return b"\n".join(lines)


_VALUES = (
    None,
    True,
    -1,
    0,
    1.5,
    10**400,
    float("nan"),
    float("inf"),
    "",
    "x" * 10_000,
    [],
    [[]],
    {},
    {"a": {}},
    ["a", 1],
    [1, 2, 3],
    "../../etc/passwd",
    "\n\0",
    10**9,
    [10**6] * 3,
    ["ct"] * 100,
    "70",
    1e-320,
)


def _json(content: bytes, rng: np.random.Generator) -> bytes:
    """A value or key of JSON replaced, removed or added, or nesting without end."""
    if rng.random() < 0.05:
        return b'{"goals": ' + b"[" * 200_000
    return json.dumps(_changed(json.loads(content), rng)).encode()


def _changed(value: object, rng: np.random.Generator) -> object:
    value = value.copy() if isinstance(value, dict | list) else value
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return _VALUES[rng.integers(len(_VALUES))]
    key = list(value)[rng.integers(len(value))] if isinstance(value, dict) else int(rng.integers(len(value)))
    action = rng.random()
    if action < 0.1:
        del value[key]
    elif action < 0.2 and isinstance(value, dict):
        value[_PATHS[rng.integers(len(_PATHS))]] = _VALUES[rng.integers(len(_VALUES))]
    else:
        value[key] = _changed(value[key], rng)
    return value


def _contract(content: bytes, rng: np.random.Generator) -> bytes:
    """A change in a model's contract, its other metadata or its list of weights, in a file that is whole again."""
    size = int.from_bytes(content[:8], "little")
    header, weights = json.loads(content[8 : 8 + size]), content[8 + size :]
    if rng.random() < 0.7:
        contract = _changed(json.loads(header["__metadata__"]["contract"]), rng)
        header["__metadata__"]["contract"] = json.dumps(contract) if rng.random() < 0.97 else "[" * 200_000
    elif rng.random() < 0.4:
        weights = np.frombuffer(weights, np.float16).copy()
        weights[rng.integers(len(weights), size=3)] = (np.nan, np.inf, -np.inf)
        weights = weights.tobytes()
    elif rng.random() < 0.5:
        name = list(header)[rng.integers(1, len(header))]
        header[name] = header[name] | {"dtype": str(rng.choice(["I16", "U8", "F8_E4M3", "BF16", "I64", "F64", "BOOL"]))}
    else:
        header = _changed(header, rng)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + weights
