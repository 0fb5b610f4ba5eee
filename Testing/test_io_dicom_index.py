"""Which files belong together: mixed folders, missing and wrong references, several candidates, names as folders."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st

from DeepDosePredictLib.app.sources import DICOM, OPENKBP, find_cases, read_case
from DeepDosePredictLib.errors import CaseError
from DeepDosePredictLib.io.dicom.index import safe_name
from dicom_patient import edit, write_small_patient
from synthetic import make_case, write_openkbp


def merged(*folders: Path) -> Path:
    """All files in the first folder, under names that say nothing."""
    for n, folder in enumerate(folders[1:]):
        for path in folder.iterdir():
            shutil.copy(path, folders[0] / f"{n}-{path.name}")
    return folders[0]


def new_uid(path: Path, uid: str, **elements) -> None:
    def change(dataset):
        dataset.SOPInstanceUID = uid
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)

    edit(path, change)


def refer(dataset, keyword, uid):
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", uid
    setattr(dataset, keyword, [item])


def test_several_patients_in_one_folder_are_parted_by_their_references(tmp_path, small):
    """Also in subfolders, with files of other kinds in between."""
    folder = shutil.copytree(small, tmp_path / "mixed")
    write_small_patient(folder / "sub" / "deeper", "B/2", dose=False)
    merged(folder, write_small_patient(tmp_path / "c", "C"))
    (folder / "notes.txt").write_text("no DICOM")
    shutil.copy(folder / "ct-001.dcm", folder / "mr.dcm")
    edit(
        folder / "mr.dcm",
        lambda d: (
            setattr(d, "Modality", "MR"),
            setattr(d, "SOPInstanceUID", "1.2.3"),
            setattr(d, "SOPClassUID", "1.2.840.10008.5.1.4.1.1.4"),
        ),
    )
    sources = {source.name: source for source in find_cases([folder])}
    assert set(sources) == {"small", "B_2", "C"}
    assert all(len(source.study.ct) == 24 for source in sources.values())
    assert [len(sources[name].study.doses) for name in ("small", "B_2", "C")] == [1, 0, 1]
    assert (pickle.loads(pickle.dumps(sources["C"])).read().ct == read_case(small).ct).all()
    assert sources["B_2"].read().dose is None


def test_files_that_are_there_twice_count_once(patient, small, tmp_path):
    """A patient exported twice into one folder is one case; objects of one UID that differ are not taken for copies."""
    merged(patient, small)
    (source,) = find_cases([patient])
    case, expected = source.read(), read_case(small)
    assert (case.ct == expected.ct).all() and (case.dose == expected.dose).all()
    assert any("27 copies of other files, e.g." in note for note in case.notes), case.notes
    shutil.copytree(small, tmp_path / "other")
    edit(tmp_path / "other" / "structures.dcm", lambda d: setattr(d, "StructureSetLabel", "changed"))
    assert len(find_cases([merged(patient, tmp_path / "other")])) == 2


def test_files_of_one_size_and_time_may_differ(patient):
    """As of an export that was written twice within a second: one of the slices is another."""
    copy = Path(shutil.copy2(patient / "ct-005.dcm", patient / "again.dcm"))
    content, stat = copy.read_bytes(), copy.stat()
    copy.write_bytes(content[:-2] + bytes(2))
    os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.utime(patient / "ct-005.dcm", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(CaseError, match="doubled slices"):
        read_case(patient)


def test_a_ct_without_a_patient_is_told_where_nothing_else_is(patient, tmp_path, small):
    """Beside a whole patient a damaged slice may have lost its name: it is no patient of its own."""
    nobody = patient / "nobody.dcm"
    shutil.copy(patient / "ct-005.dcm", nobody)
    new_uid(nobody, "1.2.3.4", PatientID="", SeriesInstanceUID="1.2.3")
    assert [source.name for source in find_cases([patient])] == ["small"]
    (tmp_path / "alone").mkdir()
    shutil.copy(nobody, tmp_path / "alone")
    with pytest.raises(CaseError, match="no RTSTRUCT for patient without ID"):
        read_case(tmp_path / "alone")


def test_a_patient_with_several_structure_sets_gives_several_cases(patient):
    shutil.copy(patient / "structures.dcm", patient / "second.dcm")
    new_uid(patient / "second.dcm", "1.2.3")
    first, second = find_cases([patient])
    assert {first.name, second.name} == {"small", "small_2"}
    by_file = {source.study.structures.name: source for source in (first, second)}
    assert by_file["structures.dcm"].study.doses and not by_file["second.dcm"].study.doses
    assert "does not belong to second.dcm" in by_file["second.dcm"].read().notes[0]


def test_several_ct_series_that_fit_are_listed(patient, tmp_path):
    other = write_small_patient(tmp_path / "other", dose=False)
    for n, path in enumerate(sorted(other.glob("ct-*.dcm"))):
        new_uid(path, f"1.2.3.{n}", SeriesInstanceUID="1.2.3", SeriesDescription="Second CT")
    (other / "structures.dcm").unlink()
    merged(patient, other)
    assert len(find_cases([patient])[0].study.ct) == 24  # the structure set refers to one of the two

    def no_references(dataset):
        del dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence

    edit(patient / "structures.dcm", no_references)
    with pytest.raises(CaseError, match=r"several CT series fit .*1\.2\.3 'Second CT', 24.*'Made-up CT', 24 slices"):
        read_case(patient)


def test_without_references_the_frame_of_reference_tells(patient, small):
    edit(
        patient / "structures.dcm",
        lambda d: delattr(d.ReferencedFrameOfReferenceSequence[0], "RTReferencedStudySequence"),
    )
    edit(patient / "dose.dcm", lambda d: delattr(d, "ReferencedRTPlanSequence"))
    (patient / "plan.dcm").unlink()
    case = read_case(patient)
    np.testing.assert_array_equal(case.dose, read_case(small).dose)
    assert case.notes == ()


def test_references_to_another_modality_do_not_count_as_missing_slices(patient, small):
    """As of a structure set that was also drawn on an MR, which is not exported."""

    def also_mr(dataset):
        series = dataset.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence
        mr, image = pydicom.Dataset(), pydicom.Dataset()
        image.ReferencedSOPClassUID, image.ReferencedSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", "1.2.3.4"
        mr.SeriesInstanceUID, mr.ContourImageSequence = "1.2.3", [image]
        series.append(mr)

    edit(patient / "structures.dcm", also_mr)
    assert (read_case(patient).rois.bits == read_case(small).rois.bits).all()


def test_ct_of_another_series_in_the_same_frame_is_taken_with_a_note(patient):
    for n, path in enumerate(sorted(patient.glob("ct-*.dcm"))):
        new_uid(path, f"1.2.3.{n}", SeriesInstanceUID="1.2.3")
    assert "refers to another CT series" in read_case(patient).notes[0]


def test_a_dose_may_refer_to_the_structure_set_itself(patient):
    uid = pydicom.dcmread(patient / "structures.dcm").SOPInstanceUID
    edit(
        patient / "dose.dcm",
        lambda d: (
            delattr(d, "ReferencedRTPlanSequence"),
            refer(d, "ReferencedStructureSetSequence", uid),
            delattr(d, "FrameOfReferenceUID"),
        ),
    )
    assert read_case(patient).dose is not None


def test_doses_of_several_plans_are_listed_and_beams_give_way_to_the_plan(patient, small):
    shutil.copy(patient / "dose.dcm", patient / "beam.dcm")
    new_uid(patient / "beam.dcm", "1.2.3", DoseSummationType="BEAM")
    np.testing.assert_array_equal(read_case(patient).dose, read_case(small).dose)
    edit(patient / "beam.dcm", lambda d: setattr(d, "DoseSummationType", "PLAN"))
    with pytest.raises(CaseError, match=r"several doses fit .*beam.dcm.*dose.dcm.*--reference"):
        read_case(patient)
    assert read_case(patient, dose=patient / "beam.dcm").dose is not None
    (patient / "dose.dcm").unlink()
    edit(patient / "beam.dcm", lambda d: setattr(d, "DoseSummationType", "BEAM"))
    with pytest.raises(CaseError, match="dose of a beam"):
        read_case(patient)


def test_what_is_missing_is_said(patient, tmp_path):
    for path in patient.glob("ct-*.dcm"):
        path.unlink()
    with pytest.raises(CaseError, match=r"its CT series is not here.*CT series found: none"):
        read_case(patient)
    other = write_small_patient(tmp_path / "other", "other")
    (other / "structures.dcm").unlink()
    with pytest.raises(CaseError, match=r"other: no RTSTRUCT for patient other"):
        read_case(other)
    for path in (*other.glob("ct-*.dcm"), other / "plan.dcm"):
        path.unlink()
    with pytest.raises(CaseError, match=r"no RTSTRUCT and no CT here, only RTDOSE"):
        read_case(other)


def test_unreadable_files_are_said_and_do_not_stop_the_others(patient):
    (patient / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\xff\xff")
    case = read_case(patient)
    assert len(case.notes) == 1 and "left out" in case.notes[0] and "broken.dcm" in case.notes[0]


def test_folders_and_files_that_cannot_be_opened_are_said(patient, monkeypatch):
    """They may hold the rest of the patient."""
    (patient / "closed").mkdir()
    secret = shutil.copy(patient / "dose.dcm", patient / "secret.dcm")
    scan, opened = os.scandir, Path.open

    def denied(function, place):
        def refusing(path, *arguments, **keywords):
            if Path(path) == place:
                raise PermissionError(13, "Permission denied", str(place))
            return function(path, *arguments, **keywords)

        return refusing

    monkeypatch.setattr(os, "scandir", denied(scan, patient / "closed"))
    monkeypatch.setattr(Path, "open", denied(opened, secret))
    notes = read_case(patient).notes
    assert [note for note in notes if "closed cannot be opened (Permission denied)" in note]
    assert [note for note in notes if "secret.dcm cannot be opened (Permission denied)" in note] and len(notes) == 2
    (patient / "structures.dcm").unlink()
    with pytest.raises(CaseError, match=r"no RTSTRUCT .*left out: .*closed cannot be opened"):
        read_case(patient)


def test_a_structure_set_that_names_no_ct_takes_none_of_another_frame(patient, small):
    """Neither series nor frame: nothing says that it was drawn on this CT."""

    def nameless(dataset):
        del dataset.ReferencedFrameOfReferenceSequence, dataset.FrameOfReferenceUID

    edit(patient / "structures.dcm", nameless)
    with pytest.raises(CaseError, match=r"its CT series is not here \(it refers to none; CT series found: .*24 slices"):
        read_case(patient)
    shutil.copy(small / "structures.dcm", patient)
    edit(
        patient / "structures.dcm",
        lambda d: delattr(d.ReferencedFrameOfReferenceSequence[0], "RTReferencedStudySequence"),
    )
    for path in small.glob("ct-*.dcm"):
        uids = {"SeriesInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.3.4"}
        new_uid(Path(shutil.copy(path, patient / f"other-{path.name}")), f"1.2.3.{path.stem[3:]}", **uids)
    np.testing.assert_array_equal(read_case(patient).ct, read_case(small).ct)


def test_cohort_of_dicom_and_other_patients(tmp_path, small):
    shutil.copytree(small, tmp_path / "cohort" / "one")
    write_openkbp(tmp_path / "cohort" / "two", make_case())
    sources = find_cases([tmp_path / "cohort"])
    assert [(source.name, source.form) for source in sources] == [("small", DICOM), ("two", OPENKBP)]
    with pytest.raises(CaseError, match=r"roles go with .* DICOM files only"):
        sources[1].read({"PTV70": "x"})


@given(st.text(max_size=80))
def test_names_never_leave_the_output_folder(patient_id):
    name = safe_name(patient_id)
    assert not name or (Path("out", name).resolve().parent == Path("out").resolve() and not name.startswith("."))
    assert all(c.isascii() and (c.isalnum() or c in "_.-") for c in name) and len(name) <= 61


@pytest.mark.parametrize(
    ("patient_id", "name"),
    [
        ("../../etc/passwd", "etc_passwd"),
        ("..", ""),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("Müller^Eva", "Muller_Eva"),
        ("C:\\x", "C_x"),
        ("HN-01.2", "HN-01.2"),
        ("", ""),
    ],
)
def test_safe_names(patient_id, name):
    assert safe_name(patient_id) == name


def test_patients_whose_names_collide_get_folders_of_their_own(tmp_path):
    """IDs that differ only in what a file name cannot hold, or that are none."""
    folder = write_small_patient(tmp_path / "in", "../A b")
    merged(folder, *(write_small_patient(tmp_path / f"p{n}", patient) for n, patient in enumerate(("a_B", ".."))))
    names = [source.name for source in find_cases([folder])]
    assert sorted(name.lower() for name in names) == ["a_b", "a_b_2", "in"]
