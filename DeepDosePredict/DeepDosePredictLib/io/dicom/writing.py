"""What all DICOM files that this program writes have in common."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import __version__
from ...errors import CaseError
from ..atomic import atomic_write

if TYPE_CHECKING:
    from pydicom import Dataset

_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
MANUFACTURER = "DeepDosePredict"


def new_dataset(sop_class: str, uid: str, modality: str, shared: Mapping[str, str], **elements: Any) -> Dataset:
    """A dataset with its file header; `shared` are patient, study and frame of reference, see DicomReference."""
    pydicom = _pydicom()
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.FileMetaInformationGroupLength = 0  # pydicom counts
    dataset.file_meta.FileMetaInformationVersion = b"\0\1"
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.file_meta.TransferSyntaxUID = _EXPLICIT_LITTLE_ENDIAN
    dataset.file_meta.ImplementationClassUID = pydicom.uid.PYDICOM_IMPLEMENTATION_UID
    dataset.preamble = b"\0" * 128
    if int(pydicom.__version__.partition(".")[0]) < 3:  # later versions take both from the transfer syntax
        dataset.is_little_endian, dataset.is_implicit_VR = True, False
    common = {
        "SpecificCharacterSet": "ISO_IR 192",
        "SOPClassUID": sop_class,
        "SOPInstanceUID": uid,
        "Modality": modality,
        "Manufacturer": MANUFACTURER,
        "SoftwareVersions": __version__,
    }
    for keyword, value in {**common, **shared, **elements}.items():
        setattr(dataset, keyword, value)
    return dataset


def item(**elements: Any) -> Dataset:
    """An item of a sequence."""
    dataset = _pydicom().Dataset()
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    return dataset


def save(path: Path, dataset: Dataset) -> None:
    """Write a file, in place of what was there only when done."""
    content = io.BytesIO()  # pydicom's errors name no file, so it does not write into one
    _pydicom().dcmwrite(content, dataset)
    with atomic_write(path) as file:
        file.write(content.getbuffer())


def new_uid(*parts: object) -> str:
    """A UID: a new one, or, given parts, always the same for the same parts."""
    return str(_pydicom().uid.generate_uid(entropy_srcs=[str(part) for part in parts] or None))


def decimals(values: Iterable[float]) -> list[str]:
    """Numbers as decimal strings, which may have 16 characters."""
    return [_pydicom().valuerep.format_number_as_ds(float(value)) for value in values]


def set_decimals(dataset: Dataset, keyword: str, values: np.ndarray) -> None:
    """Set an element to many numbers, to four decimals; unlike pydicom without an object for each."""
    pydicom = _pydicom()
    data = "\\".join(f"{value:.4f}" for value in np.ravel(values).tolist()).encode()
    data += b" " * (len(data) % 2)
    tag = pydicom.tag.Tag(keyword)
    dataset[tag] = pydicom.dataelem.RawDataElement(
        tag, "DS" if len(data) < 2**16 else "UN", len(data), data, 0, False, True
    )


def image_elements(shape: Sequence[int], spacing: Sequence[float], origin: Sequence[float], **elements: Any) -> dict:
    """Elements of an axial image of (J, I) pixels.

    Args:
        shape: of which the last two count.
        spacing: (k, j, i) in mm.
        origin: (x, y, z) LPS of the first pixel's centre.
    """
    return {
        "Rows": shape[-2],
        "Columns": shape[-1],
        "PixelSpacing": decimals(spacing[1:]),
        "SliceThickness": decimals(spacing[:1])[0],
        "ImagePositionPatient": decimals(origin),
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 16,
        "HighBit": 15,
        **elements,
    }


def dose_elements(dose: np.ndarray, spacing: Sequence[float], origin: Sequence[float]) -> dict:
    """Elements of a (K, J, I) dose in Gy, in 16 bits scaled to its maximum."""
    scaling = decimals([max(float(dose.max()), 1e-3) / 65535])[0]
    stored = np.clip(np.rint(np.asarray(dose, np.float64) / float(scaling)), 0, 65535).astype("<u2")
    return image_elements(
        dose.shape,
        spacing,
        origin,
        NumberOfFrames=dose.shape[0],
        FrameIncrementPointer=0x3004000C,
        PixelRepresentation=0,
        GridFrameOffsetVector=decimals(np.arange(len(dose)) * spacing[0]),
        DoseUnits="GY",
        DoseType="PHYSICAL",
        DoseSummationType="PLAN",
        DoseGridScaling=scaling,
        PixelData=stored.tobytes(),
    )


def _pydicom() -> ModuleType:
    try:
        import pydicom
        import pydicom.uid
        import pydicom.valuerep
    except ModuleNotFoundError as error:
        raise CaseError(f"writing DICOM needs {error.name}; pip install {error.name}") from error
    return pydicom
