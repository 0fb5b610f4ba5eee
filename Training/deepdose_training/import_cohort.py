"""A training cache of one's own patients, with a report of what became of each of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields, replace
from pathlib import Path

import numpy as np

from DeepDosePredictLib.app.console import progress_bar
from DeepDosePredictLib.app.sources import CaseSource
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.atomic import write_table
from DeepDosePredictLib.patient.case import Case
from DeepDosePredictLib.patient.rois import OARS, PTVS

from .dataset import NO_PLANS, Plans

REPORT = "report.csv"
Roles = Mapping[str, str | Sequence[str]]
MAX_OUTSIDE = 0.3  # of what gets more than half the prescription; some spills into the air at the skin
USUAL_MEAN = (0.9, 1.15)
"""Mean dose of the highest target, of its prescription: outside, it is a boost's or a fraction's dose, say."""


@dataclass(frozen=True)
class Row:
    """What became of a patient: "kept" or "left out" with the reason, and what to know about a kept one."""

    patient: str
    status: str
    reason: str = ""
    notes: str = ""


def import_cohort(
    sources: Sequence[CaseSource], cache: Path, highest: float, plans: Plans = NO_PLANS, roles: Roles | None = None
) -> list[Row]:
    """Write a sample for each patient that can be trained on, and the report; what is in the cache already is kept.

    `highest`: prescription in Gy of the highest target that the model takes.
    """
    samples = cache / plans.kind  # here, once, a planner that cannot be used stops it, not every patient
    rows = []
    twice = {name for name, n in Counter(source.name for source in sources).items() if n > 1}
    for source in progress_bar(sources, desc="Importing", unit="patient"):
        try:
            if source.name in twice:
                raise DeepDoseError("there are several patients of this name; rename the folders")
            rows.append(_import(source, samples / f"{source.name}.safetensors", highest, plans, roles))
        except (DeepDoseError, OSError) as error:
            rows.append(Row(source.name, "left out", " ".join(str(error).split())))
        write_table(cache / REPORT, [field.name for field in fields(Row)], map(astuple, rows))
    return rows


def _import(source: CaseSource, path: Path, highest: float, plans: Plans, roles: Roles | None) -> Row:
    case = source.read(roles)
    path.unlink(missing_ok=True)  # an earlier sample must not outlive a patient that is left out now
    dose = trainable_dose(case, highest)
    plans.sample(replace(case, dose=dose * case.dose_mask)).save(path)  # nothing else can be predicted
    missing = [roi for roi in (*PTVS, *OARS) if roi not in case.rois.present()]
    notes = [*case.notes, *([f"not contoured: {', '.join(missing)}"] if missing else [])]
    return Row(source.name, "kept", "", "; ".join(notes))


def trainable_dose(case: Case, prescribed: float) -> np.ndarray:
    """The case's dose; DeepDoseError if it would teach a model with this highest prescription something wrong."""
    if case.dose is None:
        raise DeepDoseError("no reference dose to learn from")
    if others := [target for target in case.targets() if target not in PTVS]:
        raise DeepDoseError(f"prescriptions other than {', '.join(PTVS)}: {', '.join(others)}")
    if case.prescription != prescribed:
        raise DeepDoseError(f"the highest target is {case.highest_target}, not PTV{prescribed:g}")
    share = float(case.dose[case.rois[case.highest_target]].mean()) / case.prescription
    if not USUAL_MEAN[0] <= share <= USUAL_MEAN[1]:
        raise DeepDoseError(
            f"the mean dose in {case.highest_target} is {share:.0%} of its prescription: is this the whole plan's"
            " dose of this patient?"
        )
    high = case.dose > case.prescription / 2
    if (outside := np.count_nonzero(high & ~case.dose_mask) / np.count_nonzero(high)) > MAX_OUTSIDE:
        raise DeepDoseError(
            f"{outside:.0%} of the high dose lies outside the dose mask: do dose and contours belong together?"
        )
    return case.dose
