"""Damaged copies of a DICOM-RT patient, by seed, and what comes of reading them."""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom

from DeepDosePredictLib.app.sources import find_cases
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.patient.case import Case
from right_results import dicom_case

SECONDS = 30
LONG_VRS = (b"OB", b"OW", b"SQ", b"UN", b"UT", b"OF", b"UC", b"UR")
NAMES = (
    "../../escape",
    "/etc/passwd",
    "..",
    ".",
    "",
    "C:\\Windows\\x",
    "..\\..\\x",
    "a/b/c",
    "CON",
    "nul.txt",
    "x" * 300,
    "%2e%2e%2f",
    "~root",
    "$(touch x)",
    "-rf",
    "p\x00q",
    "\u202e\u0430\u0431",
    " ",
    "...",
    "a\nb",
)
VALUES = (
    "",
    "abc",
    "nan",
    "inf",
    "-inf",
    "1e308",
    "-1",
    "0",
    "99999999999",
    "1\\2",
    "1\\2\\3\\4\\5\\6\\7",
    "\\\\\\",
    "1e-300",
    "../../x",
    "\x00",
)
NUMBERS = (0, 1, 2, 7, 17, 65535)


@dataclass(frozen=True)
class Outcome:
    """kind: "refused" with words, "same" as without damage, "other" but said or right, or "broken": it must not be."""

    kind: str
    words: str


def corrupt(folder: Path, seed: int) -> str:
    """Damage one or several files of a patient's folder in a way that the seed determines; says what was done."""
    rng = random.Random(seed)
    kind = rng.choice(list(_KINDS))
    path = folder / rng.choice(
        (
            "structures.dcm",
            "dose.dcm",
            "plan.dcm",
            "ct-001.dcm",
            "ct-012.dcm",
            "structures.dcm",
            "dose.dcm",
            "ct-007.dcm",
        )
    )
    return f"{kind} {path.name} {_KINDS[kind](path, rng)}"


def outcome(folder: Path, pristine: Case) -> Outcome:
    """Read a patient's folder as the command line does."""
    try:
        with _time_limit(SECONDS):
            for source in find_cases([folder]):
                if Path("out", source.name).resolve().parent != Path("out").resolve() or not source.name:
                    return Outcome("broken", f"name {source.name!r} leaves the output folder")
                case = source.read()
    except DeepDoseError as error:
        named = str(folder) in str(error) and len(str(error)) < 2000
        return Outcome("refused" if named else "broken", str(error))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return Outcome("broken", f"{type(error).__name__}: {error}")
    if _same(case, pristine):
        return Outcome("same", "; ".join(case.notes))
    words = [word for word in (*case.notes, *case.assignment.lines()) if word not in _words(pristine)]
    if not words:
        try:
            dicom_case(case, folder)
        except Exception as error:
            return Outcome("broken", f"not what the files say, without a word: {type(error).__name__} {error}")
    return Outcome("other", "; ".join(words))


def _words(case: Case) -> set[str]:
    return {*case.notes, *case.assignment.lines()}


