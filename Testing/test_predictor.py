"""Prediction: dose where it can be and nowhere else, mirror symmetry, devices, and cases a model cannot serve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from DeepDosePredictLib.errors import DeepDoseError, ModelError
from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS, ChannelSpec
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.roi_mask import RoiMask
from DeepDosePredictLib.patient.rois import mirrored_name
from DeepDosePredictLib.planner.gantry_angles import parse_gantry_angles
from synthetic import make_model


def with_rois(case, change):
    """The case with each mask replaced by change(name, mask)."""
    return replace(case, rois=RoiMask.encode({roi: change(roi, case.rois[roi]) for roi in case.rois}))


def test_dose_is_finite_nonnegative_and_inside_the_mask(case, tiny_model):
    prediction = Predictor(load_model(tiny_model), "cpu").predict(case)
    assert prediction.dose.shape == case.shape and prediction.dose.dtype == np.float32
    assert prediction.dose.min() >= 0 and np.isfinite(prediction.dose).all()
    assert not prediction.dose[~case.dose_mask].any()
    assert prediction.dose[case.dose_mask].any()
    assert prediction.device == "cpu" and prediction.seconds > 0


def test_deterministic_and_independent_of_the_reference(case, tiny_model):
    predictor = Predictor(load_model(tiny_model), "cpu")
    first = predictor.predict(case).dose
    np.testing.assert_array_equal(first, predictor.predict(replace(case, dose=None)).dose)


def test_order_and_number_of_rois_do_not_matter(case, tiny_model):
    predictor = Predictor(load_model(tiny_model), "cpu")
    masks = {roi: case.rois[roi] for roi in reversed(case.rois.names) if case.rois[roi].any()}
    extra = {"Thyroid": case.rois["Mandible"], **masks}
    np.testing.assert_array_equal(
        predictor.predict(case).dose, predictor.predict(replace(case, rois=RoiMask.encode(extra))).dose
    )


def test_mirrored_prediction_of_the_mirrored_patient_is_the_mirror_image(case, tiny_model):
    predictor = Predictor(load_model(tiny_model), "cpu", single_pass=False)
    mirrored = replace(
        case,
        ct=np.ascontiguousarray(case.ct[..., ::-1]),
        dose_mask=np.ascontiguousarray(case.dose_mask[..., ::-1]),
        rois=RoiMask.encode({mirrored_name(roi): case.rois[roi][..., ::-1] for roi in case.rois}),
        dose=None,
    )
    expected = predictor.predict(case).dose[..., ::-1]
    np.testing.assert_allclose(predictor.predict(mirrored).dose, expected, atol=2e-4)


def test_number_of_passes_follows_the_contract(tmp_path, case):
    model = load_model(make_model(tmp_path / "m.safetensors", single_pass=False))
    by_default, asked, refused = (
        Predictor(model, "cpu", single_pass=s).predict(case).dose for s in (None, False, True)
    )
    np.testing.assert_array_equal(by_default, asked)
    assert np.abs(by_default - refused).max() > 1e-3


def test_case_without_the_highest_ptv(case, tiny_model):
    lower = with_rois(case, lambda roi, mask: mask & (roi != "PTV70"))
    with pytest.raises(ModelError, match="made-up: no PTV70"):
        Predictor(load_model(tiny_model), "cpu").predict(lower)


def test_case_with_an_unknown_level(case, tiny_model):
    odd = RoiMask.encode({("PTV60" if roi == "PTV63" else roi): case.rois[roi] for roi in case.rois})
    with pytest.raises(ModelError, match="knows no PTV60"):
        Predictor(load_model(tiny_model), "cpu").predict(replace(case, rois=odd))


def test_case_on_another_grid(case, tiny_model):
    half = replace(
        case,
        ct=case.ct[:64],
        dose_mask=case.dose_mask[:64],
        dose=None,
        rois=RoiMask(case.rois.bits[:64], case.rois.names),
    )
    with pytest.raises(ModelError, match="grid"):
        Predictor(load_model(tiny_model), "cpu").predict(half)


def test_warnings_name_what_is_missing_or_outside(case, tiny_model):
    predictor = Predictor(load_model(tiny_model), "cpu")
    first, *odd = predictor.predict(case).warnings
    assert first == "not contoured, so not spared: Esophagus, Larynx"
    assert all("predicted" in warning for warning in odd)  # the tiny model's dose is none
    shrunk = case.dose_mask & (np.arange(128) > 64)[:, None, None]
    warnings = " ".join(predictor.predict(replace(case, dose_mask=shrunk)).warnings)
    assert "PTV70 lies outside the dose mask" in warnings


def test_voxels_that_no_training_patient_had_are_said(case, tiny_model):
    predictor = Predictor(load_model(tiny_model), "cpu")
    for spacing in ((6, 3.906, 3.906), (2.5, 3.906, 1.2)):
        (warning,) = [w for w in predictor.check(replace(case, spacing=spacing)) if "voxels of" in w]
        assert "slices of 1.5 to 3.3 mm and pixels of 2.7 to 5.5 mm" in warning
    assert not any("voxels of" in warning for warning in predictor.check(replace(case, spacing=(3.3005, 2.7, 5.5))))


def test_out_of_memory_falls_back_to_the_cpu(case, tiny_model):
    predictor = Predictor(load_model(tiny_model), "cpu")
    expected = predictor.predict(case).dose
    predictor.device = torch.device("cuda")  # as if the model had been moved there

    run, calls = predictor._run, []

    def run_out_once(*arguments):
        calls.append(predictor.device.type)
        if predictor.device.type == "cuda":
            raise torch.OutOfMemoryError("CUDA out of memory")
        return run(*arguments)

    predictor._run = run_out_once
    prediction = predictor.predict(case)
    assert calls == ["cuda", "cpu"] and prediction.device == "cpu"
    assert any("ran out of memory" in warning for warning in prediction.warnings)
    np.testing.assert_array_equal(prediction.dose, expected)


def test_other_errors_are_not_swallowed(case, tiny_model):
    predictor = Predictor(load_model(tiny_model), "cpu")
    predictor.device = torch.device("cuda")

    def fail(*_):
        raise RuntimeError("device-side assert")

    predictor._run = fail
    with pytest.raises(RuntimeError, match="device-side"):
        predictor.predict(case)


def test_a_prediction_can_be_stopped_before_any_layer(case, tiny_model):
    predictor, asked = Predictor(load_model(tiny_model), "cpu"), []
    expected = predictor.predict(case, interrupt=lambda: asked.append(1)).dose
    assert len(asked) > 20
    for first in (1, len(asked)):
        left = list(range(first - 1))
        with pytest.raises(IndexError, match="pop"):
            predictor.predict(case, interrupt=left.pop)
    np.testing.assert_array_equal(predictor.predict(case).dose, expected)


def test_unavailable_devices_are_named(tiny_model):
    model = load_model(tiny_model)
    if not torch.cuda.is_available():
        with pytest.raises(DeepDoseError, match="'cuda' is not available"):
            Predictor(model, "cuda")
    with pytest.raises(DeepDoseError, match="unknown device"):
        Predictor(model, "tpu")


def test_a_network_that_diverges_gives_no_dose(case, tiny_model):
    model = load_model(tiny_model)
    model.network.head.bias.data.fill_(float("nan"))
    with pytest.raises(ModelError, match="not finite"):
        Predictor(model, "cpu").predict(case)


def test_models_of_other_prescriptions(tmp_path, case):
    spec = ChannelSpec(("ct", "ptv/PTV60", "dose_mask"), prescription=60.0)
    model = load_model(make_model(tmp_path / "m.safetensors", spec=spec))
    only = RoiMask.encode({"PTV60": case.rois["PTV70"]})
    dose = Predictor(model, "cpu").predict(replace(case, rois=only)).dose
    assert dose[case.dose_mask].mean() == pytest.approx(0.3 * 60, abs=6)  # the untrained output's bias, times 60 Gy


def test_other_prescriptions_are_served_on_request_in_units_of_the_highest(case, tiny_model):
    """The same patient with 35/31.5/28 Gy looks the same to the network; the dose is half as high."""
    halved = {"PTV70": "PTV35", "PTV63": "PTV31.5", "PTV56": "PTV28"}
    other = replace(case, rois=RoiMask.encode({halved.get(roi, roi): case.rois[roi] for roi in case.rois}))
    predictor = Predictor(load_model(tiny_model), "cpu")
    with pytest.raises(ModelError, match="no PTV70"):
        predictor.predict(other)
    prediction = predictor.predict(other, any_prescription=True)
    assert any("scaled to 35 Gy" in warning for warning in prediction.warnings)
    np.testing.assert_allclose(prediction.dose, predictor.predict(case).dose / 2, atol=1e-4)


def test_notes_of_the_case_come_back_as_warnings(case, tiny_model):
    noted = replace(case, notes=("the CT ends inside the neck",))
    assert "the CT ends inside the neck" in Predictor(load_model(tiny_model), "cpu").predict(noted).warnings


def test_gantry_angles_are_the_models_or_the_users(tmp_path, case, tiny_model):
    nine = tuple(range(0, 360, 40))
    model = load_model(
        make_model(
            tmp_path / "beams.safetensors",
            deliverable_share=0.5,
            spec=ChannelSpec((*DEFAULT_CHANNELS, "plan_dose"), gantry_angles=nine),
        )
    )
    trained, same, three = (
        Predictor(model, "cpu", gantry_angles=angles).predict(case)
        for angles in (None, [angle + 360 for angle in reversed(nine)], (0, 120, 240))
    )
    np.testing.assert_allclose(same.dose, trained.dose, atol=0.5)
    assert not any("beams" in warning for warning in (*trained.warnings, *same.warnings))
    assert np.abs(three.dose - trained.dose).max() > 0.5
    assert any("beams from 0, 120, 240 degrees" in warning for warning in three.warnings)
    with pytest.raises(ModelError, match="takes no gantry angles"):
        Predictor(load_model(tiny_model), "cpu", gantry_angles=nine)


@pytest.mark.parametrize(
    ("text", "angles"),
    [("", None), (" ", None), ("0, 40;80", (0, 40, 80)), ("-40 400.5", (320, 40.5)), ("0,360,0", (0,))],
)
def test_gantry_angles_as_text(text, angles):
    assert parse_gantry_angles(text) == angles


@pytest.mark.parametrize("text", ["0, forty", "nan", "inf", ",".join(map(str, range(100)))])
def test_wrong_gantry_angles_are_named(text):
    with pytest.raises(DeepDoseError, match="Gantry angles"):
        parse_gantry_angles(text)


def test_deliverable_share_changes_what_lies_outside_the_structures(tmp_path, case):
    spec = ChannelSpec((*DEFAULT_CHANNELS, "plan_dose"), gantry_angles=range(0, 360, 40))
    plain, blended = (
        Predictor(load_model(make_model(tmp_path / f"{share}.safetensors", spec=spec, deliverable_share=share)), "cpu")
        .predict(case)
        .dose
        for share in (0.0, 0.5)
    )
    structures = np.any([case.rois[roi] for roi in case.rois], axis=0)
    np.testing.assert_array_equal(blended[structures], plain[structures])
    assert np.abs(blended - plain)[case.dose_mask & ~structures].max() > 1 and not blended[~case.dose_mask].any()


def test_targets_outside_the_dose_mask_get_no_plan(tmp_path, case):
    spec = ChannelSpec((*DEFAULT_CHANNELS, "plan_dose"), gantry_angles=(0, 180))
    targets = np.any([case.rois[target] for target in case.targets()], axis=0)
    model = load_model(make_model(tmp_path / "m.safetensors", spec=spec, deliverable_share=0.5))
    prediction = Predictor(model, "cpu").predict(replace(case, dose_mask=case.dose_mask & ~targets, dose=None))
    assert any("lies outside the dose mask" in warning for warning in prediction.warnings)
    assert not prediction.dose[targets].any() and np.isfinite(prediction.dose).all()
