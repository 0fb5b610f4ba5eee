"""Tables, p values and figures of a study from its CSV files, and DVHs of patients from the models of its runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cbook import boxplot_stats
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from scipy.stats import false_discovery_control, wilcoxon

from DeepDosePredictLib.dvh.metrics import cumulative_dvh
from DeepDosePredictLib.io.atomic import atomic_path
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.rois import OARS, PTVS

from .study import Study, reference_dose
from .study_results import Box, StudyResults, read_results, read_rows

COLOURS = ("#3b6fb6", "#d9822b", "#3c9d6b", "#a4508b", "#7a7f87", "#b83b3b", "#c9a227", "#2aa6a6", "#d46a9f", "#6a4c93")
STRUCTURES = dict(zip((*PTVS, *OARS), COLOURS, strict=True))
METRICS = {"D_99": "D99", "D_95": "D95", "D_1": "D1", "mean": "Mean", "D_0.1_cc": "D0.1cc"}


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p values corrected for multiple tests by Holm's step-down method (Scand. J. Stat. 6 (1979) 65)."""
    p = np.asarray(p_values, float)
    order = np.argsort(p)
    corrected = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    result = np.empty_like(p)
    result[order] = np.minimum(corrected, 1)
    return result


def score_table(results: Mapping[str, StudyResults]) -> list[str]:
    """Dose and DVH score, the PTVs' part of the latter, and agreement with the reference on clinical goals."""
    lines = [
        "| variant | dose score [Gy] | DVH score [Gy] | PTV metrics [Gy] | OAR metrics [Gy] | goals met"
        " | goals as reference |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant, own in results.items():
        dose, goals = own.dose_errors(), own.goals
        lines.append(
            f"| {variant} | {dose.mean():.3f} ± {dose.std(ddof=1):.3f} | {own.metric_error():.3f}"
            f" | {own.metric_error(organs=False):.3f} | {own.metric_error(targets=False):.3f}"
            f" | {goals['predicted_met']:.1%} | {goals['as_reference']:.1%} |"
        )
    reference = next(iter(results.values())).goals["reference_met"]
    return [*lines, f"\nThe reference doses meet {reference:.1%} of the goals of the head-and-neck template."]


def structure_table(results: Mapping[str, StudyResults]) -> list[str]:
    """Mean absolute error of every metric of every structure."""
    known = set().union(*(own.structures for own in results.values()))
    lines = ["| structure | metric | patients | " + " | ".join(results) + " |", "|---|---|---|" + "---|" * len(results)]
    for roi, metric in ((roi, metric) for roi in (*PTVS, *OARS) for metric in METRICS if (roi, metric) in known):
        columns = [own.structures[roi, metric] for own in results.values()]
        best = min(error for _, error in columns)
        cells = (f"**{error:.2f}**" if error == best else f"{error:.2f}" for _, error in columns)
        lines.append(f"| {roi} | {METRICS[metric]} | {columns[0][0]} | " + " | ".join(cells) + " |")
    return lines


def wilcoxon_table(results: Mapping[str, StudyResults]) -> list[str]:
    """Wilcoxon signed-rank tests of all pairs of variants on the patients' dose and DVH errors, corrected together."""
    rows = []
    for a, b in combinations(results, 2):
        for what, of in (("dose error", StudyResults.dose_errors), ("DVH error", StudyResults.dvh_errors)):
            difference = of(results[b]) - of(results[a])
            rows.append((what, a, b, float(np.median(difference)), float(wilcoxon(difference).pvalue)))
    corrected = holm([row[-1] for row in rows])
    rates = false_discovery_control([row[-1] for row in rows])
    lines = [
        "| error | from | to | median change [Gy] | p | p (Holm) | false discovery rate |",
        "|---|---|---|---|---|---|---|",
    ]
    return lines + [
        f"| {what} | {a} | {b} | {change:+.3f} | {p:.2g} | {corrected[n]:.2g} | {rates[n]:.2g} |"
        for n, (what, a, b, change, p) in enumerate(rows)
    ]


def draw_curves(path: Path, rows: Sequence[Mapping]) -> None:
    """Validation scores and, where MAE is a term of the loss, training MAE over the epochs.

    Lines are means over seeds; faint ones are the seeds.
    """
    figure = Figure((10, 4.8), layout="constrained")
    for axes, column, title in zip(
        figure.subplots(1, 2), ("dose_score", "dvh_score"), ("Dose score", "DVH score"), strict=True
    ):
        for colour, variant in zip(COLOURS, dict.fromkeys(row["variant"] for row in rows), strict=False):
            for key, style in ((column, "o-"), ("train_mae" if column == "dose_score" else "", ":")):
                seeds = _by_seed(rows, variant, key)
                for points in seeds.values() if style == "o-" and len(seeds) > 1 else ():
                    axes.plot(points.keys(), points.values(), color=colour, lw=0.8, alpha=0.3)
                epochs = sorted(set.intersection(*map(set, seeds.values()))) if seeds else ()
                if epochs:
                    means = [np.mean([points[epoch] for points in seeds.values()]) for epoch in epochs]
                    axes.plot(epochs, means, style, color=colour, ms=4, label=variant if style == "o-" else None)
        dotted = " (dotted: training MAE)" if column == "dose_score" else ""
        axes.set(title=f"{title} on validation{dotted}", xlabel="Epoch", ylabel="Gy", yscale="log")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter("{x:g}")
        axes.grid(alpha=0.3, which="both")
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)))
    _save(figure, path)


