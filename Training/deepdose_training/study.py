"""Train and score the variants of a study, and keep what came out.

A study file names a configuration, settings common to all runs, the variants with their own settings, and the seeds.
Runs lie in runs/studies/NAME/VARIANT-SEED; one that is finished is not repeated, one that was cut off is resumed. The
results of all runs go into Training/studies/NAME/*.csv, from which `study_report` draws tables and figures.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from DeepDosePredictLib.app.console import progress_bar
from DeepDosePredictLib.app.sources import find_cases
from DeepDosePredictLib.dvh.goals import read_goals
from DeepDosePredictLib.dvh.metrics import roi_doses, score_patient
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.atomic import atomic_write, write_table
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.resources import goals_path

from .configuration import read_config
from .study_results import WHOLE, StudyResults, write_results
from .train import train

RUNS = Path("runs/studies")
RESULTS = Path(__file__).parents[1] / "studies"
GOALS = "head-and-neck"
CURVES = {
    "train_mae": "train/mae",
    "train_mse": "train/mse",
    "dose_score": "val/dose_score",
    "dvh_score": "val/dvh_score",
}
"""Columns of a learning curve, and of Lightning's log."""


@dataclass(frozen=True)
class Study:
    """What a study file says; `variants` are {label: its settings}, settings are "key=value"."""

    name: str
    config: Path
    variants: Mapping[str, Sequence[str]]
    settings: Sequence[str] = ()
    seeds: Sequence[int] = (1,)

    @classmethod
    def read(cls, path: Path) -> Study:
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls(path.stem, path.parent / content.pop("config"), **content)
        except (OSError, yaml.YAMLError, TypeError, KeyError, AttributeError) as error:
            raise DeepDoseError(f"{path}: not a study ({error!r}); see Training/README.md") from error

    def runs(self) -> Iterator[tuple[str, int, Path, list[str]]]:
        """(variant, seed, folder, settings) of every run."""
        for seed in self.seeds:
            for variant, settings in self.variants.items():
                folder = RUNS / self.name / f"{variant.lower().replace(' ', '-')}-{seed}"
                yield variant, seed, folder, [*self.settings, f"seed={seed}", *settings]


def run(study: Study) -> None:
    """Train and score what is not finished yet."""
    for variant, seed, folder, settings in study.runs():
        if (folder / "results.json").exists():
            continue
        config = read_config(study.config, settings)
        model = folder / f"{config.name}.safetensors"
        if not model.exists():
            train(config, folder, resume=(folder / "checkpoints" / "last.ckpt").exists())
        command = " ".join(
            [
                "python Training/train.py",
                study.config.as_posix(),
                f"--run {folder.as_posix()}",
                *(f'"{setting}"' for setting in settings),
            ]
        )
        results = {
            "variant": variant,
            "seed": seed,
            "command": command,
            "curve": learning_curve(folder),
            **scores(model, config.data.validation),
        }
        with atomic_write(folder / "results.json") as file:
            file.write(json.dumps(results).encode())


def learning_curve(folder: Path) -> list[dict[str, float]]:
    """Per epoch, from the CSV logs: validation scores, and training MAE or MSE where they are terms of the loss."""
    epochs: dict[int, dict[str, float]] = {}
    for log in sorted(folder.glob("csv/*/metrics.csv")):
        with log.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                values = {key: float(row[column]) for key, column in CURVES.items() if row.get(column)}
                if values:
                    epochs.setdefault(int(row["epoch"]), {}).update(values)
    return [{"epoch": epoch + 1, **values} for epoch, values in sorted(epochs.items())]


def scores(model_path: Path, patients: str) -> dict:
    """Errors of a model in every metric of every patient, and which clinical goals prediction and reference meet."""
    predictor, goals = Predictor(load_model(model_path)), read_goals(goals_path(GOALS))
    errors, attainment = [], []
    for source in progress_bar(find_cases([patients]), desc="Scoring", leave=False):
        case = source.read(trained=predictor.model.contract.grid)
        dose, reference = predictor.predict(case).dose, reference_dose(case)
        score = score_patient(case.name, reference, dose, case.rois, case.dose_mask, case.voxel_volume_mm3)
        errors.append([case.name, WHOLE, "dose error", score.dose_error])
        errors += [
            [case.name, roi, metric, score.predicted[roi][metric] - value]
            for roi, metrics in score.reference.items()
            for metric, value in metrics.items()
        ]
        doses = roi_doses(reference, case.rois), roi_doses(dose, case.rois)
        for goal in goals:
            if goal.limit is not None and goal.structure in doses[0]:
                values = (goal.metric.evaluate(d[goal.structure], case.voxel_volume_mm3) for d in doses)
                met = map(goal.met, values)
                attainment.append([case.name, goal.structure, f"{goal.metric} {goal.sense} {goal.limit:g}", *met])
    return {"errors": errors, "goals": attainment}


def reference_dose(case: Case) -> np.ndarray:
    """(K, J, I) in Gy; DeepDoseError where a patient has none."""
    if case.dose is None:
        raise DeepDoseError(f"{case.name}: no reference dose to compare with")
    return case.dose


def collect(study: Study, folder: Path) -> None:
    """Write what the report needs of all finished runs into a folder, as CSV files; errors are averaged over seeds."""
    finished = [
        json.loads((run_folder / "results.json").read_text(encoding="utf-8"))
        for _, _, run_folder, _ in study.runs()
        if (run_folder / "results.json").exists()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    runs = [[result["variant"], result["seed"], result["command"]] for result in finished]
    write_table(folder / "runs.csv", ("variant", "seed", "command"), runs)
    curves = [
        [result["variant"], result["seed"], *(row.get(column, "") for column in ("epoch", *CURVES))]
        for result in finished
        for row in result["curve"]
    ]
    write_table(folder / "curves.csv", ("variant", "seed", "epoch", *CURVES), curves)
    results = {}
    for variant in study.variants:
        own = [result for result in finished if result["variant"] == variant]
        if own:
            results[variant] = StudyResults.of(
                [row for result in own for row in result["errors"]], [row for result in own for row in result["goals"]]
            )
    write_results(folder, results)
