"""Reading single DICOM files so that whatever is wrong with one ends in a CaseError that names it."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import CaseError

if TYPE_CHECKING:
    from pydicom import Dataset

MAX_BYTES = 2**31
MAX_VOXELS = 2**29
_DEFLATED = b"1.2.840.10008.1.2.1.99"


def is_dicom(path: Path) -> bool:
    """Whether a file starts as a DICOM file does or is at least called one; OSError if it cannot be read."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM" or path.suffix.lower() == ".dcm"


def dicom_files(folder: Path, unreadable: Callable[[OSError], object] = lambda error: None) -> Iterator[Path]:
    """DICOM files of a folder and its subfolders, in the order of their names; links to folders are not followed.

    Args:
        unreadable: called for each folder and file that may be a part of the patient but cannot be opened.
    """
    for root, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            try:
                if not name.startswith(".") and path.is_file() and is_dicom(path):
                    yield path
            except OSError as error:
                unreadable(error)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what pydicom and numpy raise for a damaged file, of many kinds, into a CaseError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            warnings.filterwarnings("error", message="(?s).* in file ")  # what pydicom says of a file that ends early
            yield
    except CaseError:
        raise
    except OSError as error:
        raise CaseError(f"{path}: cannot be read ({error.strerror or error})") from error
    except ModuleNotFoundError as error:
        raise CaseError(f"{path}: reading DICOM needs {error.name}; pip install {error.name}") from error
    except Exception as error:
        what = " ".join(str(error).split())[:200] or type(error).__name__
        raise CaseError(f"{path}: damaged DICOM file ({what}); export it again") from error


def read_dataset(path: Path, tags: Sequence[str] | None = None) -> Dataset:
    """The dataset of a file, or only some of its elements, without pixels; CaseError if it is none."""
    with reading(path):
        import pydicom

        if path.stat().st_size > MAX_BYTES:
            raise CaseError(f"{path}: larger than {MAX_BYTES / 2**30:g} GiB; this is no CT, RTSTRUCT or RTDOSE")
        data = path.read_bytes()  # a buffer: from a file, pydicom would reserve whatever length a damaged one declares
        if data[128:132] != b"DICM":
            raise CaseError(f"{path}: not a DICOM file (no DICM after 128 bytes); export it again")
        if _DEFLATED in data[:4096]:
            raise CaseError(f"{path}: deflated DICOM is not read; export it uncompressed")
        buffer = io.BytesIO(data)
        dataset = pydicom.dcmread(
            buffer, stop_before_pixels=tags is not None, specific_tags=None if tags is None else list(tags)
        )
        _check_whole(dataset)
        if tags is None and buffer.tell() < len(data):
            raise CaseError(
                f"{path}: damaged DICOM file (unreadable after {buffer.tell()} of {len(data)} bytes); export it again"
            )
        if "SOPInstanceUID" not in dataset or "SOPClassUID" not in dataset:
            raise CaseError(f"{path}: damaged DICOM file (no SOP class or instance UID); export it again")
        return dataset


def _check_whole(dataset: Dataset) -> None:
    """ValueError if an element is shorter than it declares; pydicom takes what is there of a truncated file."""
    element: Any
    for element in dataset.values():
        raw = getattr(element, "is_raw", False) and isinstance(element.value, bytes)
        if raw and element.length not in (len(element.value), 0xFFFFFFFF):
            raise ValueError(f"element {element.tag} is cut off")


def text(dataset: Dataset, keyword: str) -> str:
    """An element as text, "" where it is absent or empty."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip()


def items(dataset: Dataset, *keywords: str) -> Iterator[Dataset]:
    """The innermost items of nested sequences; nothing where one is absent."""
    _check_whole(dataset)
    if not keywords:
        yield dataset
        return
    for item in dataset.get(keywords[0]) or ():
        yield from items(item, *keywords[1:])


def numbers(dataset: Dataset, keyword: str, count: int, path: Path) -> np.ndarray:
    """(count,) float64 of decimal strings; CaseError if they are absent, of another number or type, or not finite."""
    value = dataset.get(keyword)
    values = np.atleast_1d(np.asarray([] if value is None else value, float))
    if values.shape != (count,) or not np.isfinite(values).all() or dataset[keyword].VR != "DS":
        raise CaseError(
            f"{path}: {keyword} is {'missing' if value is None else f'{value}'[:80]}; expected {count}"
            f" number{'s' if count > 1 else ''}"
        )
    return values


def sizes(dataset: Dataset, path: Path) -> tuple[int, int, int]:
    """(rows, columns, frames) of an image in grey; CaseError if they cannot be."""
    rows, columns = (int(dataset.get(keyword) or 0) for keyword in ("Rows", "Columns"))
    frames = int(dataset.get("NumberOfFrames") or 1)
    if min(rows, columns, frames) < 1 or rows * columns * frames > MAX_VOXELS:
        raise CaseError(f"{path}: {frames} frames of {rows}x{columns} pixels cannot be; export it again")
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise CaseError(f"{path}: this is a colour image; export the original one")
    return rows, columns, frames


def pixels(dataset: Dataset, path: Path) -> np.ndarray:
    """Stored values, (rows, columns) or (frames, rows, columns); CaseError if they cannot be decoded."""
    sizes(dataset, path)
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise CaseError(f"{path}: it does not say how it is encoded (no TransferSyntaxUID); export it again")
    if syntax.is_compressed:
        try:
            return dataset.pixel_array
        except Exception as error:
            raise CaseError(
                f"{path}: its pixels are compressed ({syntax.name}) and cannot be decoded; export it"
                " uncompressed, or pip install pylibjpeg[all]"
            ) from error
    return dataset.pixel_array
