"""Web pages about predictions: one for each patient, one over a cohort.

Each page is one file: style and pictures stand in it, nothing is loaded from elsewhere and no script runs. Every name
that comes from data is escaped.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import pairwise
from urllib.parse import quote

import numpy as np

from ..dvh.metrics import METHOD
from ..patient.assignment import Assignment
from ..patient.rois import prescription
from ..trust.intervals import LEVEL
from . import DISCLAIMER, Pictures
from .cohort import FENCE, MIN_PATIENTS, Outlier, draw_metrics, draw_scores, metrics, scores
from .page import is_large, large_difference, large_words, structure_colours
from .result import RESULT, MetricValue, Result

PAGE = "report.html"
MAX_LISTED = 20
"""Patients in the table of outliers; that of all patients counts the values of each."""
LONG = 48
"""Characters from which on a name is no headline."""

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; color: #1c2330;
  margin: 0 auto; padding: 24px 28px 48px; max-width: 1160px; background: #fff; }
header { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: flex-start; gap: 8px 24px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; } h1.long { font-size: 15px; }
h2 { font-size: 18px; margin: 30px 0 8px; }
p { margin: 4px 0; overflow-wrap: anywhere; } .faint { color: #667080; } .right { text-align: right; }
.badge { background: #c1121f; color: #fff; font-weight: 600; padding: 5px 12px; border-radius: 5px;
  display: inline-block; white-space: nowrap; }
.tiles { display: flex; flex-wrap: wrap; gap: 10px; margin: 18px 0 4px; }
.tile { background: #f0f3f7; border-radius: 7px; padding: 8px 16px; min-width: 92px; }
.tile b { display: block; font-size: 21px; } .tile span { color: #667080; font-size: 13px; }
.tile.alarm b { color: #c1121f; }
.box { border: 1px solid #e0b000; background: #fff3cd; color: #5c4400; border-radius: 6px; padding: 8px 14px;
  margin: 14px 0; overflow-wrap: anywhere; }
.box.alarm { border-color: #c1121f; background: #fdecee; color: #7d0b14; }
.box ul { margin: 4px 0; padding-left: 20px; }
img { width: 100%; height: auto; display: block; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; color: #667080; font-weight: 600; border-bottom: 2px solid #ccd3dc; }
th, td { padding: 4px 9px; vertical-align: top; overflow-wrap: break-word; max-width: 640px; }
td:not(.number) { overflow-wrap: anywhere; }
tbody tr { border-bottom: 1px solid #e6eaf0; } tr.first { border-top: 2px solid #ccd3dc; }
.number { text-align: right; } td.number { white-space: nowrap; } .alarm-text { color: #c1121f; font-weight: 600; }
.chip { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 8px;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
a { color: #1c5fa8; } footer { margin-top: 36px; border-top: 1px solid #ccd3dc; padding-top: 8px; font-size: 13px;
  overflow-wrap: anywhere; }
@media (max-width: 640px) {
  body { padding: 12px 10px 32px; } table { font-size: 12px; } th, td { padding: 3px; }
  .chip { margin-right: 4px; } h1 { font-size: 21px; }
}
@media print {
  @page { size: A4; margin: 12mm; }
  body { padding: 0; max-width: none; font-size: 11px; } table { font-size: 10px; }
  h1 { font-size: 20px; } h1.long { font-size: 11px; } h2 { font-size: 14px; margin: 12px 0 4px; }
  .tiles { margin: 8px 0 2px; } .tile { padding: 4px 12px; } .box { margin: 8px 0; padding: 4px 12px; }
  th, td { padding: 1px 7px; } footer { margin-top: 8px; break-before: avoid; font-size: 10px; }
  .badge, .tile, .box { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  h2 { break-after: avoid; } tr, img, .box, .together { break-inside: avoid; } thead { display: table-header-group; }
  a { color: inherit; text-decoration: none; } img { max-height: 128mm; width: auto; max-width: 100%; }
  img.short { max-height: 80mm; }
}
"""


_METHOD = f'<p class="faint">On {escape(METHOD)}.</p>'


