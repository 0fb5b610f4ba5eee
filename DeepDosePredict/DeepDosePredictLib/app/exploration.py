"""One patient from folder to folder, explored: dose, tables, curves and objectives for priorities and wanted doses."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from .. import RESEARCH_USE, __version__
from ..dvh.metrics import score_patient
from ..errors import CaseError, DeepDoseError
from ..explore.explorer import Explored, Explorer, priority_words
from ..explore.objectives import dose_objectives, objective_structures
from ..explore.trade_off import METRIC_NAMES, TradeOff, trade_off
from ..explore.wanted import reach
from ..io.atomic import staged_files
from ..io.nrrd_case import write_dose
from ..io.objectives import CSV_FILE, JSON_FILE, write_objectives_csv, write_objectives_json, write_pyradplan
from ..model.predictor import Predictor
from ..report.exploration import (
    curves_picture,
    doses_of,
    dvh_picture,
    explored_metrics,
    write_curves,
    write_explored_dvh,
    write_explored_metrics,
)
from ..report.result import RESULT, Exploration, Result, read_result
from .prediction import OUTPUTS, Job, provenance
from .sources import GivenRoles

CURVES_TABLE, CURVES_PICTURE, DVH_PICTURE = "curves.csv", "curves.png", "dvh.png"
_PRIORITY = re.compile(r"\s*(?P<structure>\S+?)\s*=\s*(?P<steps>[-+]?\d+(\.\d+)?)\s*")
_WANTED = re.compile(r"\s*(?P<structure>\S+?)\s*(=|\s)\s*(mean\s+)?(?P<gray>\d+(\.\d+)?)\s*(Gy)?\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Wishes:
    """What is to be explored.

    Attributes:
        priorities: {structure: steps}.
        wanted: {organ: mean dose in Gy}.
        curves: (organ, "mean" or "D0.1cc") of each.
        gantry_angles: of the explored dose, in degrees; None takes the prediction's.
        pyradplan: whether to write what a plan with pyRadPlan needs.
    """

    priorities: dict[str, float] = field(default_factory=dict)
    wanted: dict[str, float] = field(default_factory=dict)
    curves: tuple[tuple[str, str], ...] = ()
    gantry_angles: tuple[float, ...] | None = None
    pyradplan: bool = False


def parse_priorities(texts: Sequence[str]) -> dict[str, float]:
    """{structure: steps} from texts such as "LeftParotid=2"; DeepDoseError for others."""
    found: dict[str, float] = {}
    for text in texts:
        match = _PRIORITY.fullmatch(text)
        if not match:
            raise DeepDoseError(f"--spare {text!r}: write a structure and its steps of priority, such as LeftParotid=2")
        _once(found, match["structure"], "--spare")
        found[match["structure"]] = float(match["steps"])
    return found


def parse_wanted(texts: Sequence[str]) -> dict[str, float]:
    """{organ: Gy} from texts such as "RightParotid mean 20" or "RightParotid=20"; DeepDoseError for others."""
    found: dict[str, float] = {}
    for text in texts:
        match = _WANTED.fullmatch(text)
        if not match:
            raise DeepDoseError(
                f'--want {text!r}: write an organ and its mean dose in Gy, such as "RightParotid mean 20"'
            )
        _once(found, match["structure"], "--want")
        found[match["structure"]] = float(match["gray"])
    return found


def _once(found: dict[str, float], structure: str, option: str) -> None:
    if structure in found:
        raise DeepDoseError(f"{option}: {structure} is given twice")


def parse_curves(texts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """(organ, metric) from texts such as "LeftParotid" or "SpinalCord D0.1cc"."""
    curves = []
    for text in texts:
        structure, _, metric = text.strip().partition(" ")
        known = {name.lower(): name for name in METRIC_NAMES}
        if not structure or (metric := metric.strip() or "mean").lower() not in known:
            raise DeepDoseError(f"--curve {text!r}: write an organ, and mean or D0.1cc if you like")
        curves.append((structure, known[metric.lower()]))
    return tuple(dict.fromkeys(curves))


def explore_patient(job: Job, predictor: Predictor, wishes: Wishes, roles: GivenRoles | None = None) -> Result:
    """Read a patient, predict, explore and write its folder; DeepDoseError or OSError leave the folder as it was."""
    _check_output(job.output)
    case = job.source.read(roles, job.reference, predictor.model.contract.grid)
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


def _check_output(folder: Path) -> None:
    """An explored dose must not take the place of a predicted one."""
    if not (folder / RESULT).exists():
        return
    try:
        explored = read_result(folder).explored
    except CaseError:
        return
    if explored is None:
        raise DeepDoseError(f"{folder}: a predicted dose lies here; give the explored one another folder")


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
            form.write_dose(stage / form.dose_file, explored.dose, case, label, "; ".join(explored.warnings))
        if curves:
            write_curves(stage / CURVES_TABLE, curves, label)
            (stage / CURVES_PICTURE).write_bytes(curves_picture(curves, f"{case.name}: {model.label}, {RESEARCH_USE}"))
        write_objectives_csv(stage / CSV_FILE, objectives, label)
        about = {"patient": case.name, "model": label, "prescription": case.prescription, **asdict(exploration)}
        write_objectives_json(stage / JSON_FILE, objectives, {**about, "warnings": explored.warnings})
        if wishes.pyradplan:
            write_pyradplan(stage, case, objective_structures(explorer))
        result = Result(
            patient=case.name,
            key="",
            model=model.label,
            model_sha256=model.sha256,
            version=__version__,
            finished=datetime.now().astimezone().isoformat(timespec="seconds"),
            seconds=prediction.seconds + explored.seconds,
            device=prediction.device,
            warnings=explored.warnings,
            dose_error=None if score is None else score.dose_error,
            dvh_error=None if score is None else score.dvh_error,
            metrics=metrics,
            assignment=case.assignment,
            files={file.name: file.stat().st_size for file in sorted(stage.iterdir())},
            explored=exploration,
        )
        (stage / RESULT).write_bytes(result.to_json())
    return result
