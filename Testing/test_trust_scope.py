"""Who is like a model's patients and who is not: by made-up numbers, and by patients changed in one way each."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from deepdose_training.calibrate import Calibration, calibrate
from DeepDosePredictLib.errors import CaseError, DeepDoseError, ModelError
from DeepDosePredictLib.model.contract import Contract, read_contract
from DeepDosePredictLib.model.model_file import load_model, rewrite_contract
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.phantom.anatomy import head_and_neck_phantom
from DeepDosePredictLib.trust.features import case_features, smallest_spread
from DeepDosePredictLib.trust.scope import Scope
from unlike import KINDS, made_up

N_PATIENTS = 120


def made_up_features(n: int, seed: int = 0) -> list[dict[str, float]]:
    """Normal, with `volume` and `height` of one structure going together; a third has no Larynx."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(n):
        size, left = rng.normal(size=2)
        features = {
            "Brainstem volume": 3 + 0.4 * size,
            "Brainstem height": 50 + 10 * size + rng.normal(),
            "Brainstem left": 5 * left,
            "body HU": rng.normal(20, 20),
        }
        found.append(features | ({"Larynx up": rng.normal(-60, 10)} if number % 3 else {}))
    return found


@pytest.fixture(scope="module")
def scope() -> Scope:
    return Scope.of(made_up_features(N_PATIENTS))


def test_few_of_the_same_kind_are_called_unlike(scope):
    others = [scope.unlike(features) for features in made_up_features(1000, 1)]
    share = np.mean([distance > 1 for distance, _ in others])
    assert 0.005 < share < 0.06  # 2.5 % are meant
    assert all((distance > 1) == bool(reasons) for distance, reasons in others)


def test_what_is_far_from_all_is_named_with_its_range(scope):
    _, (reason, *_) = scope.unlike(made_up_features(1)[0] | {"body HU": 900.0})
    assert reason.startswith("body, median: 900 HU (training patients: -")


def test_what_does_not_fit_the_rest_is_found_though_each_number_is_usual(scope):
    usual = {"Brainstem volume": 3.0, "Brainstem height": 50.0, "Brainstem left": 0.0, "body HU": 20.0}
    assert scope.unlike(usual)[0] < 1
    large, high = 3 + 0.4 * 2, 50 - 10 * 2
    assert scope.low[0] < large < scope.high[0] and scope.low[1] < high < scope.high[1]
    assert scope.unlike(usual | {"Brainstem volume": large, "Brainstem height": high})[0] > 1


def test_a_missing_structure_counts_neither_way(scope):
    features = {"Brainstem volume": 3.0, "Brainstem height": 50.0, "Brainstem left": 0.0, "body HU": 20.0}
    assert scope.unlike(features)[0] < 1 and scope.unlike(features | {"Larynx up": -60.0})[0] < 1
    assert scope.unlike(features | {"Larynx up": 60.0})[0] > 1


def test_nothing_measured_is_unlike(scope):
    distance, reasons = scope.unlike({})
    assert distance > 1 and reasons == ["nothing of the targets lies in the dose mask"]


def test_too_few_patients():
    with pytest.raises(ValueError, match="at least 30 patients, not 29"):
        Scope.of(made_up_features(29))