def patient_page(result: Result, pictures: Pictures, *, in_cohort: bool) -> str:
    """The page of one patient; with a link to the cohort's page in the folder above if it is one of a cohort."""
    tiles = []
    if result.dose_error is not None:
        tiles = [
            _tile(f"{result.dose_error:.2f} Gy", "dose error"),
            _tile(f"{result.dvh_error:.2f} Gy", "mean DVH error"),
        ]
    reference = any(m.reference is not None for m in result.metrics)
    files = ", ".join(_link(name, name) for name in (*result.files, RESULT) if name != PAGE)
    body = [
        _header(
            result.patient,
            f"Predicted dose · model {result.model}",
            '<a href="../report.html">All patients</a>' if in_cohort else "",
        ),
        _scope(result),
        _list("Warnings", (escape(warning) for warning in result.warnings if warning != result.scope)),
        f'<div class="tiles">{"".join(tiles)}</div>' if tiles else "",
        *_plan_check(result),
        "<h2>Contours</h2>",
        _contours_table(result.assignment),
        "<h2>Planes</h2>",
        "" if reference else '<p class="faint">There is no reference dose: the prediction stands alone.</p>',
        _picture(
            pictures.planes,
            "image/jpeg",
            "Axial, sagittal and coronal planes through the highest target with dose, isodoses and contours",
        ),
        "<h2>Dose-volume histograms</h2>",
        _picture(pictures.dvh, "image/png", "Cumulative dose-volume histograms of the structures", "short"),
        '<section class="together"><h2>Metrics</h2>',
        _metrics_table(result.metrics, reference),
        f'<p class="faint">{escape(result.intervals)}.</p>' if result.intervals else "",
        f'<p class="faint">Files: {files}</p>',
        _footer(result, f"{result.seconds:.2f} s on {result.device}"),
        "</section>",
    ]
    return _page(f"{result.patient}: predicted dose", body)


def cohort_page(title: str, results: Mapping[str, Result], failures: Mapping[str, str]) -> str:
    """The page over a cohort.

    Args:
        title: name of the cohort.
        results: {folder of a patient beside the page: its result}; the table is in this order.
        failures: {patient: what went wrong}.
    """
    finished = list(results.values())
    errors, rows = scores(finished), metrics(finished)
    outliers = [outlier for distribution in (*errors, *rows) for outlier in distribution.outliers()]
    folders = {result.patient: folder for folder, result in results.items()}
    model = finished[0].model if finished else "-"
    body = [
        _header(title, f"Predicted dose · cohort · model {model}"),
        f'<div class="tiles">{"".join(_cohort_tiles(finished, failures, errors, outliers))}</div>',
        _list("Not predicted", (f"<b>{escape(name)}</b>: {escape(why)}" for name, why in failures.items()), "alarm"),
        *_distributions(errors, rows),
        *_outliers(outliers, folders, len(finished)),
        *_plan_checks(results),
        "<h2>Patients</h2>",
        _patients_table(results, failures, outliers),
        _footer(finished[0] if finished else None, ""),
    ]
    return _page(f"{title}: predicted doses", body)


def _cohort_tiles(
    results: Sequence[Result], failures: Mapping[str, str], errors: Sequence, outliers: Sequence[Outlier]
) -> Iterable[str]:
    yield _tile(str(len(results)), "predicted")
    yield _tile(str(len(failures)), "failed", alarm=bool(failures))
    yield _tile(str(sum(bool(result.warnings) for result in results)), "with warnings")
    unlike = sum(result.is_unlike for result in results)
    yield _tile(str(unlike), "unlike the model's patients", alarm=bool(unlike))
    if errors:
        differences = [abs(m.difference) for result in results for m in result.metrics if m.difference is not None]
        yield _tile(f"{errors[0].values.mean():.2f} Gy", f"dose score, {len(errors[0].values)} patients")
        yield _tile(f"{np.mean(differences):.2f} Gy", "DVH score")
    if len(results) >= MIN_PATIENTS:
        yield _tile(str(len({outlier.patient for outlier in outliers})), "with outliers")


def _distributions(errors: Sequence, rows: Sequence) -> list[str]:
    if not rows:
        return []
    if not errors:
        return [
            "<h2>Predicted metrics</h2>",
            _METHOD,
            '<p class="faint">There are no reference doses to compare with.</p>',
            _picture(draw_metrics(rows, "Predicted [Gy]"), "image/svg+xml", "Predicted metrics over the cohort"),
        ]
    return [
        "<h2>Scores</h2>",
        _picture(draw_scores(errors), "image/svg+xml", "Distributions of dose error and DVH error"),
        "<h2>Metrics by structure</h2>",
        _METHOD,
        _picture(
            draw_metrics(rows, "Prediction − reference [Gy]"),
            "image/svg+xml",
            "Differences of metrics between prediction and reference over the cohort",
        ),
    ]