def _by_seed(rows: Sequence[Mapping], variant: str, key: str) -> dict[str, dict[int, float]]:
    """{seed: {epoch: value}} of a variant's runs that have values."""
    seeds: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        if row["variant"] == variant and row.get(key):
            seeds[row["seed"]][int(row["epoch"])] = float(row[key])
    return seeds


def draw_boxes(path: Path, results: Mapping[str, StudyResults]) -> None:
    """Box plots of the patients' dose and DVH errors and of the metric errors by kind."""
    figure = Figure((12, 4.6), layout="constrained")
    panels = figure.subplots(1, 2, width_ratios=(1, 2.6))
    patients = {
        "dose\nerror": [boxplot_stats(own.dose_errors())[0] for own in results.values()],
        "DVH\nerror": [boxplot_stats(own.dvh_errors())[0] for own in results.values()],
    }
    _boxes(panels[0], patients, "Per patient")
    kinds = {
        f"{kind}\n{METRICS[metric]}": [own.boxes[kind, metric] for own in results.values()]
        for kind, names in (("PTV", ("D_99", "D_95", "D_1")), ("OAR", ("mean", "D_0.1_cc")))
        for metric in names
    }
    _boxes(panels[1], kinds, "Per structure and patient")
    handles = [panels[0].plot([], [], color=colour, lw=8)[0] for colour, _ in zip(COLOURS, results, strict=False)]
    figure.legend(handles, results, loc="outside lower center", ncols=min(4, len(results)))
    _save(figure, path)


def _boxes(axes: Axes, groups: Mapping[str, Sequence[Box]], title: str) -> None:
    n = len(next(iter(groups.values())))
    for g, variants in enumerate(groups.values()):
        boxes = axes.bxp(
            variants,
            positions=[g * (n + 1) + v for v in range(n)],
            widths=0.8,
            patch_artist=True,
            flierprops={"ms": 2.5},
            medianprops={"color": "black"},
        )
        for box, colour in zip(boxes["boxes"], COLOURS, strict=False):
            box.set_facecolor(colour)
    axes.set_xticks([g * (n + 1) + (n - 1) / 2 for g in range(len(groups))], list(groups))
    axes.set(title=title, ylabel="|error| [Gy]")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3, axis="y")


def draw_patients(path: Path, study: Study, patients: Sequence[Path]) -> None:
    """DVHs of reference (solid) and of every variant, and histograms of their voxel-wise differences."""
    figure = Figure((9 * len(patients), 3.4 * len(study.variants) + 1), layout="constrained")
    grid = figure.subplots(len(study.variants), 2 * len(patients), squeeze=False, width_ratios=(3, 2) * len(patients))
    lines = {}
    runs = {variant: folder for variant, seed, folder, _ in study.runs() if seed == study.seeds[0]}
    for row, (variant, folder) in zip(grid, runs.items(), strict=True):
        predictor = Predictor(load_model(next(folder.glob("*.safetensors"))))
        for n, patient in enumerate(patients):
            case = read_openkbp(patient)
            dose, reference = predictor.predict(case).dose, reference_dose(case)
            overlay, histogram = row[2 * n], row[2 * n + 1]
            axis = np.linspace(0, 80, 300)
            for roi in case.rois.present():
                mask, colour = case.rois[roi], STRUCTURES.get(roi, "black")
                lines[roi] = overlay.plot(axis, cumulative_dvh(reference[mask], axis), color=colour, lw=1.4)[0]
                overlay.plot(axis, cumulative_dvh(dose[mask], axis), color=colour, lw=1.4, ls="--")
            overlay.set(title=f"{variant}, {case.name}", xlabel="Dose [Gy]", ylabel="Volume [%]", xlim=(0, 80))
            difference = (dose - reference)[case.dose_mask]
            histogram.hist(difference, np.linspace(-20, 20, 81), color=COLOURS[0])
            histogram.set_title(f"{difference.mean():+.2f} ± {difference.std():.2f} Gy")
            histogram.set(xlabel="Predicted − reference [Gy]", ylabel="Voxels")
    figure.legend(
        lines.values(), lines, loc="outside lower center", ncols=len(lines), title="reference solid, prediction dashed"
    )
    _save(figure, path)


def report(name: str, folder: Path) -> Path:
    """Write a study's figures and report.md; returns the latter."""
    results = read_results(folder)
    draw_curves(folder / "curves.png", read_rows(folder / "curves.csv"))
    draw_boxes(folder / "boxes.png", results)
    patients = len(next(iter(results.values())).patients)
    seeds = len({row["seed"] for row in read_rows(folder / "runs.csv")})
    lines = [
        f"# Study: {name}",
        "",
        f"{patients} validation patients, {seeds} seed(s); errors are averaged over seeds.",
        f"Made by `python Training/train.py report {name}` from the CSV files here.",
        "",
        *score_table(results),
        "",
        "![Box plots](boxes.png)",
        "",
        "## Wilcoxon signed-rank tests",
        "",
        "Over patients; negative: the second variant errs less. Both corrections are over all rows.",
        "",
        *wilcoxon_table(results),
        "",
        "## Mean absolute error by structure [Gy]",
        "",
        *structure_table(results),
        "",
        "## Learning curves",
        "",
        "Means over the seeds; faint: each seed.",
        "",
        "![Learning curves](curves.png)",
        "",
    ]
    if (notes := folder / "notes.md").exists():
        lines += [notes.read_text(encoding="utf-8")]
    path = folder / "report.md"
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines), encoding="utf-8")
    return path


def _save(figure: Figure, path: Path) -> None:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