def damaged_copy(pristine: Path, folder: Path, seed: int) -> str:
    """A copy of a patient in `folder`, damaged; see `corrupt`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(pristine, folder, copy_function=os.link)
    return corrupt(folder, seed)


def _same(case: Case, other: Case) -> bool:
    return (
        np.array_equal(case.ct, other.ct)
        and np.array_equal(case.dose_mask, other.dose_mask)
        and {roi: case.rois[roi].tobytes() for roi in case.rois.present()}
        == {roi: other.rois[roi].tobytes() for roi in other.rois.present()}
        and (case.dose is None) == (other.dose is None)
        and (case.dose is None or np.array_equal(case.dose, other.dose))
    )


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def stop(*_):
        raise TimeoutError(f"no end after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# Ways of damage; files of the copy are links, so each writes a new one


def _rewrite(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


def _truncated(path: Path, rng: random.Random) -> str:
    data = path.read_bytes()
    n = rng.choice((rng.randrange(len(data)), rng.randrange(min(len(data), 2000))))
    _rewrite(path, data[:n])
    return f"at {n} of {len(data)}"


def _bits(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    places = [rng.randrange(rng.choice((len(data), min(len(data), 2500)))) for _ in range(rng.choice((1, 2, 10, 60)))]
    for n in places:
        data[n] ^= 1 << rng.randrange(8)
    _rewrite(path, bytes(data))
    return f"{len(places)} at {places[:3]}"


def _bytes(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    n, count = rng.randrange(min(len(data) - 8, 4000)), rng.randrange(1, 9)
    data[n : n + count] = rng.choice((b"\xff" * count, b"\0" * count, rng.randbytes(count)))
    _rewrite(path, bytes(data))
    return f"{count} at {n}"


def _elements(data: bytes) -> list[tuple[int, bytes]]:
    """Places of what looks like the header of an explicit element: even group, known VR."""
    vrs = {vr.encode() for vr in ("AE", "AS", "CS", "DA", "DS", "IS", "LO", "PN", "SH", "TM", "UI", "US", "ST", "LT")}
    vrs |= set(LONG_VRS)
    return [
        (n, data[n + 4 : n + 6])
        for n in range(132, len(data) - 8)
        if data[n + 4 : n + 6] in vrs and data[n + 1] in (0, 0x30, 0x20, 0x28, 0x08, 0x7F)
    ][:4000]


def _sizes(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    n, vr = rng.choice(_elements(bytes(data)))
    if vr in LONG_VRS:
        size = rng.choice((0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0x80000000, 0, 3))
        data[n + 8 : n + 12] = struct.pack("<I", size)
    else:
        size = rng.choice((0xFFFF, 0xFFFE, 0x8000, 0, 1, 3))
        data[n + 6 : n + 8] = struct.pack("<H", size)
    _rewrite(path, bytes(data))
    return f"{size:#x} of {bytes(data[n : n + 4]).hex()} {vr.decode()}"


def _vr(path: Path, rng: random.Random) -> str:
    data = bytearray(path.read_bytes())
    n, vr = rng.choice(_elements(bytes(data)))
    new = rng.choice((b"SQ", b"OB", b"DS", b"IS", b"US", b"UI", b"UN", b"FD", b"AT", b"ZZ", b"PN", b"OW"))
    data[n + 4 : n + 6] = new
    _rewrite(path, bytes(data))
    return f"{vr.decode()} to {new.decode()} of {bytes(data[n : n + 4]).hex()}"


def _edited(path: Path, change: Callable[[pydicom.Dataset], str]) -> str:
    dataset = pydicom.dcmread(path)
    words = change(dataset)
    path.unlink()
    dataset.save_as(path)
    return words


def _random_element(dataset: pydicom.Dataset, rng: random.Random) -> tuple[pydicom.Dataset, pydicom.DataElement]:
    """Of the top or of a nested item."""
    element = dataset[rng.choice(sorted(dataset.keys()))]
    while element.VR == "SQ" and len(element.value) and rng.random() < 0.8:
        dataset = rng.choice(element.value)
        element = dataset[rng.choice(sorted(dataset.keys()))]
    return dataset, element


def _missing(path: Path, rng: random.Random) -> str:
    def change(dataset: pydicom.Dataset) -> str:
        part, element = _random_element(dataset, rng)
        del part[element.tag]
        return element.keyword

    return _edited(path, change)


def _values(path: Path, rng: random.Random) -> str:
    def change(dataset: pydicom.Dataset) -> str:
        part, element = _random_element(dataset, rng)
        if element.VR in ("SQ", "OW", "OB"):
            element.value = [] if element.VR == "SQ" else rng.randbytes(rng.choice((0, 2, 4096)))
            return f"{element.keyword} {len(element.value)}"
        if element.VR in ("US", "UL"):
            element.value = rng.choice(NUMBERS)
            return f"{element.keyword} {element.value}"
        text = rng.choice(VALUES)
        data = text.encode() + b" " * (len(text) % 2)
        part[element.tag] = pydicom.dataelem.RawDataElement(element.tag, element.VR, len(data), data, 0, False, True)
        return f"{element.keyword} {text!r}"

    return _edited(path, change)


def _names(path: Path, rng: random.Random) -> str:
    """The patient ID of all files, or the name of a ROI, looks like a path or is none."""
    name, of_roi = rng.choice(NAMES), rng.random() < 0.3
    data = name.encode()[:64]
    data += b" " * (len(data) % 2)

    def change(dataset: pydicom.Dataset) -> str:
        tag = pydicom.tag.Tag("ROIName" if of_roi else "PatientID")
        part = rng.choice(dataset.StructureSetROISequence) if of_roi else dataset
        part[tag] = pydicom.dataelem.RawDataElement(tag, "LO", len(data), data, 0, False, True)
        return name

    for file in [path.parent / "structures.dcm"] if of_roi else sorted(path.parent.glob("*.dcm")):
        _edited(file, change)
    return f"{'ROI' if of_roi else 'patient'} {name!r}"


def _cycles(path: Path, rng: random.Random) -> str:
    """References in circles, or sequences in sequences without end."""
    folder = path.parent
    if rng.random() < 0.3:
        depth = rng.choice((50, 300, 3000))
        opened = struct.pack("<HH", 0x3006, 0x0020) + b"SQ\0\0" + b"\xff" * 4
        opened += struct.pack("<HHI", 0xFFFE, 0xE000, 2**32 - 1)
        _rewrite(folder / "structures.dcm", (folder / "structures.dcm").read_bytes() + opened * depth)
        return f"{depth} nested sequences"
    uids = {name: pydicom.dcmread(folder / f"{name}.dcm").SOPInstanceUID for name in ("plan", "dose", "structures")}
    target = rng.choice(list(uids))

    def change(dataset: pydicom.Dataset) -> str:
        for keyword in ("ReferencedStructureSetSequence", "ReferencedRTPlanSequence"):
            one = pydicom.Dataset()
            one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = "1.2", uids[target]
            setattr(dataset, keyword, [one])
        return target

    for name in rng.sample(["plan", "dose", "structures"], rng.randrange(1, 4)):
        _edited(folder / f"{name}.dcm", change)
    return f"to {target}"


def _exchanged(path: Path, rng: random.Random) -> str:
    other = path.parent / rng.choice(("structures.dcm", "dose.dcm", "ct-002.dcm", "plan.dcm"))
    mode = rng.choice(("swap", "copy", "noise", "empty", "gone"))
    data = other.read_bytes()
    if mode == "swap":
        _rewrite(other, path.read_bytes())
    _rewrite(path, {"noise": rng.randbytes(5000), "empty": b""}.get(mode, data))
    if mode == "gone":
        path.unlink()
    return f"{mode} {other.name}"


_KINDS: dict[str, Callable[[Path, random.Random], str]] = {
    "truncated": _truncated,
    "bits": _bits,
    "bytes": _bytes,
    "sizes": _sizes,
    "VR": _vr,
    "missing": _missing,
    "values": _values,
    "names": _names,
    "cycles": _cycles,
    "exchanged": _exchanged,
}
