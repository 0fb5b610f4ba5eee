"""The comparison table: metrics and clinical goals of every structure under the reference and the predicted dose."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import vtk

from .. import RESEARCH_USE
from ..dvh.goals import Goal
from ..dvh.metrics import METHOD, OAR_METRICS, TARGET_METRICS, Metric
from ..errors import DeepDoseError
from ..io.atomic import atomic_path
from ..patient.assignment import Roles
from ..patient.rois import prescription
from .dvh_result import EXPLORED, OWN_PREFIX, DvhResult
from .geometry import volumeGrid

SCORES = f"dose score and DVH score on {METHOD}"
KIND, ROWS = "Kind", "Rows"
COVERED = 95.0
"""Percent of the prescription whose covered volume is shown."""
MAXIMUM = Metric("max")
COMPARISON = "comparison"
# Short enough for a dock of 400 pixels.
HEADERS = {
    "structure": "Structure",
    "metric": "Metric",
    "unit": "Unit",
    "reference": "Ref",
    "predicted": "Pred",
    "difference": "Diff",
    "explored": "Expl",
    "change": "Change",
    "goal": "Goal",
    "reference_meets_goal": "Ref ok",
    "predicted_meets_goal": "Pred ok",
    "explored_meets_goal": "Expl ok",
}
NEEDS_REFERENCE = ("reference", "difference", "reference_meets_goal")
NEEDS_EXPLORED = ("explored", "change", "explored_meets_goal")
# Order of the CSV header; whatever else is known follows.
FIRST_NOTES = ("Model", "Version", "ModelSHA256", "Use", "Method", "DoseUnit", "Difference")


@dataclass(frozen=True)
class MetricRow:
    """A metric to be compared: of which segment, under which name it is shown, and its goal where it has one."""

    segmentId: str
    structure: str
    metric: Metric
    goal: Goal | None = None
    label: str = ""
    """How the metric is called where its own name does not say all, such as "V95% (66.5 Gy)"."""


def parseMetrics(text: str) -> tuple[Metric, ...]:
    """Metrics from text such as "D2%, V20Gy; D0.03cc"; DeepDoseError that names the one that is wrong."""
    metrics = []
    for part in re.split(r"[,;]|\s(?=\s*[DVm])", text):
        written = "".join(part.split())
        if written:
            try:
                metrics.append(Metric.parse(written))
            except ValueError as error:
                raise DeepDoseError(f"Metrics: {error}; separate them by commas, decimals have a point") from error
    return tuple(dict.fromkeys(metrics))


def plannedRows(
    segmentationNode,
    segmentIds: Iterable[str],
    roles: Roles,
    goals: Sequence[Goal] = (),
    metrics: str | Sequence[Metric] = (),
) -> tuple[MetricRow, ...]:
    """The rows of a comparison: for each segment the usual metrics, those of its goals, and the ones asked for.

    Usual are D99%, D95%, D1% and V95% (of the prescription) for targets, D0.1cc and mean for all others, and Dmax. A
    goal applies to the segments whose role it names; where several segments share a role, to each by itself. Goals come
    first, within a structure and among the structures.
    """
    wanted = parseMetrics(metrics) if isinstance(metrics, str) else tuple(metrics)
    rows = []
    for segmentId in dict.fromkeys(segmentIds):
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        if segment is None:
            continue
        ownRoles = [role for role, segments in roles.items() if segmentId in segments]
        covered = {Metric("V", COVERED * level / 100): level for level in filter(None, map(prescription, ownRoles))}
        usual = map(Metric.parse, (TARGET_METRICS if covered else OAR_METRICS).values())
        ownGoals = [goal for goal in goals if goal.structure in ownRoles]
        asked = [goal.metric for goal in ownGoals if goal.limit is not None]
        for metric in dict.fromkeys([*asked, *covered, *usual, MAXIMUM, *(goal.metric for goal in ownGoals), *wanted]):
            limits = [goal for goal in ownGoals if goal.metric == metric and goal.limit is not None]
            label = f"V{COVERED:g}% ({metric.value:g} Gy)" if metric in covered else ""
            rows += [MetricRow(segmentId, segment.GetName(), metric, goal, label) for goal in limits or [None]]
    withGoals = {row.segmentId for row in rows if row.goal is not None}
    return tuple(sorted(rows, key=lambda row: row.segmentId not in withGoals))


def metricsOf(rows: Iterable[MetricRow]) -> tuple[Metric, ...]:
    """What `computeDvhs` has to compute for these rows."""
    return tuple(dict.fromkeys(row.metric for row in rows))


def comparisonTable(
    dvhs: DvhResult,
    rows: Iterable[MetricRow],
    provenance: Mapping[str, str],
    doseScore: float | None = None,
    dvhScore: float | None = None,
    name: str = "Dose comparison",
):
    """A vtkMRMLTableNode with one row for each metric; text columns, as HEADERS names them.

    With two doses in `dvhs` the first is the reference and the second the prediction; with one there are no reference
    columns. An explored dose comes after them, with columns of its own. The exact numbers and what they rest on are
    kept as attributes, so that they survive saving.

    Args:
        provenance: what to say about the prediction, such as {"Model": ..., "Version": ..., "ModelSHA256": ...}.
        doseScore, dvhScore: OpenKBP's scores in Gy of the last dose, shown in rows of their own.
    """
    *reference, predicted = [label for label in dvhs.doses if label != EXPLORED]
    missing = {*(() if reference else NEEDS_REFERENCE), *(() if EXPLORED in dvhs.doses else NEEDS_EXPLORED)}
    columns = [key for key in HEADERS if key not in missing]
    entries = [
        _entry(row, dvhs, reference[0] if reference else None, predicted)
        for row in rows
        if any((label, row.segmentId) in dvhs.curves for label in dvhs.doses)
    ]
    entries += [
        {**dict.fromkeys(HEADERS), "structure": "OpenKBP", "metric": metric, "unit": "Gy", "difference": score}
        for metric, score in (("dose score", doseScore), ("DVH score", dvhScore))
        if score is not None
    ]
    scene = dvhs.segmentationNode.GetScene()
    tableNode = scene.AddNewNodeByClass("vtkMRMLTableNode")
    tableNode.SetName(name)
    tableNode.SetAndObserveTable(_table(entries, columns))
    tableNode.SetUseColumnTitleAsColumnHeader(True)
    tableNode.SetLocked(True)
    notes = {**provenance, **_notes(dvhs), KIND: COMPARISON, ROWS: json.dumps([columns, entries])}
    if doseScore is not None or dvhScore is not None:
        notes["Scores"] = SCORES
    for key, value in notes.items():
        tableNode.SetAttribute(OWN_PREFIX + key, str(value))
    return tableNode


def comparisonRows(tableNode) -> list[dict]:
    """The rows of a comparison table with exact numbers, keys as in HEADERS; None where there is nothing to say."""
    return _content(tableNode)[1]


def changesOf(before: Iterable[dict], after: Iterable[dict], leastGy: float = 0.1) -> list[str]:
    """What differs between the predictions of two tables' rows, the largest first: "PTV70 D95% -0.4"."""
    told = ("mean", "D95%")
    earlier = {(row.get("segmentId"), row["metric"]): row["predicted"] for row in before if row["metric"] in told}
    found = {}
    for row in after:
        key = row.get("segmentId"), row["metric"]
        change = _minus(row["predicted"], earlier.get(key))
        if change is not None and abs(change) >= leastGy:
            found[f"{row['structure']} {row['metric']} {change:+.1f}"] = abs(change)
    return sorted(found, key=found.__getitem__, reverse=True)