def test_round_trip_in_a_model_file_leaves_the_weights_alone(tmp_path, tiny_model, scope):
    path = tmp_path / "with.safetensors"
    rewrite_contract(tiny_model, path, replace(read_contract(tiny_model), scope=scope))
    assert read_contract(path).scope == scope and load_model(path).contract.scope == scope
    old, new = (file.read_bytes() for file in (tiny_model, path))
    weights = [content[8 + int.from_bytes(content[:8], "little") :] for content in (old, new)]
    assert weights[0] == weights[1]
    assert read_contract(tiny_model).scope is None


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.update(names=["secret thing", *s["names"][1:]]),
        lambda s: s.update(names=[s["names"][0]] * len(s["names"])),
        lambda s: s.update(middle=s["middle"][1:]),
        lambda s: s.update(spread=[0.0] * len(s["names"])),
        lambda s: s.update(correlations=[1.0] * len(s["correlations"])),
        lambda s: s.update(correlations=[float("nan")] * len(s["correlations"])),
        lambda s: s["units"].pop("all"),
        lambda s: s["units"].update(all="far"),
        lambda s: s.update(n_patients="many"),
        lambda s: s.update(surprise=1),
        lambda s: s.clear(),
    ],
)
def test_impossible_scopes_are_no_contract(tiny_model, scope, change):
    content = json.loads(replace(read_contract(tiny_model), scope=scope).to_json())
    assert Contract.from_json(json.dumps(content)).scope == scope
    change(content["scope"])
    with pytest.raises((ValueError, TypeError)):
        Contract.from_json(json.dumps(content))


def test_the_verdict_goes_with_the_prediction(tmp_path, tiny_model, case, scope):
    unknown = Predictor(load_model(tiny_model), "cpu").predict(case)
    assert unknown.scope.startswith("nothing is known of the patients that model tiny learnt from")
    assert unknown.scope not in unknown.warnings
    path = tmp_path / "with.safetensors"
    other = replace(scope, middle=[900.0 if name == "body HU" else 0.0 for name in scope.names])
    rewrite_contract(tiny_model, path, replace(read_contract(tiny_model), scope=other))
    prediction = Predictor(load_model(path), "cpu").predict(case)
    assert prediction.scope.startswith(f"unlike the {N_PATIENTS} patients that model tiny learnt from: ")
    assert prediction.warnings[0] == prediction.scope


# Made-up patients against numbers that come from none: the phantom with noise on everything that is measured of it.


@pytest.fixture(scope="module")
def phantom():
    return replace(head_and_neck_phantom(), dose=None)


@pytest.fixture(scope="module")
def phantoms(phantom) -> Scope:
    rng, features = np.random.default_rng(0), case_features(phantom)
    return Scope.of(
        [{name: x + 3 * smallest_spread(name) * rng.normal() for name, x in features.items()} for _ in range(60)]
    )


def test_the_phantom_is_like_itself(phantom, phantoms):
    assert phantoms.unlike(case_features(phantom))[0] < 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("Gy") and kind != "arms"])
def test_each_kind_of_change_is_seen_or_refused(kind, phantom, phantoms):
    try:
        changed = made_up(kind, phantom)
    except CaseError:
        return
    distance, reasons = phantoms.unlike(case_features(changed))
    assert distance > 1 and reasons


@pytest.mark.parametrize("kind", ["40 Gy", "80 Gy"])
def test_other_prescriptions_are_unlike(kind, phantom, tiny_model, phantoms):
    contract = replace(read_contract(tiny_model), scope=phantoms)
    assert contract.verdict(phantom).like
    verdict = contract.verdict(made_up(kind, phantom))
    assert verdict.like is False and "prescriptions of" in verdict.words


def test_a_target_outside_the_dose_mask_is_told(phantom, phantoms, tiny_model):
    mask = np.zeros(phantom.shape, bool)
    mask[:2, :2, :2] = True
    verdict = replace(read_contract(tiny_model), scope=phantoms).verdict(replace(phantom, dose_mask=mask))
    assert verdict.like is False and "nothing of the targets lies in the dose mask" in verdict.words


def test_calibrating_needs_patients(tmp_path, tiny_model, patients):
    output = tmp_path / "calibrated.safetensors"
    with pytest.raises(DeepDoseError, match="at least 30 patients, not 3"):
        calibrate(tiny_model, output, Calibration([patients]))
    assert not output.exists()
    with pytest.raises(ModelError, match="no such model file"):
        calibrate(tmp_path / "none.safetensors", output, Calibration([patients]))
