"""Studies: runs that are finished are kept, results are collected, tables and figures follow from them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import yaml
from scipy import stats

from deepdose_training import study, study_report
from deepdose_training.study import WHOLE, Study
from DeepDosePredictLib.errors import DeepDoseError
from synthetic import make_case, write_openkbp

NETWORK = {"widths": [4, 4, 4], "growth": 4, "head_channels": 4, "norm": "group", "group_size": 2}


@pytest.fixture
def small_study(tmp_path, monkeypatch) -> Study:
    """Two variants with two seeds on made-up patients."""
    for split, seeds in (("train", range(2)), ("validation", range(10, 16))):
        for seed in seeds:
            write_openkbp(tmp_path / split / f"pt_{seed}", make_case(f"pt_{seed}", seed=seed))
    config = {
        "name": "tiny",
        "epochs": 1,
        "network": NETWORK,
        "loss": {"mae": 1.0},
        "precision": "32-true",
        "data": {
            "train": str(tmp_path / "train"),
            "validation": str(tmp_path / "validation"),
            "cache": str(tmp_path / "cache"),
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "small.yaml").write_text(
        yaml.safe_dump(
            {
                "config": "config.yaml",
                "settings": ["optimizer.lr=0.01"],
                "seeds": [1, 2],
                "variants": {"MAE": [], "MAE + DVH": ["loss={mae: 1.0, dvh: 1.0}"]},
            }
        )
    )
    monkeypatch.setattr(study, "RUNS", tmp_path / "runs")
    return Study.read(tmp_path / "small.yaml")


def rows(path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_study_runs_once_and_is_reported(small_study, tmp_path):
    study.run(small_study)
    results = tmp_path / "results"
    study.collect(small_study, results)
    runs = rows(results / "runs.csv")
    assert [(row["variant"], row["seed"]) for row in runs] == [
        ("MAE", "1"),
        ("MAE + DVH", "1"),
        ("MAE", "2"),
        ("MAE + DVH", "2"),
    ]
    assert "loss={mae: 1.0, dvh: 1.0}" in runs[1]["command"] and "seed=2" in runs[2]["command"]
    errors = rows(results / "errors.csv")
    # Six patients with a dose error, four PTV and OAR kinds of metrics each, in four runs.
    assert sum(row["metric"] == "dose error" for row in errors) == 24
    first = [
        float(row["error_gy"])
        for row in errors
        if (row["variant"], row["seed"], row["structure"]) == ("MAE", "1", WHOLE)
    ]
    curve = [row for row in rows(results / "curves.csv") if (row["variant"], row["seed"]) == ("MAE", "1")]
    assert np.mean(first) == pytest.approx(float(curve[-1]["dose_score"]), abs=0.1)
    goals = rows(results / "goals.csv")
    assert goals and {row["reference_met"] for row in goals} <= {"0", "1"}

    model = next((tmp_path / "runs").rglob("mae-1/*.safetensors"))
    before = model.stat().st_mtime_ns
    study.run(small_study)
    assert model.stat().st_mtime_ns == before, "a finished run must not be repeated"

    text = study_report.report("small", results).read_text()
    assert "MAE + DVH" in text and "p (Holm)" in text and "| PTV70 | D95 |" in text
    assert (results / "curves.png").stat().st_size > 10_000 and (results / "boxes.png").stat().st_size > 10_000
    path = tmp_path / "patients.png"
    study_report.draw_patients(path, small_study, [tmp_path / "validation" / "pt_10"])
    assert path.stat().st_size > 10_000


def test_tests_are_of_pairs_of_patients():
    """p values are those of scipy on the patients' errors, corrected over all rows."""
    rng = np.random.default_rng(0)
    names = [f"pt_{n}" for n in range(20)]

    def variant(shift: float) -> dict:
        return {
            (name, roi, metric): value + shift
            for name, value in zip(names, rng.uniform(2, 4, 20), strict=True)
            for roi, metric in ((WHOLE, "dose error"), ("PTV70", "D_95"), ("Larynx", "mean"))
        }

    errors = {"a": variant(0), "b": variant(-0.8)}
    lines = study_report.wilcoxon_table(errors)[2:]
    p = stats.wilcoxon(study_report.dose_errors(errors["b"]) - study_report.dose_errors(errors["a"])).pvalue
    assert len(lines) == 2 and f"| {p:.2g} |" in lines[0] and "| -" in lines[0]
    assert float(lines[0].split("|")[6]) >= float(lines[0].split("|")[5])


def test_holm():
    np.testing.assert_allclose(study_report.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])
    np.testing.assert_allclose(study_report.holm([0.5, 0.9]), [1, 1])


def test_mistakes_are_named(tmp_path):
    (tmp_path / "bad.yaml").write_text("variants: 3")
    with pytest.raises(DeepDoseError, match=r"bad\.yaml: not a study"):
        Study.read(tmp_path / "bad.yaml")
    with pytest.raises(DeepDoseError, match="run the study first"):
        study_report.report("none", tmp_path)
