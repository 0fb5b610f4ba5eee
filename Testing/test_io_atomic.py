"""Files and folders appear whole or not at all, and errors name what the user knows."""

from __future__ import annotations

import csv
import errno
import os
import sys
from pathlib import Path

import pytest

from DeepDosePredictLib.io.atomic import (
    STAGE,
    atomic_path,
    atomic_write,
    check_writable,
    remove_leftovers,
    staged_files,
    write_table,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with atomic_path(path) as temporary:
        assert temporary.parent == path.parent and temporary.suffix == ".csv" and temporary.name.startswith(".table-")
        temporary.write_text("new")
        assert not path.exists()
    assert path.read_text() == "new" and names(path.parent) == ["table.csv"]
    with pytest.raises(RuntimeError), atomic_write(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "new" and names(path.parent) == ["table.csv"]


@pytest.mark.skipif(sys.platform == "win32", reason="modes")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_have_the_users_mode(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_write(tmp_path / "x") as file:
            file.write(b"x")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == mode


def test_errors_name_the_file_that_was_asked_for(tmp_path):
    """A full disk names no file, other errors name the temporary one."""
    path = tmp_path / "dose.nrrd"
    with pytest.raises(OSError) as error, atomic_path(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert error.value.filename == str(path)
    with pytest.raises(OSError) as error, atomic_path(path) as temporary:
        raise OSError(errno.EIO, "Input/output error", str(temporary))
    assert error.value.filename == str(path)
    with pytest.raises(OSError) as error, atomic_path(path):
        raise OSError("in words")
    assert error.value.filename is None and names(tmp_path) == []


def test_tables(tmp_path):
    write_table(tmp_path / "t.csv", ("a", "b"), [("Müller, 漢", 'say "x"'), (1, 2.5)])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["a", "b"], ["Müller, 漢", 'say "x"'], ["1", "2.5"]]


def test_files_of_a_folder_appear_together(tmp_path):
    folder = tmp_path / "new" / "out"
    with staged_files(folder) as stage:
        assert stage.parent == folder and stage.name.startswith(STAGE)
        (stage / "a").write_text("1")
        assert names(folder) == [stage.name]
    (folder / "mine").write_text("mine")
    with pytest.raises(RuntimeError), staged_files(folder) as stage:
        (stage / "a").write_text("2")
        raise RuntimeError
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"a": "1", "mine": "mine"}


def test_a_new_folder_goes_again_when_nothing_came_into_it(tmp_path):
    for existed in (False, True):
        folder = tmp_path / f"out {existed}"
        if existed:
            folder.mkdir()
        with pytest.raises(RuntimeError), staged_files(folder):
            raise RuntimeError
        assert folder.exists() == existed


def test_while_the_last_file_is_there_the_others_belong_together(tmp_path, monkeypatch):
    """It goes before any other is replaced and comes after all of them."""
    for name in ("a", "result", "z"):
        (tmp_path / name).write_text("old")
    seen = []
    usual = Path.replace

    def replace(path: Path, target: Path) -> Path:
        seen.append((path.name, (tmp_path / "result").exists()))
        if len(seen) == 5:
            raise OSError(errno.EIO, "Input/output error", str(path))
        return usual(path, target)

    monkeypatch.setattr(Path, "replace", replace)
    with staged_files(tmp_path, last="result") as stage:
        for name in ("a", "result", "z"):
            (stage / name).write_text("new")
    assert seen == [("a", False), ("z", False), ("result", False)]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"new"}
    with pytest.raises(OSError) as error, staged_files(tmp_path, last="result") as stage:
        for name in ("a", "result", "z"):
            (stage / name).write_text("newer")
    assert error.value.filename == str(tmp_path / "z") and names(tmp_path) == ["a", "z"]


def test_a_folder_that_is_deleted_meanwhile_is_an_error_that_names_it(tmp_path):
    folder = tmp_path / "out"
    with pytest.raises(OSError) as error, staged_files(folder) as stage:
        stage.rmdir()
        folder.rmdir()
    assert error.value.filename == str(folder) and not folder.exists()


def test_what_was_killed_is_cleared(tmp_path):
    folder = tmp_path / "out"
    (folder / f"{STAGE}x" / "deep").mkdir(parents=True)
    (folder / "dose.nrrd").touch()
    remove_leftovers(folder)
    assert names(folder) == ["dose.nrrd"]
    for name in (".summary-ab12.csv", ".summary-x.txt", ".other-x.csv", "summary.csv"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "summary.csv")
    assert names(tmp_path) == [".other-x.csv", ".summary-x.txt", "out", "summary.csv"]


def test_whether_a_file_can_be_written(tmp_path, monkeypatch):
    check_writable(tmp_path / "new" / "x.json")
    assert names(tmp_path / "new") == []
    with pytest.raises(IsADirectoryError) as error:
        check_writable(tmp_path)
    assert error.value.filename == str(tmp_path)

    def denied(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / ".x-123.json"))

    monkeypatch.setattr("tempfile.mkstemp", denied)
    monkeypatch.setattr("tempfile.mkdtemp", denied)
    with pytest.raises(PermissionError) as error:
        check_writable(tmp_path / "x.json")
    assert error.value.filename == str(tmp_path / "x.json")
    with pytest.raises(PermissionError) as error, staged_files(tmp_path):
        raise AssertionError
    assert error.value.filename == str(tmp_path)


def test_files_of_an_earlier_result_go_with_it(tmp_path):
    """Those that the new one does not write; without the earlier `last` they are not known to be ours."""
    for name in ("result", "dose.csv", "dose.dcm", "mine"):
        (tmp_path / name).write_text("old")
    for round_, expected in enumerate((["dose.csv", "mine", "result"], ["dose.csv", "dose.dcm", "mine", "result"])):
        with staged_files(tmp_path, last="result", own=("result", "dose.csv", "dose.dcm")) as stage:
            (stage / "dose.csv").write_text(f"new {round_}")
            (stage / "result").write_text(f"new {round_}")
        assert names(tmp_path) == expected and (tmp_path / "dose.csv").read_text() == f"new {round_}"
        (tmp_path / "result").unlink()
        (tmp_path / "dose.dcm").write_text("another's")
