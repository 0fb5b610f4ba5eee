"""Predicting a cohort: what is finished is kept, with a summary table and a report over all patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import CaseError, DeepDoseError
from ..io.atomic import atomic_write, remove_leftovers, write_table
from ..report.html import PAGE, cohort_page
from ..report.result import SUMMARY, Result, read_result
from .output_lock import locked
from .prediction import Job, Settings, result_key
from .sources import CaseSource
from .workers import default_workers, outcomes_of

LOST = "its result was removed or changed while the run went on; predict again"
COLUMNS = (
    "patient",
    "status",
    "dose_error_gy",
    "dvh_error_gy",
    "seconds",
    "device",
    "contours",
    "scope",
    "plan_check",
    "warnings",
    "error",
)


@dataclass(frozen=True)
class CohortSettings:
    """How to go through a cohort.

    Attributes:
        title: name of the cohort.
        prediction: how to predict each patient.
        n_workers: processes; None takes what suits device, cores and memory.
        overwrite: predict again what is finished.
    """

    title: str
    prediction: Settings
    n_workers: int | None = None
    overwrite: bool = False


@dataclass(frozen=True)
class Cohort:
    """What a run over a cohort left: results in the order of the input, of which `n_kept` are earlier ones."""

    results: Mapping[str, Result]
    failures: Mapping[str, str]
    n_kept: int


def predict_cohort(
    sources: Sequence[CaseSource],
    folder: Path,
    settings: CohortSettings,
    report: Callable[[str, str | None], object] = lambda patient, error: None,
) -> Cohort:
    """Predict every patient into a folder of its own below `folder`; a bad one is skipped.

    A patient whose folder holds a complete result of the same program, model, inputs and settings is kept. `folder`
    gets summary.csv, which grows during the run, and report.html. No other run writes into it meanwhile.

    Args:
        report: called with patient and error (or None) for each patient when it is done.
    """
    outputs = [folder / source.name for source in sources]
    check_outputs(sources, outputs)
    with locked(folder):
        return _predict_cohort(sources, folder, settings, report)


def _predict_cohort(
    sources: Sequence[CaseSource], folder: Path, settings: CohortSettings, report: Callable[[str, str | None], object]
) -> Cohort:
    predictor = settings.prediction.predictor()  # tells here, once, of a model or device that cannot be used
    roles = settings.prediction.roles
    jobs = [
        Job(source, folder / source.name, result_key(source, predictor, roles), in_cohort=True) for source in sources
    ]
    n_workers = settings.n_workers or default_workers(len(jobs), predictor.device)
    prediction = replace(settings.prediction, model=predictor.model.path.resolve())
    del predictor
    for path in (folder / SUMMARY, folder / PAGE, *(job.output for job in jobs)):
        remove_leftovers(path)
    outcomes: dict[str, Result | str] = {}
    if not settings.overwrite:
        outcomes = {job.source.name: result for job in jobs if (result := finished_result(job))}
    n_kept = len(outcomes)
    for name in outcomes:
        report(name, None)
    write_summary(folder, jobs, outcomes)
    waiting = [job for job in jobs if job.source.name not in outcomes]
    try:
        with closing(outcomes_of(waiting, prediction, n_workers)) as new:
            for job, outcome in new:
                outcomes[job.source.name] = outcome
                report(job.source.name, outcome if isinstance(outcome, str) else None)
                write_summary(folder, jobs, outcomes)
    finally:
        _clear(waiting)
    outcomes |= {job.source.name: LOST for job in jobs if _lost(job, outcomes[job.source.name])}
    write_summary(folder, jobs, outcomes)
    ordered = {source.name: outcomes[source.name] for source in sources}
    cohort = Cohort(
        {name: outcome for name, outcome in ordered.items() if isinstance(outcome, Result)},
        {name: outcome for name, outcome in ordered.items() if isinstance(outcome, str)},
        n_kept,
    )
    with atomic_write(folder / PAGE) as file:
        file.write(cohort_page(settings.title, cohort.results, cohort.failures).encode())
    return cohort


def _clear(jobs: Sequence[Job]) -> None:
    """Remove what stopped processes were writing."""
    for job in jobs:
        remove_leftovers(job.output)
        with suppress(OSError):  # it is not there, or holds a result
            job.output.rmdir()


def _lost(job: Job, outcome: Result | str) -> bool:
    """Whether a result that was there is gone."""
    try:
        return isinstance(outcome, Result) and read_result(job.output).key != job.key
    except CaseError:
        return True


def check_outputs(sources: Sequence[CaseSource], outputs: Sequence[Path]) -> None:
    """Nothing that was read may be overwritten, and no two patients may share an output folder."""
    inputs = {source.folder.resolve() for source in sources}
    seen: dict[Path, Path] = {}
    for source, output in zip(sources, outputs, strict=True):
        if output.resolve() in inputs:
            raise DeepDoseError(f"{output}: this is a patient's own folder; choose another output folder")
        if output in seen:
            raise DeepDoseError(
                f"{source.folder} and {seen[output]} have patients of the same name; predict them into separate folders"
            )
        if not source.name or source.name in (SUMMARY, PAGE):
            raise DeepDoseError(f"{source.folder}: a patient cannot have the name {source.name!r}; rename the folder")
        if output.exists() and not output.is_dir():
            raise DeepDoseError(f"{output}: this is a file; give a folder")
        seen[output] = source.folder


def finished_result(job: Job) -> Result | None:
    """The result of an earlier run that this one would repeat."""
    try:
        result = read_result(job.output)
    except DeepDoseError:
        return None
    return result if result.key == job.key else None


def write_summary(folder: Path, jobs: Sequence[Job], outcomes: Mapping[str, Result | str]) -> None:
    """summary.csv with a row for each patient that is done, in the order of the input."""
    done = [job.source.name for job in jobs if job.source.name in outcomes]
    write_table(folder / SUMMARY, COLUMNS, [_summary_row(name, outcomes[name]) for name in done])


def _summary_row(patient: str, outcome: Result | str) -> list[str]:
    row = {"patient": patient, "status": "failed"}
    if isinstance(outcome, str):
        row["error"] = outcome
    else:
        row |= {
            "status": "predicted",
            "seconds": f"{outcome.seconds:.3f}",
            "device": outcome.device,
            "contours": "; ".join(outcome.assignment.lines()),
            "scope": outcome.scope,
            "plan_check": "; ".join(outcome.plan_check),
            "warnings": "; ".join(outcome.warnings),
        }
        if outcome.dose_error is not None:
            row |= {"dose_error_gy": f"{outcome.dose_error:.4f}", "dvh_error_gy": f"{outcome.dvh_error:.4f}"}
    return [row.get(column, "") for column in COLUMNS]
