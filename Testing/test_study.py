"""Studies: runs that are finished are kept, results are collected, tables and figures follow from them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import yaml
from scipy import stats

from deepdose_training import study, study_report, study_results
from deepdose_training.study import Study
from deepdose_training.study_results import WHOLE, StudyResults
from DeepDosePredictLib.errors import DeepDoseError
from synthetic import make_case, write_openkbp

NETWORK = {"widths": [4, 4, 4], "growth": 4, "head_channels": 4, "norm": "group", "group_size": 2}


@pytest.fixture
def small_study(tmp_path, monkeypatch) -> Study:
    """Two variants with one seed on made-up patients."""
    for split, seeds in (("train", range(2)), ("validation", range(10, 13))):
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
                "seeds": [2],
                "variants": {"MAE": [], "MAE + DVH": ["loss={mae: 1.0, dvh: 1.0}"]},
            }
        )
    )
    monkeypatch.setattr(study, "RUNS", tmp_path / "runs")
    return Study.read(tmp_path / "small.yaml")


def rows(path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_study_runs_once_and_is_reported(small_study, tmp_path):
    study.run(small_study)
    results = tmp_path / "results"
    study.collect(small_study, results)
    runs = rows(results / "runs.csv")
    assert [(row["variant"], row["seed"]) for row in runs] == [("MAE", "2"), ("MAE + DVH", "2")]
    assert "loss={mae: 1.0, dvh: 1.0}" in runs[1]["command"] and "seed=2" in runs[0]["command"]
    found = study_results.read_results(results)
    assert list(found) == ["MAE", "MAE + DVH"] and len(found["MAE"].patients) == 3
    curves = rows(results / "curves.csv")
    assert found["MAE"].dose_errors().mean() == pytest.approx(float(curves[0]["dose_score"]), abs=0.1)
    assert found["MAE"].goals["goals"] > 0 and 0 <= found["MAE"].goals["as_reference"] <= 1

    model = next((tmp_path / "runs").rglob("mae-2/*.safetensors"))
    before = model.stat().st_mtime_ns
    study.run(small_study)
    assert model.stat().st_mtime_ns == before, "a finished run must not be repeated"

    text = study_report.report("small", results).read_text()
    assert "MAE + DVH" in text and "p (Holm)" in text and "| PTV70 | D95 |" in text
    assert (results / "curves.png").stat().st_size > 10_000 and (results / "boxes.png").stat().st_size > 10_000
    path = tmp_path / "patients.png"
    study_report.draw_patients(path, small_study, [tmp_path / "validation" / "pt_10"])
    assert path.stat().st_size > 10_000


def made_up(shift: float, seed: int = 0) -> StudyResults:
    """Of twenty patients with a target and an organ, two seeds."""
    rng = np.random.default_rng(seed)
    metrics = ((WHOLE, "dose error"), ("PTV70", "D_95"), ("Larynx", "mean"))
    errors = [
        (f"pt_{n:02}", *metric, sign * (value + shift))
        for sign, spread in ((-1, 0.5), (1, 0.7))
        for n, value in enumerate(rng.uniform(2, 4, 20) * spread)
        for metric in metrics
    ]
    goals = [(f"pt_{n:02}", "Larynx", "mean <= 44", n % 2 == 0, n % 4 == 0) for n in range(20)]
    return StudyResults.of(errors, goals)


def test_errors_are_averaged_over_seeds_without_their_signs():
    errors = [
        ("a", WHOLE, "dose error", 3.0),
        ("a", "PTV70", "D_95", -2.0),
        ("a", "PTV56", "D_95", 1.0),
        ("a", "Larynx", "mean", 6.0),
        ("b", WHOLE, "dose error", 1.0),
        ("b", "PTV70", "D_95", 4.0),
    ]
    second = [(*key, 1.0) for *key, _ in errors]
    results = StudyResults.of(
        errors + second, [("a", "Larynx", "mean <= 44", True, False)] * 3 + [("b", "", "", True, True)]
    )
    assert results.patients == {"a": (2.0, (1.5 + 1 + 3.5) / 3), "b": (1.0, 2.5)}
    assert results.structures["PTV70", "D_95"] == (2, 2.0) and results.metric_error() == (1.5 + 1 + 3.5 + 2.5) / 4
    assert results.metric_error(organs=False) == (1.5 + 1 + 2.5) / 3 and results.metric_error(targets=False) == 3.5
    assert results.boxes["PTV", "D_95"]["med"] == 1.5
    assert results.goals == {"goals": 4, "reference_met": 1.0, "predicted_met": 0.25, "as_reference": 0.25}


def test_what_is_written_gives_the_same_tables(tmp_path):
    """Down to ties of ranks, of which the p values would make something."""
    results = {"a": made_up(0), "b": made_up(-0.8, 1)}
    study_results.write_results(tmp_path, results)
    found = study_results.read_results(tmp_path)
    for table in (study_report.score_table, study_report.structure_table, study_report.wilcoxon_table):
        assert table(found) == table(results)
    assert found["a"].boxes["OAR", "mean"]["q3"] == pytest.approx(results["a"].boxes["OAR", "mean"]["q3"])


def test_tests_are_of_pairs_of_patients():
    """p values are those of scipy on the patients' errors, corrected over all rows."""
    results = {"a": made_up(0), "b": made_up(-0.8, 1)}
    lines = study_report.wilcoxon_table(results)[2:]
    p = stats.wilcoxon(results["b"].dose_errors() - results["a"].dose_errors()).pvalue
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
