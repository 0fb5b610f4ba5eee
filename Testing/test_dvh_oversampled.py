"""DVHs on the twice-oversampled grid: closed forms, definitions, and SlicerRT's own numbers."""

from __future__ import annotations

import csv
from collections import defaultdict
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from DeepDosePredictLib.dvh import oversampled as dvh
from DeepDosePredictLib.dvh.metrics import Metric
from DeepDosePredictLib.dvh.oversampled import OversampledDose, StructureDose
from DeepDosePredictLib.io.openkbp import read_openkbp

SHAPE = st.tuples(*[st.integers(1, 4)] * 3)
METRICS = {
    "D99pct_gy": "D99%",
    "D95pct_gy": "D95%",
    "D1pct_gy": "D1%",
    "D0.1cc_gy": "D0.1cc",
    "D2cc_gy": "D2cc",
    "V20Gy_pct": "V20Gy",
    "V50Gy_pct": "V50Gy",
}
# Its curve has a plateau at exactly 1 %, where rounding decides (named in the README of the reference results).
PLATEAU = ("pt_204", "Brainstem", "D1pct_gy")


def everywhere(dose: np.ndarray, voxel_volume: float = 8.0) -> StructureDose:
    box = tuple(slice(0, n) for n in dose.shape)
    return OversampledDose(dose, voxel_volume).samples_of_voxels(box, np.ones(dose.shape, bool))


def oversampled(dose: np.ndarray) -> np.ndarray:
    """The whole oversampled grid, voxel by voxel from the definition."""
    dose = np.maximum(dose.astype(float), 0)
    for axis, n in enumerate(dose.shape):
        positions = np.clip(np.arange(2 * n) / 2 - 0.25, 0, n - 1)
        low = positions.astype(int)
        weights = (positions - low).reshape([-1 if a == axis else 1 for a in range(3)])
        dose = (1 - weights) * dose.take(low, axis) + weights * dose.take(np.minimum(low + 1, n - 1), axis)
    return dose


def doses(lowest: float = 0.0):
    return SHAPE.flatmap(lambda shape: arrays(np.float32, shape, elements=st.floats(lowest, 80, width=32)))


def test_uniform_dose():
    structure = everywhere(np.full((3, 4, 5), 50.0, np.float32), voxel_volume=40.0)
    assert structure.volume_cc == pytest.approx(60 * 0.04)
    assert structure.mean == structure.minimum == structure.maximum == 50
    for text in ("D99%", "D50%", "D1%", "D0%", "D100%", "D0.1cc", "D5cc", "mean"):
        assert structure.metric(Metric.parse(text)) == 50
    assert [structure.metric(Metric.parse(f"V{x}Gy")) for x in (49.9, 50, 50.1)] == [100, 100, 0]
    axis, percents = structure.curve(50.0)
    np.testing.assert_array_equal(percents, np.where(axis <= 50, 100, 0))


@given(gradient=st.floats(0.5, 5), length=st.integers(4, 40), percent=st.floats(1, 99))
@settings(deadline=None)
def test_ramp_in_a_box_has_closed_forms(gradient, length, percent):
    """A ramp is linear between the samples too, so D and V are those of a uniform distribution, to one sample."""
    dose = np.broadcast_to(gradient * np.arange(length + 2.0), (3, 3, length + 2))
    box = (slice(1, 2), slice(1, 2), slice(1, length + 1))
    structure = OversampledDose(dose, 8.0).samples_of_voxels(box, np.ones((1, 1, length), bool))
    low, high = 0.5 * gradient, (length + 0.5) * gradient
    assert structure.mean == pytest.approx((low + high) / 2)
    expected = high - percent / 100 * (high - low)
    assert structure.metric(Metric("D%", percent)) == pytest.approx(expected, abs=0.26 * gradient)
    assert structure.metric(Metric("V", expected)) == pytest.approx(percent, abs=100 / (2 * length))
    assert structure.metric(Metric("Dcc", percent / 100 * structure.volume_cc)) == pytest.approx(
        expected, abs=0.26 * gradient
    )


