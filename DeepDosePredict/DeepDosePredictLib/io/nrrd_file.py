"""Reading NRRD files that may be damaged or hostile: nothing is allocated, unpacked or opened on their word alone."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nrrd
import numpy as np

from ..errors import CaseError

MAX_VOXELS = 2**24  # eight times the model grid
MAX_HEADER_BYTES = 4 * 2**20
_PIECE = 2**24
_TYPES = {
    "i1": ("int8", "signed char", "int8_t"),
    "u1": ("uint8", "unsigned char", "uchar", "uint8_t"),
    "i2": ("int16", "short", "short int", "signed short", "signed short int", "int16_t"),
    "u2": ("uint16", "ushort", "unsigned short", "unsigned short int", "uint16_t"),
    "i4": ("int32", "int", "signed int", "int32_t"),
    "u4": ("uint32", "uint", "unsigned int", "uint32_t"),
    "i8": ("int64", "longlong", "long long", "long long int", "signed long long", "signed long long int", "int64_t"),
    "u8": ("uint64", "ulonglong", "unsigned long long", "unsigned long long int", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
_DTYPES = {name: code for code, names in _TYPES.items() for name in names}
# Slicer's reader ends the process at a line that it does not understand; blanks and NUL it takes otherwise than pynrrd.
_LINE = re.compile(rb"NRRD000[1-5]|#[^\0-\x08\x0a-\x1f]*|[\w\-][^:\0-\x1f]*(: |:=)[^\0-\x08\x0a-\x1f]*")
_WORDS = {
    "space": {"left-posterior-superior", "lps", "right-anterior-superior", "ras"},
    "kinds": {"domain", "space", "list", "vector", "none", "???"},
    "centerings": {"cell", "node", "none", "???"},
}
_PER_AXIS = ("sizes", "kinds", "centerings", "thicknesses", "spacings", "labels", "units")
_SHAPES = {"space origin": (3,), "measurement frame": (3, 3), "space units": (3,)}
_MM = {"mm", "millimeter", "millimeters", "millimetre", "millimetres", "???", ""}
_QUOTED = re.compile(rb'(labels|units|space units): ("[^"\\]*" ?)+')
_KNOWN = {*_WORDS, *_PER_AXIS, *_SHAPES, "space directions", "dimension", "type", "encoding", "endian", "content"}
_ELSEWHERE = {"datafile", "lineskip", "byteskip"}


@dataclass(frozen=True)
class NrrdFile:
    """What the header of an attached NRRD, raw or gzip, says; its data is read once, whole or in slabs.

    Attributes:
        header: fields by their names, and what the writer added.
        shape: of the array, last axis fastest: the file's sizes in reverse.
        dtype: of its values in the file.
        start: where the data begins.
    """

    path: Path
    header: dict[str, Any]
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int

    def read(self) -> np.ndarray:
        """The array; CaseError if the data is damaged."""
        data = np.empty(self.shape, self.dtype)
        with self._data() as stream:
            _fill(data, stream)
            _require_end(stream)
        return data.astype(data.dtype.newbyteorder("="), copy=False)

    def slabs(self) -> Iterator[np.ndarray]:
        """The array in pieces of a few slices along its first axis; CaseError if the data is damaged."""
        slice_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        step = max(1, _PIECE // slice_bytes)
        with self._data() as stream:
            for first in range(0, self.shape[0], step):
                slab = np.empty((min(step, self.shape[0] - first), *self.shape[1:]), self.dtype)
                _fill(slab, stream)
                yield slab.astype(slab.dtype.newbyteorder("="), copy=False)
            _require_end(stream)

    @contextmanager
    def _data(self) -> Iterator[BinaryIO | gzip.GzipFile]:
        with _naming(self.path), self.path.open("rb") as file:
            file.seek(self.start)
            yield file if str(self.header["encoding"]).lower() == "raw" else gzip.GzipFile(fileobj=file)


def open_nrrd(path: Path, dimensions: tuple[int, ...] = (3,), max_voxels: int = MAX_VOXELS) -> NrrdFile:
    """The header of a file, nothing of its data.

    CaseError if it is missing, damaged, larger than `max_voxels`, or anything but one attached volume of numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise CaseError(f"{path}: no such file")
    with _naming(path), path.open("rb") as file:
        lines = _header_lines(file)
        header = nrrd.read_header([line.decode("utf-8", "replace") for line in lines])
        custom = {
            line.split(b":=")[0].decode("utf-8", "replace").strip()
            for line in lines
            if b":=" in line and b": " not in line.split(b":=")[0]
        }
        _check_fields(header, custom)
        return NrrdFile(path, dict(header), *_layout(header, dimensions, max_voxels), file.tell())


