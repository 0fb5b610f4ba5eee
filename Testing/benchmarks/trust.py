"""Whether intervals hold and verdicts are right, on patients with plans that a model has not learnt from.

    python Testing/benchmarks/trust.py MODEL --patients FOLDER [--learnt-from FOLDER] [--every N]

Intervals: in ten folds, each left out of the calibration in turn: how often the plan's metric lies within, and how wide
the intervals are. Verdict, where the patients that the model learnt from are given: how often these patients, and
made-up ones of each kind (`Testing/unlike.py`, of every N-th patient), are called unlike or refused. Cost: seconds of
both in a prediction.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepdose_training.calibrate import Pairs, calibrated, compared, scope_of
from DeepDosePredictLib.app.sources import find_cases
from DeepDosePredictLib.dvh.metrics import OAR_METRICS, TARGET_METRICS, Metric
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.contract import Contract, read_contract
from DeepDosePredictLib.patient.rois import is_target
from DeepDosePredictLib.trust.features import case_features
from DeepDosePredictLib.trust.intervals import QUANTITIES, Measured
from unlike import KINDS, made_up

FOLDS = 10
Tested = tuple[str, str, bool, float]
"""Structure, metric, whether the plan's value lies within its interval, and the half-width in Gy."""


def left_out(patients: Mapping[str, Pairs]) -> Iterator[Tested]:
    """Each patient by intervals from the others' folds."""
    names = sorted(patients)
    order = np.random.default_rng(0).permutation(len(names)) % FOLDS
    for fold in range(FOLDS):
        own = [name for name, number in zip(names, order, strict=True) if number == fold]
        intervals = calibrated({name: patients[name] for name in names if name not in own})
        for name in own:
            for structure, (plan, measured) in patients[name].items():
                band = intervals.band(structure, measured)
                for text in (TARGET_METRICS if is_target(structure) else OAR_METRICS).values() if band else ():
                    place = QUANTITIES.index(text)
                    low, high = band.interval(Metric.parse(text), measured.values[place])
                    yield structure, text, low <= plan[place] <= high, (high - low) / 2


def report_intervals(patients: Mapping[str, Pairs]) -> None:
    tested = list(left_out(patients))
    print(f"{'structure':<14}{'metric':<8}{'patients':>9}{'within':>8}{'median half-width [Gy]':>24}")
    for structure, metric in dict.fromkeys(one[:2] for one in sorted(tested)):
        own = [one for one in tested if one[:2] == (structure, metric)]
        share, width = np.mean([one[2] for one in own]), np.median([one[3] for one in own])
        print(f"{structure:<14}{metric:<8}{len(own):>9}{share:>8.1%}{width:>24.2f}")
    print(f"{'all':<22}{len(tested):>9}{np.mean([one[2] for one in tested]):>8.1%}")


def report_scope(contract: Contract, folder: Path, every: int) -> None:
    cases = [source.read() for source in find_cases([folder])]
    for case in cases:
        verdict = contract.verdict(case)
        if not verdict.like:
            print(f"{case.name}: {verdict.words}")
    print(f"called unlike: {sum(not contract.verdict(case).like for case in cases)} of {len(cases)}")
    for kind in KINDS:
        told = refused = 0
        for number, case in enumerate(cases[::every]):
            try:
                told += not contract.verdict(made_up(kind, case, number)).like
            except DeepDoseError:
                refused += 1
        print(f"{kind:<26}{told + refused:>4} of {len(cases[::every])} told apart, {refused} of them refused")


def report_cost(folder: Path) -> None:
    cases = [source.read() for source in find_cases([folder])[:10]]
    scope, bands = [], []
    for case in cases:
        start = time.process_time()
        case_features(case)
        scope.append(time.process_time() - start)
        start = time.process_time()
        for roi in case.rois.present():
            doses = case.dose[case.rois[roi]]
            Measured.of(doses, doses, case.voxel_volume_mm3)
        bands.append(time.process_time() - start)
    print(f"seconds of a prediction: verdict {np.mean(scope):.3f}, intervals {np.mean(bands):.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--patients", type=Path, required=True)
    parser.add_argument("--learnt-from", type=Path)
    parser.add_argument("--every", type=int, default=1)
    options = parser.parse_args()
    report_intervals(compared(options.model, [options.patients]))
    report_cost(options.patients)
    if options.learnt_from:
        contract = replace(read_contract(options.model), scope=scope_of([options.learnt_from]))
        report_scope(contract, options.patients, options.every)


if __name__ == "__main__":
    main()