@given(doses(), st.data())
@settings(deadline=None, max_examples=50)
def test_samples_are_those_of_the_whole_oversampled_grid(dose, data):
    """For any box and mask on the oversampled grid."""
    box = []
    for n in dose.shape:
        start = data.draw(st.integers(0, 2 * n - 1))
        box.append(slice(start, data.draw(st.integers(start + 1, 2 * n))))
    mask = data.draw(arrays(bool, tuple(s.stop - s.start for s in box)))
    structure = OversampledDose(dose, 8.0).samples(tuple(box), mask)
    expected = np.sort(oversampled(dose)[tuple(box)][mask])
    if not mask.any():
        assert structure is None
    else:
        np.testing.assert_allclose(structure.samples, expected, rtol=1e-6, atol=1e-6)
        assert structure.sample_volume_mm3 == 1


@given(doses(), st.integers(0, 100))
@settings(deadline=None)
def test_percent_metrics_are_quantiles_of_the_samples(dose, percent):
    """The highest sample that more than the asked part reaches; numpy calls this the inverted distribution."""
    samples = everywhere(dose).samples
    value = everywhere(dose).metric(Metric("D%", percent))
    assert value in samples
    assert 100 * np.count_nonzero(samples >= value) > percent * samples.size or value == samples[0]
    higher = samples[samples > value]
    assert not higher.size or 100 * np.count_nonzero(samples >= higher[0]) <= percent * samples.size
    if percent * samples.size % 100:
        assert value == np.percentile(samples, 100 - percent, method="inverted_cdf")


@given(doses(), st.floats(0, 80), st.floats(0.01, 3), st.floats(1, 5))
@settings(deadline=None, max_examples=50)
def test_curves_fall_from_100_and_agree_with_v(dose, highest, start, step):
    structure = everywhere(dose)
    axis, percents = structure.curve(max(highest, structure.maximum), start, step)
    assert (axis[0], percents[0]) == (0, 100)
    assert np.all(np.diff(axis) > 0) and np.all(np.diff(percents) <= 0)
    assert percents.min() >= 0
    np.testing.assert_allclose(np.diff(axis[1:]), step)
    for gray, percent in zip(axis[1:], percents[1:], strict=True):
        expected = 100 * np.count_nonzero(structure.samples.astype(float) >= gray) / structure.samples.size
        assert abs(percent - expected) < 1e-9 and abs(structure.metric(Metric("V", gray)) - expected) < 1e-9


@given(doses())
@settings(deadline=None)
def test_d_metrics_fall_with_the_volume(dose):
    structure = everywhere(dose)
    values = [structure.metric(Metric("D%", p)) for p in range(0, 101, 5)]
    assert values == sorted(values, reverse=True)
    assert values[0] == structure.maximum and values[-1] == structure.minimum
    assert structure.metric(Metric("Dcc", 2 * structure.volume_cc)) == structure.minimum


def test_slabs_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    dose, mask = rng.uniform(0, 70, (9, 8, 7)), rng.random((18, 16, 14)) < 0.3
    box = tuple(slice(0, n) for n in mask.shape)
    whole = OversampledDose(dose, 8.0).samples(box, mask).samples
    monkeypatch.setattr(dvh, "_SLAB", 1)
    np.testing.assert_array_equal(OversampledDose(dose, 8.0).samples(box, mask).samples, whole)


