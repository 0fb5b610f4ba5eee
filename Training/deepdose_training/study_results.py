"""What is kept of a study's errors: small CSV files, from which its report is drawn."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.cbook import boxplot_stats

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.atomic import write_table
from DeepDosePredictLib.patient.rois import is_target

WHOLE = "dose mask"
"""Stands for the structure in rows that hold the dose error."""
BOX = ("whislo", "q1", "med", "q3", "whishi")
GOALS = ("goals", "reference_met", "predicted_met", "as_reference")
Box = dict[str, Any]
"""Statistics of a box plot as `Axes.bxp` takes them."""


@dataclass(frozen=True)
class StudyResults:
    """Of one variant; errors are absolute, in Gy, and averaged over the seeds.

    Attributes:
        patients: {patient: (dose error, mean error of the DVH metrics)}.
        structures: {(structure, metric): (number of patients, mean error)}.
        boxes: {("PTV" or "OAR", metric): distribution of the errors over structures and patients}.
        goals: number of clinical goals scored; shares that the reference and the prediction meet, and in which they
            agree.
    """

    patients: Mapping[str, tuple[float, float]]
    structures: Mapping[tuple[str, str], tuple[int, float]]
    boxes: Mapping[tuple[str, str], Box]
    goals: Mapping[str, float]

    @classmethod
    def of(cls, errors: Iterable[Sequence], goals: Iterable[Sequence]) -> StudyResults:
        """Of the rows (patient, structure, metric, error) and (patient, structure, goal, met, met) of all seeds."""
        seeds = defaultdict(list)
        for *key, error in errors:
            seeds[tuple(key)].append(abs(error))
        whole: dict[str, float] = {}
        patients, structures, kinds = defaultdict(list), defaultdict(list), defaultdict(list)
        for (patient, structure, metric), values in seeds.items():
            error = float(np.mean(values))
            if structure == WHOLE:
                whole[patient] = error
                continue
            patients[patient].append(error)
            structures[structure, metric].append(error)
            kinds["PTV" if is_target(structure) else "OAR", metric].append(error)
        met = np.array([row[-2:] for row in goals], bool)
        return cls(
            {patient: (whole[patient], float(np.mean(patients[patient]))) for patient in sorted(whole)},
            {key: (len(values), float(np.mean(values))) for key, values in structures.items()},
            {key: boxplot_stats(values)[0] for key, values in kinds.items()},
            dict(zip(GOALS, (len(met), *met.mean(0), np.mean(met[:, 0] == met[:, 1])), strict=True)),
        )

    def dose_errors(self) -> np.ndarray:
        """Dose error of each patient in Gy, in the order of the patients' names."""
        return np.array([dose for dose, _ in self.patients.values()])

    def dvh_errors(self) -> np.ndarray:
        """Mean metric error of each patient in Gy."""
        return np.array([dvh for _, dvh in self.patients.values()])

    def metric_error(self, *, targets: bool = True, organs: bool = True) -> float:
        """Mean error in Gy of the metrics of all structures, of targets or of organs alone."""
        kept = [value for key, value in self.structures.items() if (targets if is_target(key[0]) else organs)]
        return sum(n * error for n, error in kept) / sum(n for n, _ in kept)


def write_results(folder: Path, results: Mapping[str, StudyResults]) -> None:
    """Write the results of variants as patients.csv, structures.csv, boxes.csv and goals.csv."""

    def write(name: str, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
        write_table(folder / f"{name}.csv", ("variant", *columns), ([*map(_cell, row)] for row in rows))

    write(
        "patients",
        ("patient", "dose_error_gy", "dvh_error_gy"),
        ((variant, key, *value) for variant, r in results.items() for key, value in r.patients.items()),
    )
    write(
        "structures",
        ("structure", "metric", "patients", "error_gy"),
        ((variant, *key, *value) for variant, r in results.items() for key, value in r.structures.items()),
    )
    write(
        "boxes",
        ("kind", "metric", *BOX, "fliers"),
        (
            (variant, *key, *(box[name] for name in BOX), " ".join(map(_cell, box["fliers"])))
            for variant, r in results.items()
            for key, box in r.boxes.items()
        ),
    )
    write("goals", GOALS, ((variant, *r.goals.values()) for variant, r in results.items()))


def _cell(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def read_results(folder: Path) -> dict[str, StudyResults]:
    """What `write_results` wrote: {variant: its results}."""
    patients: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
    structures: dict[str, dict[tuple[str, str], tuple[int, float]]] = defaultdict(dict)
    boxes: dict[str, dict[tuple[str, str], Box]] = defaultdict(dict)
    for row in read_rows(folder / "patients.csv"):
        patients[row["variant"]][row["patient"]] = float(row["dose_error_gy"]), float(row["dvh_error_gy"])
    for row in read_rows(folder / "structures.csv"):
        structures[row["variant"]][row["structure"], row["metric"]] = int(row["patients"]), float(row["error_gy"])
    for row in read_rows(folder / "boxes.csv"):
        box = {name: float(row[name]) for name in BOX}
        boxes[row["variant"]][row["kind"], row["metric"]] = box | {"fliers": [*map(float, row["fliers"].split())]}
    goals = {row["variant"]: {name: float(row[name]) for name in GOALS} for row in read_rows(folder / "goals.csv")}
    return {v: StudyResults(patients[v], structures[v], boxes[v], goals[v]) for v in patients}


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file of a study."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise DeepDoseError(f"{path}: cannot be read ({error.strerror}); run the study first") from error
