"""NRRD files: every type and encoding is read to the bit, and each rule of the header from both sides."""

from __future__ import annotations

import gzip
from pathlib import Path

import nrrd
import numpy as np
import pytest

from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.io import nrrd_file
from DeepDosePredictLib.io.nrrd_file import open_nrrd, read_nrrd

TYPES = {
    "signed char": "i1",
    "uchar": "u1",
    "short": "i2",
    "unsigned short": "u2",
    "int": "i4",
    "uint32": "u4",
    "int64": "i8",
    "unsigned long long int": "u8",
    "float": "f4",
    "double": "f8",
}
FIELDS = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "2 3 4",
    "space directions": "(1,0,0) (0,2,0) (0,0,3)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}
VALUES = np.arange(24, dtype="<i2").reshape(4, 3, 2)


def written(path: Path, data: bytes = VALUES.tobytes(), **changes: str | None) -> Path:
    """A file of FIELDS; None leaves one out, and a new one comes last."""
    fields = FIELDS | {name.replace("_", " "): value for name, value in changes.items()}
    lines = ["NRRD0004", *(f"{name}: {value}" for name, value in fields.items() if value is not None), "", ""]
    path.write_bytes("\n".join(lines).encode() + data)
    return path


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize("encoding", ["raw", "gzip", "gz"])
def test_types_orders_and_encodings(tmp_path, name, endian, encoding):
    code = {"little": "<", "big": ">"}[endian] + TYPES[name]
    values = (VALUES * 5 - 17).astype(code)
    data = values.tobytes()
    data = data if encoding == "raw" else gzip.compress(data)
    path = written(tmp_path / "x.nrrd", data, type=name, endian=endian, encoding=encoding)
    array, header = read_nrrd(path)
    assert array.dtype == np.dtype(TYPES[name]) and array.dtype.isnative and header["type"] == name
    np.testing.assert_array_equal(array, values)
    np.testing.assert_array_equal(array, nrrd.read(str(path), index_order="C")[0])


def test_slabs_are_the_array(tmp_path, monkeypatch):
    file = open_nrrd(written(tmp_path / "x.nrrd"))
    for piece, number in ((12, 4), (13, 4), (24, 2), (36, 2), (1, 4), (1000, 1)):
        monkeypatch.setattr(nrrd_file, "_PIECE", piece)
        slabs = list(file.slabs())
        assert len(slabs) == number
        np.testing.assert_array_equal(np.concatenate(slabs), VALUES)
        np.testing.assert_array_equal(file.read(), VALUES)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (VALUES.tobytes()[:-1], "ends after 47 of 48 bytes"),
        (VALUES.tobytes() + b"x", "more data than its sizes say"),
        (b"", "ends after 0 of 48 bytes"),
    ],
)
def test_data_of_another_length(tmp_path, data, words):
    for encoding in ("raw", "gzip"):
        content = data if encoding == "raw" else gzip.compress(data)
        file = open_nrrd(written(tmp_path / "x.nrrd", content, encoding=encoding))
        with pytest.raises(CaseError, match=rf"x\.nrrd: .*{words}"):
            file.read()
        with pytest.raises(CaseError, match=rf"x\.nrrd: .*{words}"):
            list(file.slabs())


@pytest.mark.parametrize("change", [lambda data: data[:-4], lambda data: data[:20] + b"\xff" * 9 + data[29:]])
def test_damaged_compression(tmp_path, change):
    data = change(gzip.compress(np.random.default_rng(0).integers(0, 999, 24).astype("<i2").tobytes()))
    with pytest.raises(CaseError, match="damaged"):
        read_nrrd(written(tmp_path / "x.nrrd", data, encoding="gzip"))


def test_axes_of_one_voxel(tmp_path):
    array, _ = read_nrrd(written(tmp_path / "x.nrrd", sizes="24 1 1"))
    assert array.shape == (1, 1, 24) and (array.ravel() == VALUES.ravel()).all()


def test_a_volume_of_eight_model_grids_is_the_largest(tmp_path):
    assert open_nrrd(written(tmp_path / "x.nrrd", sizes="256 256 256")).shape == (256, 256, 256)
    with pytest.raises(CaseError, match="at most 16777216 voxels"):
        open_nrrd(written(tmp_path / "x.nrrd", sizes="256 256 257"))


