"""What a model's file says about trust in it: the kind of patients that it learnt from, and how far it is off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from DeepDosePredictLib.app.console import progress_bar
from DeepDosePredictLib.app.sources import find_cases
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.contract import read_contract
from DeepDosePredictLib.model.model_file import load_model, rewrite_contract
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.trust.features import case_features
from DeepDosePredictLib.trust.intervals import Intervals, Measured
from DeepDosePredictLib.trust.scope import Scope


@dataclass(frozen=True)
class Calibration:
    """Patients to calibrate a model with, in any form that can be predicted.

    Attributes:
        learnt_from: folders of the patients that it was trained on; () keeps the file's scope.
        left_out: folders of patients with plans that it was not trained on; () keeps the file's intervals.
    """

    learnt_from: Sequence[Path] = ()
    left_out: Sequence[Path] = ()


def calibrate(model: Path, output: Path, patients: Calibration) -> Path:
    """Write a copy of a model file whose contract tells what was measured; the weights stay. Returns `output`."""
    contract = read_contract(model)
    if patients.learnt_from:
        contract = replace(contract, scope=scope_of(patients.learnt_from))
    if patients.left_out:
        contract = replace(contract, intervals=intervals_of(model, patients.left_out))
    rewrite_contract(model, output, contract)
    return output


def scope_of(folders: Sequence[Path]) -> Scope:
    """The kind that all patients in some folders are of."""
    sources = progress_bar(find_cases(folders), desc="Measuring patients", unit="patient")
    try:
        return Scope.of([case_features(source.read()) for source in sources])
    except ValueError as error:
        raise DeepDoseError(str(error)) from error


Pairs = dict[str, tuple[np.ndarray, Measured]]
"""{structure: the plan's values (Q,) of QUANTITIES, and the structure in the predicted dose}."""


def intervals_of(model: Path, folders: Sequence[Path]) -> Intervals:
    """How far a model is off, on patients that it has not learnt from."""
    return calibrated(compared(model, folders))


def calibrated(patients: Mapping[str, Pairs]) -> Intervals:
    """The intervals of {patient: ...} as `compared` gives them; DeepDoseError for too few."""
    structures = dict.fromkeys(name for pairs in patients.values() for name in pairs)
    by_structure = {name: [pairs[name] for pairs in patients.values() if name in pairs] for name in structures}
    try:
        return Intervals.of(by_structure, len(patients))
    except ValueError as error:
        raise DeepDoseError(str(error)) from error


def compared(model: Path, folders: Sequence[Path]) -> dict[str, Pairs]:
    """{patient: plan and prediction of each structure}; DeepDoseError for one without a plan.

    Patients of other prescriptions than the model's are left out.
    """
    predictor = Predictor(load_model(model))
    contract, found = predictor.model.contract, {}
    for source in progress_bar(find_cases(folders), desc="Comparing plans", unit="patient"):
        case = source.read(trained=contract.grid)
        if case.dose is None:
            raise DeepDoseError(f"{source.folder}: a patient to calibrate with needs the dose of its plan")
        if contract.knows(case.targets()):
            found[source.name] = {
                name: (Measured.of(doses, np.zeros_like(doses), case.voxel_volume_mm3).values, measured)
                for name, measured in predictor.measured(case).items()
                if len(doses := case.dose[case.rois[name]])
            }
    return found
