"""One patient from folder to folder, explored: dose, tables, curves and objectives for priorities and wanted doses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from .. import RESEARCH_USE
from ..dvh.metrics import score_patient
from ..explore.explorer import Explored, Explorer, priority_words
from ..explore.objectives import dose_objectives, objective_structures
from ..explore.trade_off import TradeOff, trade_off
from ..explore.wanted import reach
from ..io.atomic import staged_files
from ..io.dicom.write_dose import EXPLORED_LABEL
from ..io.nrrd_case import write_dose
from ..io.objectives import CSV_FILE, JSON_FILE, write_objectives_csv, write_objectives_json, write_pyradplan
from ..model.predictor import Predictor
from ..patient.case import Case
from ..report.exploration import (
    curves_picture,
    doses_of,
    dvh_picture,
    explored_metrics,
    write_curves,
    write_explored_dvh,
    write_explored_metrics,
)
from ..report.result import RESULT, Exploration, Result
from .prediction import OUTPUTS, Job, new_result, provenance
from .wishes import Wishes

CURVES_TABLE, CURVES_PICTURE, DVH_PICTURE = "curves.csv", "curves.png", "dvh.png"


def explore_case(job: Job, case: Case, predictor: Predictor, wishes: Wishes) -> Result:
    """Predict and explore what was read of a job's source, and write its folder.

    DeepDoseError or OSError leave the folder as it was.
    """
    any_prescription = job.source.form is not None and job.source.form.free_names
    explorer = Explorer(predictor, case, predictor.predict(case, any_prescription))
    unmet: tuple[str, ...] = ()
    priorities = wishes.priorities
    if wishes.wanted:
        reached = reach(explorer, wishes.wanted, priorities)
        priorities, unmet = dict(reached.explored.priorities), reached.unmet
    curves = [trade_off(explorer, organ, metric, priorities) for organ, metric in wishes.curves]
    explored = explorer.explore(priorities, wishes.gantry_angles)
    return _write(job, explorer, explored, curves, wishes, unmet)


def _write(
    job: Job,
    explorer: Explorer,
    explored: Explored,
    curves: Sequence[TradeOff],
    wishes: Wishes,
    unmet: Sequence[str],
) -> Result:
    case, prediction, model = explorer.case, explorer.prediction, explorer.predictor.model
    words = priority_words(explored.priorities)
    label = f"{model.label}, explored ({words}), {RESEARCH_USE}"
    said = [*unmet, *(text for curve in curves for text in (curve.sentence(), curve.judgement()) if text)]
    exploration = Exploration(dict(explored.priorities), wishes.wanted, explored.gantry_angles, said)
    metrics = explored_metrics(case, prediction.dose, explored.dose)
    objectives = dose_objectives(explorer, explored)
    doses = doses_of(case, prediction.dose, explored.dose)
    score = None
    if case.dose is not None:
        score = score_patient(case.name, case.dose, explored.dose, case.rois, case.dose_mask, case.voxel_volume_mm3)
    with staged_files(job.output, last=RESULT, own=OUTPUTS) as stage:
        notes = provenance(case, explored.warnings, prediction.device, model)
        write_dose(stage / "dose.nrrd", explored.dose, case.grid, **notes, DeepDosePredict_Priorities=words)
        write_explored_dvh(stage / "dvh.csv", case, doses, label)
        (stage / DVH_PICTURE).write_bytes(dvh_picture(case, doses, f"{case.name}: {label}"))
        write_explored_metrics(stage / "metrics.csv", metrics, label)
        form = job.source.form
        if form is not None and form.write_dose is not None:
            comments = "; ".join(explored.warnings)
            form.write_dose(stage / form.dose_file, explored.dose, case, model.label, comments, EXPLORED_LABEL)
        if curves:
            write_curves(stage / CURVES_TABLE, curves, label)
            (stage / CURVES_PICTURE).write_bytes(curves_picture(curves, f"{case.name}: {model.label}, {RESEARCH_USE}"))
        write_objectives_csv(stage / CSV_FILE, objectives, label)
        about = {"patient": case.name, "model": label, "prescription": case.prescription, **asdict(exploration)}
        write_objectives_json(stage / JSON_FILE, objectives, {**about, "warnings": explored.warnings})
        if wishes.pyradplan:
            write_pyradplan(stage, case, objective_structures(explorer))
        result = new_result(
            case,
            model,
            score,
            key="",
            seconds=prediction.seconds + explored.seconds,
            device=prediction.device,
            warnings=explored.warnings,
            metrics=metrics,
            scope=prediction.scope,
            files={file.name: file.stat().st_size for file in sorted(stage.iterdir())},
            explored=exploration,
        )
        (stage / RESULT).write_bytes(result.to_json())
    return result