def read_nrrd(path: Path, dimensions: tuple[int, ...] = (3,), max_voxels: int = MAX_VOXELS) -> tuple[np.ndarray, dict]:
    """Array (last axis fastest) and header of a file; see `open_nrrd`."""
    file = open_nrrd(path, dimensions, max_voxels)
    return file.read(), file.header


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let every error name the file."""
    try:
        yield
    except CaseError as error:
        raise CaseError(f"{path}: {error}") from error
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise CaseError(f"{path}: the data is damaged ({error}); copy or save it again") from error
    except Exception as error:  # pynrrd raises many kinds for damaged files
        raise CaseError(f"{path}: damaged or not an NRRD file ({error or type(error).__name__})") from error


def _header_lines(file: BinaryIO) -> list[bytes]:
    """The lines up to the empty one, after which the file stands at the first byte of the data."""
    lines = []
    while line := file.readline(MAX_HEADER_BYTES).rstrip(b"\r\n"):
        if file.tell() >= MAX_HEADER_BYTES or not _LINE.fullmatch(line):
            raise CaseError(f"damaged or not an NRRD file (its header has the line {line[:40]!r})")
        if re.match(rb"(labels|units|space units):", line) and not _QUOTED.fullmatch(line):
            raise CaseError(f"damaged (its header has the line {line[:40]!r})")
        lines.append(line)
    return lines


def _check_fields(header: dict, keys: set[str]) -> None:
    """Slicer's reader takes field names in any case, pynrrd does not: one file must be the same to both.

    Args:
        keys: what stands before ":=", free to be anything.
    """
    names = [name.replace(" ", "").lower() for name in header]
    if len(set(names)) != len(names):
        raise CaseError("a header field occurs twice; save it again")
    if _ELSEWHERE.intersection(names):
        raise CaseError("the data lies in another file or further on; save it as one attached .nrrd")
    for name in header.keys() - keys:
        if name not in _KNOWN:
            raise CaseError(f"the header field {name[:40]!r} is not known; save it again from Slicer")
        words = [header[name]] if isinstance(header[name], str) else header[name]
        if name in _WORDS and not all(str(word).lower() in _WORDS[name] for word in words):
            raise CaseError(f"{name} is {header[name]!r}; it must be of {', '.join(sorted(_WORDS[name]))}")
    if any(str(unit).lower() not in _MM for unit in header.get("space units", ())):
        raise CaseError(f"space units are {', '.join(map(str, header['space units']))}; save it again in mm")
    order = list(header)
    for first, others in (("dimension", _PER_AXIS), ("space", (*_SHAPES, "space directions"))):
        if any(name in header and order.index(name) < order.index(first) for name in others):
            raise CaseError(f"the field {first} stands behind what depends on it; save it again")
    _check_shapes(header)


def _check_shapes(header: dict) -> None:
    """As many values as there are axes, all finite; directions that span the space."""
    n = header["dimension"]
    for name, shape in {**_SHAPES, **dict.fromkeys(_PER_AXIS, (n,))}.items():
        if name in header:
            values = np.asarray(header[name])
            if values.shape != shape or (values.dtype.kind == "f" and not np.isfinite(values).all()):
                raise CaseError(f"{name} is {header[name]}; it must be finite, of {'x'.join(map(str, shape))} values")
    if "space directions" in header:
        directions = np.asarray(header["space directions"], float)
        if directions.shape != (n, 3):
            raise CaseError(f"there are {len(directions)} space directions for {n} axes; save it again")
        rows = directions[np.isfinite(directions).all(1)]
        lengths = np.linalg.norm(rows, axis=-1)
        if rows.shape != (3, 3) or not (
            np.all((lengths > 1e-3) & (lengths < 1e3)) and (abs(np.linalg.det(rows)) > 0.01 * np.prod(lengths))
        ):
            raise CaseError(f"the space directions {directions.tolist()} are not those of a volume in mm")


def _layout(header: dict, dimensions: tuple[int, ...], max_voxels: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array."""
    sizes = [int(n) for n in header["sizes"]]
    if (
        len(sizes) not in dimensions
        or header["dimension"] != len(sizes)
        or min(sizes) < 1
        or (np.prod(sizes, dtype=float) > max_voxels)
    ):
        raise CaseError(
            f"the volume has sizes {sizes}; it must be {' or '.join(f'{n}D' for n in dimensions)} with at"
            f" most {max_voxels} voxels"
        )
    code = _DTYPES.get(str(header["type"]).lower())
    if code is None:
        raise CaseError(f"values of the type {header['type']!r} cannot be read")
    order = {"little": "<", "big": ">"}[header["endian"].lower()] if code[1] != "1" else "|"
    encoding = str(header["encoding"]).lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise CaseError(f"the encoding {encoding!r} cannot be read; save it as raw or gzip")
    return tuple(sizes[::-1]), np.dtype(order + code)


def _fill(data: np.ndarray, stream: BinaryIO | gzip.GzipFile) -> None:
    """Read exactly what the array holds."""
    view, done = data.reshape(-1).view(np.uint8).data, 0
    while done < len(view):
        piece = stream.read(min(_PIECE, len(view) - done))
        if not piece:
            raise CaseError(f"the data ends after {done} of {len(view)} bytes; copy or save it again")
        view[done : done + len(piece)] = piece
        done += len(piece)


def _require_end(stream: BinaryIO | gzip.GzipFile) -> None:
    if stream.read(1):
        raise CaseError("there is more data than its sizes say; it is damaged")