def _outliers(outliers: Sequence[Outlier], folders: Mapping[str, str], n_patients: int) -> list[str]:
    if n_patients < MIN_PATIENTS:
        return []
    body = [
        "<h2>Outliers</h2>",
        f'<p class="faint">Values further than {FENCE:g} interquartile ranges from the quartiles of'
        " the cohort; metrics as in the plot above.</p>",
    ]
    if not outliers:
        return [*body, "<p>None.</p>"]
    by_patient: dict[str, list[Outlier]] = {}
    for outlier in outliers:
        by_patient.setdefault(outlier.patient, []).append(outlier)
    rows = [
        (
            _patient_link(patient, folders),
            "; ".join(f"{escape(o.what)} <b>{o.value:.1f}</b> Gy (usual {o.low:.1f} to {o.high:.1f})" for o in found),
        )
        for patient, found in sorted(by_patient.items(), key=lambda item: -len(item[1]))
    ]
    more = [f'<p class="faint">and {len(rows) - MAX_LISTED} more patients; see the table below.</p>'] * (
        len(rows) > MAX_LISTED
    )
    return [*body, _table(("Patient", "Values"), rows[:MAX_LISTED]), *more]


def _plan_checks(results: Mapping[str, Result]) -> list[str]:
    """Which patients' plans lie outside their intervals, and where."""
    checked = {folder: result for folder, result in results.items() if result.plan_check}
    if not checked:
        return []
    rows = [
        (_patient_link(result.patient, {result.patient: folder}), "<br>".join(map(escape, result.plan_check[1:])))
        for folder, result in sorted(checked.items(), key=lambda item: -len(item[1].plan_check))
        if result.plan_check[1:]
    ]
    n_outside = sum(len(result.plan_check) - 1 for result in checked.values())
    words = f"{n_outside} metrics of {len(rows)} of {len(checked)} plans lie outside their {LEVEL:.0%} intervals."
    return ["<h2>Plan check</h2>", f"<p>{words}</p>", _table(("Patient", "Outside"), rows) if rows else ""]


def _patients_table(results: Mapping[str, Result], failures: Mapping[str, str], outliers: Sequence[Outlier]) -> str:
    compared = any(result.dose_error is not None for result in results.values())
    counts: dict[str, int] = {}
    for outlier in outliers:
        counts[outlier.patient] = counts.get(outlier.patient, 0) + 1
    flagged = {(outlier.patient, outlier.what) for outlier in outliers}

    def score(result: Result, what: str, value: float | None) -> str:
        text = "" if value is None else f"{value:.2f}"
        return f'<span class="alarm-text">{text}</span>' if (result.patient, what) in flagged else text

    rows = []
    for folder, result in results.items():
        errors = (score(result, "Dose error", result.dose_error), score(result, "DVH error", result.dvh_error))
        rows.append(
            (
                _patient_link(result.patient, {result.patient: folder}),
                *(errors if compared else ()),
                str(counts.get(result.patient, "")),
                f"{result.seconds:.2f}",
                escape("; ".join(result.warnings)),
            )
        )
    for name, words in failures.items():
        rows.append(
            (
                escape(name),
                *(("", "") if compared else ()),
                "",
                "",
                f'<span class="alarm-text">failed: {escape(words)}</span>',
            )
        )
    columns = ["Dose error [Gy]", "DVH error [Gy]"] if compared else []
    return _table(("Patient", *columns, "Outliers", "Seconds", "Warnings"), rows, numbers=range(1, 3 + len(columns)))


def _scope(result: Result) -> str:
    """The verdict on the patient; a box that cannot be overlooked where it is none of the model's kind."""
    words = f"This patient: {escape(result.scope)}"
    if result.is_unlike:
        return f'<div class="box alarm"><b>{words}</b></div>'
    return f'<p class="faint">{words}.</p>' if result.scope else ""


def _plan_check(result: Result) -> list[str]:
    if not result.plan_check:
        return []
    first, *others = map(escape, result.plan_check)
    return ["<h2>Plan check</h2>", f"<p>{first[:1].upper()}{first[1:]}.</p>", _list("", others)]


def _contours_table(assignment: Assignment) -> str:
    """What went in as what and why; what is doubted stands out, what was left out comes last."""
    rows = [
        (
            escape(use.contour),
            escape(use.role) or '<span class="faint">left out</span>',
            "" if use.prescription_gy is None else f"{use.prescription_gy:g}",
            escape(use.source),
            f'<span class="alarm-text">{escape(use.note)}</span>' if use.doubted else escape(use.note),
        )
        for use in assignment.uses
    ]
    return _table(("Contour", "Used as", "Prescription [Gy]", "From", "Note"), rows, numbers=(2,))