def provenanceOf(tableNode) -> dict[str, str]:
    """What a comparison table rests on: model, version, method, units, grids."""
    _content(tableNode)
    found = {
        name.removeprefix(OWN_PREFIX): tableNode.GetAttribute(name)
        for name in tableNode.GetAttributeNames()
        if name.startswith(OWN_PREFIX)
    }
    keys = [*(key for key in FIRST_NOTES if key in found), *sorted(found.keys() - {*FIRST_NOTES, KIND, ROWS})]
    return {key: found[key] for key in keys}


def exportComparisonCsv(tableNode, path: str | Path) -> None:
    """Write a comparison table as CSV (UTF-8): first what it rests on, then the columns, numbers in full precision.

    The first lines are "# key,value", two cells in a spreadsheet and comments for pandas.read_csv(..., comment="#").
    """
    columns, entries = _content(tableNode)
    try:
        with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            for key, value in provenanceOf(tableNode).items():
                writer.writerow((f"# {key}", "; ".join(value.splitlines())))
            writer.writerow(columns)
            writer.writerows([_exact(entry[key]) for key in columns] for entry in entries)
    except OSError as error:
        raise DeepDoseError(f"{path}: cannot be written ({error.strerror or error}); choose another place") from error


def _entry(row: MetricRow, dvhs: DvhResult, reference: str | None, predicted: str) -> dict:
    values = {}
    for key, label in (("reference", reference), ("predicted", predicted), ("explored", EXPLORED)):
        curve = dvhs.curves.get((label, row.segmentId))
        values[key] = None if curve is None else float(curve.value(row.metric))
    met = {
        f"{key}_meets_goal": None if row.goal is None or value is None else row.goal.met(value)
        for key, value in values.items()
    }
    goal = None if row.goal is None else f"{row.goal.sense} {row.goal.limit:g}"
    return {
        "structure": row.structure,
        "segmentId": row.segmentId,
        "metric": row.label or str(row.metric),
        "unit": row.metric.unit,
        **values,
        "difference": _minus(values["predicted"], values["reference"]),
        "change": _minus(values["explored"], values["predicted"]),
        "goal": goal,
        **met,
    }