@given(doses(lowest=-20))
@settings(deadline=None)
def test_negative_doses_count_as_zero(dose):
    source = OversampledDose(dose, 8.0)
    assert source.n_negative == np.count_nonzero(dose < 0)
    np.testing.assert_allclose(everywhere(dose).samples, np.sort(oversampled(dose), axis=None), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_doses_that_are_no_numbers_are_refused(value):
    dose = np.ones((2, 2, 2))
    dose[0, 1, 0] = value
    with pytest.raises(ValueError, match="NaN"):
        OversampledDose(dose, 1.0)


@pytest.fixture(scope="module")
def reference_cases(shared, validation_patients):
    """(patient, ROI, row of metrics_fine.csv, curve of dvh_default.csv, our structure, maximum of the dose)."""
    folder = shared / "reference-results" / "slicerrt"
    with (folder / "metrics_fine.csv").open() as file:
        rows = list(csv.DictReader(file))
    curves = defaultdict(list)
    with (folder / "dvh_default.csv").open() as file:
        for row in csv.DictReader(file):
            curves[row["patient"], row["roi"]].append((float(row["dose_gy"]), float(row["volume_percent"])))
    cases = {name: read_openkbp(validation_patients / name) for name in dict.fromkeys(row["patient"] for row in rows)}
    results = []
    for row in rows:
        case, key = cases[row["patient"]], (row["patient"], row["roi"])
        source = OversampledDose(case.dose, case.voxel_volume_mm3)
        box = tuple(slice(0, n) for n in case.shape)
        results.append(
            (*key, row, np.array(curves[key]), source.samples_of_voxels(box, case.rois[row["roi"]]), source.highest)
        )
    assert len(results) == 41
    return results


@pytest.mark.slow
def test_slicerrts_volume_mean_and_range_to_six_digits(reference_cases):
    for *_, row, _, structure, _ in reference_cases:
        values = (structure.volume_cc, structure.mean, structure.minimum, structure.maximum)
        assert [f"{value:.6g}" for value in values] == [row[c] for c in ("volume_cc", "mean_gy", "min_gy", "max_gy")]


@pytest.mark.slow
def test_slicerrts_metrics(reference_cases):
    for patient, roi, row, _, structure, _ in reference_cases:
        for column, text in METRICS.items():
            if (patient, roi, column) != PLATEAU:
                tolerance = 0.01 if column.endswith("pct") and column.startswith("V") else 0.02
                assert structure.metric(Metric.parse(text)) == pytest.approx(float(row[column]), abs=tolerance), (
                    patient,
                    roi,
                    column,
                )


@pytest.mark.slow
def test_slicerrts_curves(reference_cases):
    """Up to single samples whose dose equals a bin edge within float rounding."""
    for patient, roi, _, curve, structure, highest in reference_cases:
        axis, percents = structure.curve(highest)
        assert len(axis) == len(curve), (patient, roi)
        np.testing.assert_allclose(axis, curve[:, 0], atol=1e-6)
        np.testing.assert_allclose(percents, curve[:, 1], atol=0.02, err_msg=f"{patient} {roi}")


@given(st.integers(1, 900), st.sampled_from(("0.1", "0.3", "0.7", "1.1", "2.9", "7.3", "0.064", "2.197")), st.data())
@settings(max_examples=200, deadline=None)
def test_whole_numbers_of_samples_are_not_lost_to_rounding(number, sample_volume, data):
    """The dose of the hottest `number` samples, exactly that of the next cooler one, in cc and in percent."""
    samples = np.arange(1000, dtype=np.float32)
    cc = Fraction(sample_volume) * number / 1000
    structure = StructureDose(samples, float(Fraction(sample_volume)))
    assert structure.metric(Metric("Dcc", float(cc))) == 999 - number
    assert structure.metric(Metric("D%", float(Fraction(number, 10)))) == 999 - number


def test_voxel_volume_decides_what_a_hot_volume_is():
    """0.1 cc of samples of 2 mm3 are 50 of them, of samples of 5 mm3 20; more than there is gives the minimum."""
    samples = np.arange(100, dtype=np.float32)
    assert [StructureDose(samples, v).metric(Metric("Dcc", 0.1)) for v in (2.0, 5.0, 0.5)] == [49, 79, 0]
    assert StructureDose(samples, 5.0).volume_cc == 0.5
    assert OversampledDose(np.ones((2, 2, 2), np.float32), 40.0).sample_volume_mm3 == 5


def test_first_point_of_a_curve_is_the_whole_structure():
    structure = StructureDose(np.float32([0.0, 0.05, 10.0, 20.0]), 1.0)
    doses, percents = structure.curve(20.0, start=0.1, step=5.0)
    assert doses == pytest.approx([0, 0.1, 5.1, 10.1, 15.1, 20.1]) and percents.tolist() == [100, 50, 50, 25, 25, 0]
    assert structure.curve(0.7)[0] == pytest.approx([0, 0.1, 0.3, 0.5, 0.7]), "SlicerRT's bins"
    doses, percents = structure.curve(0.05)
    assert doses.tolist() == [0, 0.1] and percents.tolist() == [100, 50]


def test_negative_voxels_are_counted():
    dose = np.float32([[[-1.0, 0.0, 2.0, -0.5]]])
    assert OversampledDose(dose, 8.0).n_negative == 2 and OversampledDose(dose, 8.0).highest == 2
    assert OversampledDose(np.abs(dose), 8.0).n_negative == 0
    assert OversampledDose(dose, 8.0).shape == (2, 2, 8)
    assert OversampledDose(np.float32([[[-3.0]]]), 8.0).highest == 0
