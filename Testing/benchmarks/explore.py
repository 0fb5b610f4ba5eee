"""Exploring, measured: python explore.py PATIENTS [N] [--json FILE]

Over N patients (all) spread over a folder of OpenKBP patients, with the shipped model: seconds from a priority to dose
and metrics against those of a prediction; what one and three steps take off each organ's mean dose and off D95 of the
targets; and the dose for the mean doses that the reference plan gives its organs, against that plan.

    python Testing/benchmarks/explore.py data/openkbp/validation-pats
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from DeepDosePredictLib.device import keep_freed_memory
from DeepDosePredictLib.dvh.metrics import dose_error
from DeepDosePredictLib.explore.explorer import Explorer
from DeepDosePredictLib.explore.wanted import reach
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.installed import open_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.case import Case, dose_box
from DeepDosePredictLib.patient.rois import is_target
from DeepDosePredictLib.planner.delivery import Delivery

STEPS = (-1, 1, 3)
OUTSIDE = 0.02
"""An organ lies outside the targets if they hold no more of it than this."""


def undeliverable(delivery: Delivery, case: Case, dose: np.ndarray) -> float:
    """Mean distance in Gy, outside PTVs and organs, of a dose from the deliverable one that is fitted to it."""
    planned, inside = delivery.case, dose[dose_box(case.dose_mask)] / case.prescription
    tissue = planned.dose_mask & (planned.level == 0) & (planned.organ == 0)
    return float(np.abs(delivery.nearest(inside) - inside)[tissue].mean() * case.prescription)


def lost_coverage(case: Case, before: np.ndarray, dose: np.ndarray) -> float:
    """Largest fall of a target's D95 in Gy, by its definition."""
    return max(
        float(np.percentile(before[case.rois[t]], 5) - np.percentile(dose[case.rois[t]], 5)) for t in case.targets()
    )


def measure_steps(explorer: Explorer) -> list[dict]:
    """What steps of priority do, a row for each structure and step."""
    case, predicted = explorer.case, explorer.predicted_metrics
    in_targets = np.any([case.rois[target] for target in case.targets()], 0)
    rows = []
    for structure in explorer.structures:
        metric = "D_95" if is_target(structure) else "mean"
        for step in STEPS:
            start = time.process_time()
            explored = explorer.explore({structure: step})
            cpu_seconds = time.process_time() - start
            said = max(predicted[t]["D_95"] - explored.metrics[t]["D_95"] for t in case.targets())
            rows.append(
                {
                    "structure": structure,
                    "step": step,
                    "in_targets": float(in_targets[case.rois[structure]].mean()),
                    "before": predicted[structure][metric],
                    "after": explored.metrics[structure][metric],
                    "said": said,
                    "lost": lost_coverage(case, explorer.prediction.dose, explored.dose),
                    "least": float(explored.dose.min()),
                    "outside_mask": float(np.abs(explored.dose[~case.dose_mask]).max()),
                    "seconds": explored.seconds,
                    "cpu_seconds": cpu_seconds,
                }
            )
    return rows


def measure(predictor: Predictor, case: Case) -> dict:
    prediction = predictor.predict(case)
    start = time.perf_counter()
    explorer = Explorer(predictor, case, prediction)
    made = time.perf_counter() - start
    planned = explorer.metrics(case.dose)
    wanted = {organ: m["mean"] for organ, m in planned.items() if not is_target(organ) and organ in explorer.structures}
    told = reach(explorer, {organ: max(mean, 0.1) for organ, mean in wanted.items()}).explored
    spared = explorer.explore(dict.fromkeys(wanted, 3))
    return {
        "patient": case.name,
        "voxels": int(np.count_nonzero(case.dose_mask)),
        "seconds": prediction.seconds,
        "made": made,
        "steps": measure_steps(explorer),
        "error": dose_error(case.dose, prediction.dose, case.dose_mask),
        "told_error": dose_error(case.dose, told.dose, case.dose_mask),
        "off": [abs(explorer.predicted_metrics[organ]["mean"] - mean) for organ, mean in wanted.items()],
        "told_off": [abs(told.metrics[organ]["mean"] - mean) for organ, mean in wanted.items()],
        "undeliverable": undeliverable(explorer._delivery, case, prediction.dose),
        "spared_undeliverable": undeliverable(explorer._delivery, case, spared.dose),
    }


