"""Own patients to a training cache: what is kept, what is left out and why, and training from the cache."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from deepdose_training.cli import main
from deepdose_training.configuration import read_config
from deepdose_training.dataset import Plans, Sample, cache_patients
from deepdose_training.train import train
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.nrrd_case import write_nrrd_case
from DeepDosePredictLib.patient.roi_mask import RoiMask
from synthetic import make_case, write_openkbp


def prescribed(case, level: float = 70.0):
    """The case with a dose that gives the highest target its prescription on average."""
    mean = case.dose[case.rois["PTV70"]].mean()
    return replace(case, dose=case.dose * (level / mean))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    case = prescribed(make_case("x", seed=3))
    write_openkbp(folder / "pt_1", case)
    write_nrrd_case(folder / "pt_2", case)
    write_nrrd_case(folder / "no-dose", replace(case, dose=None))
    write_nrrd_case(folder / "boost", replace(case, dose=case.dose / 5))
    names = tuple(name.replace("PTV56", "PTV54") for name in case.rois.names)
    write_nrrd_case(folder / "other-levels", replace(case, rois=RoiMask(case.rois.bits, names)))
    write_nrrd_case(folder / "damaged", case)
    (folder / "damaged" / "ct.nrrd").write_bytes(b"NRRD0004\n")
    return folder


def run(cohort: Path, cache: Path, *options: str) -> dict[str, dict]:
    assert main(["import", str(cohort), "-o", str(cache), *options]) == 0
    with (cache / "report.csv").open() as file:
        return {row["patient"]: row for row in csv.DictReader(file)}


def test_what_is_left_out_is_told(cohort, tmp_path, capsys):
    rows = run(cohort, tmp_path)
    assert {name for name, row in rows.items() if row["status"] == "kept"} == {"pt_1", "pt_2"}
    reasons = {
        "no-dose": "no reference dose",
        "boost": "20% of its prescription",
        "other-levels": "PTV54",
        "damaged": "ct.nrrd",
    }
    assert all(words in rows[name]["reason"] for name, words in reasons.items())
    assert "not contoured: Esophagus, Larynx" in rows["pt_1"]["notes"]
    printed = capsys.readouterr().out
    assert "boost: left out" in printed and "2 of 6 patients kept" in printed
    samples = cache_patients(tmp_path, tmp_path / "unused")
    expected = Sample.from_case(prescribed(make_case("pt_2", seed=3)))
    assert [sample.name for sample in samples] == ["pt_1", "pt_2"] and not (tmp_path / "unused").exists()
    for key in ("ct", "bits", "outside"):
        assert torch.equal(getattr(samples[1], key), getattr(expected, key))
    torch.testing.assert_close(samples[1].dose, expected.dose)


def test_training_from_the_cache(cohort, tmp_path):
    run(cohort, tmp_path / "cache")
    config = tmp_path / "config.yaml"
    config.write_text(f"""
name: tiny
epochs: 1
loss: {{mae: 1.0}}
network: {{widths: [4, 4, 4], growth: 4, head_channels: 4, norm: group, group_size: 2}}
precision: 32-true
data: {{train: {tmp_path / "cache"}, validation: {tmp_path / "cache"}, cache: {tmp_path / "other"}}}
""")
    model = train(
        read_config(config),
        tmp_path / "run",
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    assert model.is_file()


def test_cache_of_another_kind_is_refused(cohort, tmp_path):
    """Also where training asks for plans of several planners: an import has those of one."""
    run(cohort, tmp_path)
    with pytest.raises(DeepDoseError, match="held_out_planners"):
        cache_patients(tmp_path, tmp_path / "unused", [Plans(), Plans()])
    (kind,) = (path for path in tmp_path.iterdir() if path.is_dir())
    kind.rename(tmp_path / "v0")
    with pytest.raises(DeepDoseError, match="import it again"):
        cache_patients(tmp_path, tmp_path / "unused")


def test_nothing_kept_is_an_error(cohort, tmp_path, capsys):
    assert main(["import", str(cohort / "boost"), "-o", str(tmp_path)]) == 1
    assert (
        main(["import", str(cohort / "nothing"), "-o", str(tmp_path)]) == 1
        and "no such folder" in capsys.readouterr().err
    )
