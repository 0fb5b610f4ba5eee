"""OpenKBP scores of a model, or of given predictions, over a folder of OpenKBP patients."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..dvh.metrics import PatientScore, dose_error, dose_score, dvh_score, score_patient
from ..errors import CaseError
from ..geometry.body import derived_dose_mask, find_body
from ..io.openkbp import read_dose, read_dose_mask, read_openkbp, read_rois, read_spacing
from ..patient.case import folder_name
from .sources import CaseSource, find_cases

if TYPE_CHECKING:
    from ..model.predictor import Predictor

Progress = Callable[[Sequence[CaseSource]], Iterable[CaseSource]]
"""Goes through patients and may show how far it is."""


@dataclass(frozen=True)
class CohortScores:
    """Scores of a cohort, in Gy; `seconds` is the whole run, `model` says what was scored."""

    scores: Sequence[PatientScore]
    seconds: float
    model: str

    def to_dict(self) -> dict:
        """The content of the JSON file that `deepdose evaluate` writes."""
        return {
            "dose_score": dose_score(self.scores),
            "dvh_score": dvh_score(self.scores),
            "n_patients": len(self.scores),
            "seconds": self.seconds,
            "model": self.model,
            "patients": {
                score.name: {
                    "dose_error": score.dose_error,
                    "dvh_error": score.dvh_error,
                    "metrics": {
                        roi: {
                            name: {"reference": value, "predicted": score.predicted[roi][name]}
                            for name, value in metrics.items()
                        }
                        for roi, metrics in score.reference.items()
                    },
                }
                for score in self.scores
            },
        }


def evaluate(
    patients: str | Path,
    predict: Callable[[Path], np.ndarray],
    model: str,
    progress: Progress = iter,
) -> CohortScores:
    """Score `predict(patient folder)`, a (K, J, I) dose in Gy, for every patient of a folder.

    Everything is computed in float64 from the digits of the files. A patient that cannot be read stops the
    evaluation with a CaseError: a score over fewer patients would look like one over all.
    """
    start = time.perf_counter()
    scores = []
    for source in progress(find_cases([patients])):
        folder = source.folder
        rois, dose_mask, spacing = read_rois(folder), read_dose_mask(folder), read_spacing(folder)
        reference = read_dose(folder / "dose.csv")
        scores.append(score_patient(source.name, reference, predict(folder), rois, dose_mask, float(np.prod(spacing))))
    return CohortScores(scores, time.perf_counter() - start, model)


@dataclass(frozen=True)
class MaskComparison:
    """Dose errors in Gy of a patient with the given and with a derived dose mask, both inside the common mask."""

    name: str
    given: float
    derived: float


def compare_derived_masks(
    patients: str | Path, predictor: Predictor, progress: Progress = iter
) -> list[MaskComparison]:
    """What a model loses where nobody knows the dose mask and it is derived from the CT and the targets."""
    comparisons = []
    for source in progress(find_cases([patients])):
        case = read_openkbp(source.folder)
        targets = np.logical_or.reduce([case.rois[target] for target in case.targets()])
        mask = derived_dose_mask(find_body(case.ct, targets), targets, case.spacing[0])
        if not mask.any():
            raise CaseError(f"{case.name}: no body was found around the targets")
        common = mask & case.dose_mask
        errors = [
            dose_error(case.dose * common, predictor.predict(one).dose * common, common)
            for one in (case, replace(case, dose_mask=mask))
        ]
        comparisons.append(MaskComparison(case.name, *errors))
    return comparisons


def given_predictions(directory: str | Path) -> Callable[[Path], np.ndarray]:
    """`predict` for `evaluate`: reads DIRECTORY/PATIENT.csv in OpenKBP form."""
    directory = Path(directory)
    if not directory.is_dir():
        raise CaseError(f"{directory}: no such folder")
    return lambda folder: read_dose(directory / f"{folder_name(folder)}.csv")


def model_predictions(predictor: Predictor) -> Callable[[Path], np.ndarray]:
    """`predict` for `evaluate`: runs the model."""
    return lambda folder: predictor.predict(read_openkbp(folder)).dose
