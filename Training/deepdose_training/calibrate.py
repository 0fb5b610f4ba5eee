"""What a model's file says about trust in it: the kind of patients that it learnt from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from DeepDosePredictLib.app.console import progress_bar
from DeepDosePredictLib.app.sources import find_cases
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.contract import read_contract
from DeepDosePredictLib.model.model_file import rewrite_contract
from DeepDosePredictLib.trust.features import case_features
from DeepDosePredictLib.trust.scope import Scope


@dataclass(frozen=True)
class Calibration:
    """Patients to calibrate a model with, in any form that can be predicted.

    Attributes:
        learnt_from: folders of the patients that it was trained on; () keeps the file's scope.
    """

    learnt_from: Sequence[Path] = ()


def calibrate(model: Path, output: Path, patients: Calibration) -> Path:
    """Write a copy of a model file whose contract tells what was measured; the weights stay. Returns `output`."""
    contract = read_contract(model)
    if patients.learnt_from:
        contract = replace(contract, scope=scope_of(patients.learnt_from))
    rewrite_contract(model, output, contract)
    return output


def scope_of(folders: Sequence[Path]) -> Scope:
    """The kind that all patients in some folders are of."""
    sources = progress_bar(find_cases(folders), desc="Measuring patients", unit="patient")
    try:
        return Scope.of([case_features(source.read()) for source in sources])
    except ValueError as error:
        raise DeepDoseError(str(error)) from error
