"""One patient from folder to folder: read, predict, and write dose, tables and reports."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import RESEARCH_USE, __version__
from ..dvh.metrics import PatientScore, score_patient
from ..io.atomic import staged_files
from ..io.nrrd_case import write_dose
from ..io.objectives import CSV_FILE, JSON_FILE, PYRADPLAN_CT, PYRADPLAN_ROIS, PYRADPLAN_SCRIPT
from ..model.installed import open_model
from ..patient.case import Case
from ..patient.roles import answers_for
from ..patient.site_names import read_site_names
from ..report import banded_dvh_picture, write_report
from ..report.html import PAGE, patient_page
from ..report.result import RESULT, Result
from ..report.tables import checked_metrics, metric_values, write_dvh, write_metrics
from ..trust.plan_check import outside, summary
from .sources import FORMS, CaseSource, GivenRoles

if TYPE_CHECKING:
    from ..model.model_file import Model
    from ..model.predictor import Prediction, Predictor

_DOSE_FILES = tuple(form.dose_file for form in FORMS if form.dose_file)
EXPLORED_OUTPUTS = (
    "dvh.png",
    "curves.csv",
    "curves.png",
    CSV_FILE,
    JSON_FILE,
    PYRADPLAN_SCRIPT,
    PYRADPLAN_CT,
    PYRADPLAN_ROIS,
)
OUTPUTS = ("dose.nrrd", "dvh.csv", "metrics.csv", "report.png", PAGE, *_DOSE_FILES, *EXPLORED_OUTPUTS)
"""What a result, predicted or explored, can consist of, with RESULT."""


@dataclass(frozen=True)
class Settings:
    """How to predict.

    Attributes:
        model: name of an installed model or path of a model file; None takes the default.
        device, single_pass, gantry_angles: see `Predictor`.
        roles: see `CaseSource.read`.
    """

    model: str | Path | None = None
    device: str = "auto"
    single_pass: bool | None = None
    gantry_angles: tuple[float, ...] | None = None
    roles: GivenRoles | None = None

    def predictor(self) -> Predictor:
        from ..model.predictor import Predictor  # PyTorch takes seconds to import: what is refused need not wait for it

        return Predictor(open_model(self.model), self.device, self.single_pass, self.gantry_angles)


@dataclass(frozen=True)
class Job:
    """A patient to predict into a folder.

    Attributes:
        key: see `result_key`; "" where no later run may take the result for its own.
        reference: reference dose instead of the patient's own.
        in_cohort: whether the folder lies in a cohort's, whose page the patient's links to.
    """

    source: CaseSource
    output: Path
    key: str = ""
    reference: Path | None = None
    in_cohort: bool = False


def result_key(source: CaseSource, predictor: Predictor, roles: GivenRoles | None = None) -> str:
    """Hash of everything that decides a prediction.

    Version of this program, model, options, and names, sizes and times of the input files.
    """
    model = predictor.model
    content = {
        "version": __version__,
        "model": (model.contract.name, model.contract.version, model.sha256),
        "single_pass": predictor.single_pass,
        "gantry_angles": predictor.channels.gantry_angles,
        "patient": source.name,
        "form": source.form and source.form.name,
        "roles": answers_for(source.name, roles),
        "site_names": asdict(read_site_names()),
        "files": [
            (str(path.relative_to(source.folder)), path.stat().st_size, path.stat().st_mtime_ns)
            for path in source.files()
        ],
    }
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def predict_patient(job: Job, predictor: Predictor, roles: GivenRoles | None = None) -> Result:
    """Read a patient, predict and write its folder; DeepDoseError or OSError leave the folder as it was."""
    return predict_case(job, job.source.read(roles, job.reference, predictor.model.contract.grid), predictor)


def predict_case(job: Job, case: Case, predictor: Predictor) -> Result:
    """Predict what was read of a job's source, and write its folder as `predict_patient` does."""
    any_prescription = job.source.form is not None and job.source.form.free_names
    return write_prediction(job, case, predictor.predict(case, any_prescription), predictor.model)


def write_prediction(job: Job, case: Case, prediction: Prediction, model: Model) -> Result:
    """Write dose.nrrd, dvh.csv, metrics.csv, report.png, report.html and result.json into a folder: all or none.

    With them the dose in the form in which the patient was read. Returns what result.json holds.
    """
    label = f"{model.label}, {RESEARCH_USE}"
    score = None
    if case.dose is not None:
        score = score_patient(case.name, case.dose, prediction.dose, case.rois, case.dose_mask, case.voxel_volume_mm3)
    metrics = metric_values(case, prediction.dose, prediction.bands)
    checked = checked_metrics(metrics)
    said = [summary(checked), *(one.sentence() for one in outside(checked))] if checked else []
    with staged_files(job.output, last=RESULT, own=OUTPUTS) as stage:
        write_dose(
            stage / "dose.nrrd",
            prediction.dose,
            case.grid,
            **provenance(case, prediction.warnings, prediction.device, model, prediction.scope),
        )
        write_dvh(stage / "dvh.csv", case, prediction.dose, label, prediction.bands)
        write_metrics(stage / "metrics.csv", metrics, label)
        form = job.source.form
        if form is not None and form.write_dose is not None:
            comments = "; ".join(dict.fromkeys((prediction.scope, *prediction.warnings)))
            form.write_dose(stage / form.dose_file, prediction.dose, case, model.label, comments)
        pictures = write_report(
            stage / "report.png",
            case,
            prediction.dose,
            reference=case.dose,
            model=model.label,
            warnings=prediction.warnings,
        )
        if prediction.bands:
            pictures = replace(pictures, dvh=banded_dvh_picture(case, prediction.dose, prediction.bands))
        result = new_result(
            case,
            model,
            score,
            key=job.key,
            seconds=prediction.seconds,
            device=prediction.device,
            warnings=prediction.warnings,
            metrics=metrics,
            scope=prediction.scope,
            intervals=prediction.intervals,
            plan_check=said,
            files={file.name: file.stat().st_size for file in sorted(stage.iterdir())},
        )
        page = patient_page(result, pictures, in_cohort=job.in_cohort).encode()
        (stage / PAGE).write_bytes(page)
        result = replace(result, files={**result.files, PAGE: len(page)})
        (stage / RESULT).write_bytes(result.to_json())
    return result


def new_result(case: Case, model: Model, score: PatientScore | None, **more: Any) -> Result:
    """What is known of a patient's result, finished now; `more`: other fields of `Result`."""
    return Result(
        patient=case.name,
        model=model.label,
        model_sha256=model.sha256,
        version=__version__,
        finished=datetime.now().astimezone().isoformat(timespec="seconds"),
        dose_error=None if score is None else score.dose_error,
        dvh_error=None if score is None else score.dvh_error,
        assignment=case.assignment,
        **more,
    )


def provenance(case: Case, warnings: Sequence[str], device: str, model: Model, scope: str = "") -> dict[str, str]:
    """NRRD header entries that say where a dose comes from."""
    notes = {
        "Patient": case.name,
        "Model": model.label,
        "ModelSHA256": model.sha256,
        "Version": __version__,
        "Device": device,
        "Contours": "; ".join(case.assignment.lines()),
        "Scope": scope,
        "Warnings": "; ".join(warnings),
        "Use": RESEARCH_USE,
    }
    return {f"DeepDosePredict_{key}": value for key, value in notes.items() if value}