def test_size_and_dimension(tmp_path):
    path = written(tmp_path / "x.nrrd")
    assert open_nrrd(path, max_voxels=24).shape == (4, 3, 2)
    with pytest.raises(CaseError, match="at most 23 voxels"):
        open_nrrd(path, max_voxels=23)
    with pytest.raises(CaseError, match="must be 4D or 2D"):
        open_nrrd(path, (4, 2))
    assert open_nrrd(path, (3, 4)).shape == (4, 3, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": "2 3 0"}, "sizes"),
        ({"sizes": "2 3"}, "sizes"),
        ({"dimension": "2"}, "sizes|kinds"),
        ({"type": "block"}, "type 'block' cannot be read"),
        ({"encoding": "bzip2"}, "encoding 'bzip2' cannot be read"),
        ({"endian": "middle"}, "middle"),
        ({"space": "scanner-xyz"}, "space is 'scanner-xyz'"),
        ({"kinds": "domain domain time"}, "kinds is"),
        ({"centerings": "cell cell edge"}, "centerings is"),
        ({"space units": '"mm" "mm" "cm"'}, "space units are mm, mm, cm"),
        ({"space units": "mm"}, "header has the line"),
        ({"space origin": "(1,2)"}, "space origin"),
        ({"space origin": "(1,2,nan)"}, "space origin is"),
        ({"space directions": "(1,0,0) (0,2,0)"}, "2 space directions for 3 axes|space directions"),
        ({"space directions": "(1,0,0) (0,2,0) none"}, "are not those of a volume"),
        ({"space directions": "(1,0,0) (0,2,0) (1,2,0)"}, "are not those of a volume"),
        ({"space directions": "(1,0,0) (0,2,0) (0,0,0.0009)"}, "are not those of a volume"),
        ({"space directions": "(1,0,0) (0,2,0) (0,0,1001)"}, "are not those of a volume"),
        ({"space directions": "(1,0,0) (0,2,0) (1,0,0.0099)"}, "are not those of a volume"),
        ({"data file": "other.raw"}, "lies in another file"),
        ({"byte skip": "4"}, "lies in another file or further on"),
        ({"line skip": "4"}, "lies in another file or further on"),
        ({"number": "24"}, "header field 'number' is not known"),
        ({"thicknesses": "1 2"}, "thicknesses"),
        ({"thicknesses": "1 2 inf"}, "thicknesses is"),
    ],
)
def test_what_a_header_must_not_say(tmp_path, changes, words):
    with pytest.raises(CaseError, match=rf"x\.nrrd: .*({words})"):
        open_nrrd(written(tmp_path / "x.nrrd", **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"space": "RAS"},
        {"kinds": "space none ???"},
        {"centerings": "cell node none"},
        {"space units": '"mm" "millimeter" ""'},
        {"thicknesses": "1 2 3"},
        {"content": "whatever"},
        {"sizes": "2 3 4", "content": "x" * 900},
        {"space directions": "(1,0,0) (0,2,0) (0,0,0.0011)"},
        {"space directions": "(1,0,0) (0,2,0) (0,0,999)"},
        {"space directions": "(1,0,0) (0,2,0) (1,0,0.02)"},
        {"measurement frame": "(1,0,0) (0,1,0) (0,0,1)"},
        {"space": None, "space directions": None, "space origin": None},
    ],
)
def test_what_a_header_may_say(tmp_path, changes):
    np.testing.assert_array_equal(read_nrrd(written(tmp_path / "x.nrrd", **changes))[0], VALUES)


@pytest.mark.parametrize(
    ("first", "second"), [("sizes", "dimension"), ("kinds", "dimension"), ("space origin", "space")]
)
def test_order_of_fields(tmp_path, first, second):
    """Slicer's reader takes them one after the other."""
    path = written(tmp_path / "x.nrrd")
    lines = path.read_bytes().split(b"\n")
    one = next(line for line in lines if line.startswith(first.encode() + b":"))
    lines.remove(one)
    lines.insert(next(n for n, line in enumerate(lines) if line.startswith(second.encode() + b":")), one)
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(CaseError, match=r"stands behind what depends on it|damaged"):
        open_nrrd(path)


def test_fields_that_occur_twice_in_other_letters(tmp_path):
    with pytest.raises(CaseError, match="occurs twice"):
        open_nrrd(written(tmp_path / "x.nrrd", Sizes="2 3 4"))
    path = written(tmp_path / "x.nrrd")
    path.write_bytes(path.read_bytes().replace(b"encoding: raw", b"encoding: raw\nDeepDosePredict_Unit:=Gy"))
    assert open_nrrd(path).header["DeepDosePredict_Unit"] == "Gy"


@pytest.mark.parametrize("line", [b"no colon", b"a: \x01", b"\xff\xfe", b": x", b"NRRD0009"])
def test_lines_that_are_none_of_a_header(tmp_path, line):
    path = written(tmp_path / "x.nrrd")
    path.write_bytes(path.read_bytes().replace(b"encoding: raw", b"encoding: raw\n" + line))
    with pytest.raises(CaseError, match="damaged or not an NRRD file"):
        open_nrrd(path)


def test_a_header_without_end_is_not_read_to_it(tmp_path, monkeypatch):
    monkeypatch.setattr(nrrd_file, "MAX_HEADER_BYTES", 300)
    open_nrrd(written(tmp_path / "x.nrrd"))
    with pytest.raises(CaseError, match="damaged or not"):
        open_nrrd(written(tmp_path / "x.nrrd", content="x" * 300))
    with pytest.raises(CaseError, match="no such file"):
        open_nrrd(tmp_path / "none.nrrd")