def report(results: list[dict]) -> None:
    rows = [row for one in results for row in one["steps"]]
    print(f"{len(results)} patients, {torch.get_num_threads()} threads")
    report_seconds(results)
    for step in STEPS:
        report_step([row for row in rows if row["step"] == step])
    print(f"largest difference of D95 lost from what was said: {max(abs(r['lost'] - r['said']) for r in rows):.1e} Gy")
    print(
        f"least dose {min(r['least'] for r in rows):g} Gy, outside the mask {max(r['outside_mask'] for r in rows):g} Gy"
    )
    report_reference(results)


def report_seconds(results: list[dict]) -> None:
    largest = max(range(len(results)), key=lambda n: results[n]["voxels"])
    for kind in ("seconds", "cpu_seconds"):
        of = [float(np.median([row[kind] for row in one["steps"]])) for one in results]
        print(
            f"priority to dose and metrics, {kind}: median patient {np.median(of):.3f}, slowest {max(of):.3f}, the one"
            f" with most voxels {of[largest]:.3f}"
        )
    predict = np.median([one["seconds"] for one in results])
    print(f"a prediction takes {predict:.2f} s, making an explorer {np.median([one['made'] for one in results]):.2f} s")


def report_step(rows: list[dict]) -> None:
    organs = [row for row in rows if not is_target(row["structure"])]
    fall = np.array([1 - row["after"] / row["before"] for row in organs])
    outside = np.array([row["in_targets"] <= OUTSIDE for row in organs])
    lost = np.array([row["lost"] for row in organs])
    rise = np.array([row["after"] - row["before"] for row in rows if is_target(row["structure"])])
    print(f"step {rows[0]['step']:+d}:")
    print(
        f"  organs: mean lower in {np.mean(fall > 0):.1%} of {len(organs)}, by {np.median(fall):.1%} in the median,"
        f" {np.median(fall[outside]):.1%} in the {outside.sum()} outside the targets"
    )
    print(
        f"  D95 of the target that loses most: median {np.median(lost):.2f}, 90 % {np.percentile(lost, 90):.2f}, most"
        f" {lost.max():.2f} Gy"
    )
    print(f"  targets: own D95 higher in {np.mean(rise > 0):.1%}, median {np.median(rise):+.2f} Gy")


def report_reference(results: list[dict]) -> None:
    mean = {key: np.mean([one[key] for one in results]) for key in results[0] if key.endswith(("error", "deliverable"))}
    print(
        f"from the nearest deliverable dose, outside structures: predicted {mean['undeliverable']:.2f} Gy, every organ"
        f" spared by three steps {mean['spared_undeliverable']:.2f} Gy"
    )
    off, told = (np.concatenate([one[key] for one in results]) for key in ("off", "told_off"))
    nearer = np.mean([one["told_error"] < one["error"] for one in results])
    print(
        f"told the reference plan's organ means: dose {mean['error']:.3f} to {mean['told_error']:.3f} Gy off, nearer in"
        f" {nearer:.0%} of the patients; organ means {off.mean():.2f} to {told.mean():.2f} Gy off"
        f" ({np.mean(told <= 0.7):.0%} within 0.7)"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("patients", type=Path)
    parser.add_argument("n", type=int, nargs="?")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(2)
    keep_freed_memory()
    folders = sorted(options.patients.iterdir())
    n = min(options.n or len(folders), len(folders))
    predictor = Predictor(open_model(), "cpu")
    results = [measure(predictor, read_openkbp(folder)) for folder in folders[:: len(folders) // n][:n]]
    report(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