def _minus(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else value - other


def _notes(dvhs: DvhResult) -> dict[str, str]:
    notes = {"Method": dvhs.method, "DoseUnit": "Gy", "Use": RESEARCH_USE, "DvhWarnings": "; ".join(dvhs.warnings)}
    for label, node in dvhs.doses.items():
        k, j, i = volumeGrid(node).spacing
        notes[f"{label}Dose"] = node.GetName()
        notes[f"{label}DoseGrid"] = f"{i:.4g} x {j:.4g} x {k:.4g} mm"
    if len(dvhs.doses) - (EXPLORED in dvhs.doses) > 1:
        notes["Difference"] = "predicted minus reference"
    if EXPLORED in dvhs.doses:
        notes["Change"] = "explored minus predicted"
    return {key: value for key, value in notes.items() if value}


def _table(entries: Sequence[dict], columns: Sequence[str]) -> vtk.vtkTable:
    table = vtk.vtkTable()
    for key in columns:
        column = vtk.vtkStringArray()
        column.SetName(HEADERS[key])
        for entry in entries:
            column.InsertNextValue(_shown(key, entry))
        table.AddColumn(column)
    return table


def _shown(key: str, entry: dict) -> str:
    """A cell as text for the eye."""
    value = entry[key]
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        # A score is a size, not a signed difference.
        isSigned = key in ("difference", "change") and entry["predicted"] is not None
        text = f"{value:+.2f}" if isSigned else f"{value:.2f}"
        return "100" if text == "100.00" else text
    return value.replace(">=", "≥").replace("<=", "≤") if key == "goal" else value


def _exact(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return repr(value) if isinstance(value, float) else str(value)


def _content(tableNode) -> tuple[list[str], list[dict]]:
    text = tableNode.GetAttribute(OWN_PREFIX + ROWS) if tableNode is not None else None
    if not text:
        name = tableNode.GetName() if tableNode is not None else "Comparison"
        raise DeepDoseError(f"{name}: this is no comparison table; predict first")
    columns, entries = json.loads(text)
    return columns, entries