def _metrics_table(values: Sequence[MetricValue], reference: bool) -> str:
    """Targets first, the highest first; large differences stand out."""
    ordered = sorted(values, key=lambda m: -(prescription(m.structure) or 0))
    colours = structure_colours(dict.fromkeys(m.structure for m in ordered))
    limit = large_difference(max(prescription(m.structure) or 0 for m in ordered))
    banded = any(m.low is not None for m in ordered)
    rows: list[tuple[str | None, ...]] = []
    for n, m in enumerate(ordered):
        first = n == 0 or m.structure != ordered[n - 1].structure
        chip = f'<span class="chip" style="background:{colours[m.structure]}"></span>'
        cells = [f"{m.predicted:.1f}"]
        if reference:
            difference = "" if m.difference is None else f"{round(m.difference, 1) + 0.0:+.1f}"
            large = m.difference is not None and is_large(m.difference, limit)
            cells = [
                "" if m.reference is None else f"{m.reference:.1f}",
                *cells,
                f'<span class="alarm-text">{difference}</span>' if large else difference,
            ]
        if banded:
            interval = "" if m.low is None or m.high is None else f"{m.low:.1f} to {m.high:.1f}"
            cells.insert(len(cells) - reference, interval)
        rows.append((f"{chip}{escape(m.structure)}" if first else None, escape(m.metric), escape(m.unit), *cells))
    columns = ["Predicted", *[f"{LEVEL:.0%} interval"] * banded]
    columns = ["Reference", *columns, "Difference"] if reference else columns
    red = f" {large_words(limit)}." * reference
    note = f'<p class="faint">On {escape(METHOD)}.{red}</p>'
    return _table(("Structure", "Metric", "Unit", *columns), rows, range(3, 3 + len(columns))) + note


def _table(columns: Sequence[str], rows: Iterable[Sequence[str | None]], numbers: Iterable[int] = ()) -> str:
    """A table of HTML cells; `numbers` are columns to align right, None in the first column goes on from the row above.

    Where the first column does so, rows that begin something have a line above.
    """
    rows, numbers = list(rows), set(numbers)
    begins = [n for n, row in enumerate(rows) if row[0] is not None]
    lengths = {n: after - n for n, after in pairwise([*begins, len(rows)])}

    def cells(tag: str, row: Sequence[str | None], length: int = 1) -> str:
        kinds = (' class="number"' if n in numbers else "" for n in range(len(row)))
        spans = (f' rowspan="{length}"' if n == 0 and length > 1 else "" for n in range(len(row)))
        parts = zip(row, kinds, spans, strict=True)
        return "".join(f"<{tag}{kind}{span}>{cell}</{tag}>" for cell, kind, span in parts if cell is not None)

    body = "\n".join(
        f"<tr{' class=first' if lengths.get(n, 1) > 1 else ''}>{cells('td', row, lengths.get(n, 1))}</tr>"
        for n, row in enumerate(rows)
    )
    return f"<table><thead><tr>{cells('th', columns)}</tr></thead>\n<tbody>{body}</tbody></table>"


def _header(title: str, subtitle: str, link: str = "") -> str:
    kind = " class=long" * (len(title) > LONG)
    return (
        f'<header><div><h1{kind}>{escape(title)}</h1><p class="faint">{escape(subtitle)}</p></div>'
        f'<div class="right"><span class="badge">{escape(DISCLAIMER)}</span><p>{link}</p></div></header>'
    )


def _footer(result: Result | None, circumstances: str) -> str:
    about = (
        []
        if result is None
        else [
            f"DeepDosePredict {result.version}, model {result.model}",
            circumstances,
            f"SHA-256 of the model file {result.model_sha256}",
            result.finished,
        ]
    )
    words = " · ".join(escape(part) for part in about if part)
    return f'<footer class="faint">{words}<br>Predicted, not planned: {escape(DISCLAIMER)}.</footer>'


def _tile(value: str, what: str, alarm: bool = False) -> str:
    return f'<div class="tile{" alarm" * alarm}"><b>{escape(value)}</b><span>{escape(what)}</span></div>'


def _list(title: str, items: Iterable[str], kind: str = "") -> str:
    """A box with a list of HTML items; nothing if there are none."""
    lines = "".join(f"<li>{item}</li>" for item in items)
    return f'<div class="box {kind}"><b>{escape(title)}</b><ul>{lines}</ul></div>' if lines else ""


def _patient_link(patient: str, folders: Mapping[str, str]) -> str:
    return _link(f"{folders[patient]}/{PAGE}", patient)


def _link(path: str, text: str) -> str:
    """A relative link; the leading ./ keeps a name with a colon from being taken for a scheme."""
    return f'<a href="./{quote(path)}">{escape(text)}</a>'


def _picture(content: bytes, kind: str, words: str, style: str = "") -> str:
    return f'<img class="{style}" alt="{escape(words)}" src="data:{kind};base64,{b64encode(content).decode()}">'


def _page(title: str, body: Iterable[str]) -> str:
    parts = "\n".join(part for part in body if part)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>\n{parts}\n</body></html>\n"
    )
