"""The made-up patient: the same on every call, anatomically in its place, with a plan a physicist would accept."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from DeepDosePredictLib.patient.case import GRID, Case
from DeepDosePredictLib.patient.rois import PTVS, ROIS, prescription
from DeepDosePredictLib.phantom import anatomy as phantom
from DeepDosePredictLib.phantom import plan as phantom_plan

VOLUMES_CC = {
    "Brainstem": (25, 35),
    "SpinalCord": (15, 25),
    "RightParotid": (18, 32),
    "LeftParotid": (18, 32),
    "Larynx": (20, 40),
    "Esophagus": (5, 15),
    "Mandible": (45, 65),
    "PTV56": (80, 250),
    "PTV63": (80, 250),
    "PTV70": (150, 250),
}


@pytest.fixture(scope="session")
def patient() -> Case:
    return phantom.head_and_neck_phantom()


def centre(mask: np.ndarray) -> np.ndarray:
    """Mean index (k, j, i)."""
    return np.argwhere(mask).mean(0)


def dose_covering(patient: Case, roi: str, percent: float) -> float:
    return float(np.percentile(patient.dose[patient.rois[roi]], 100 - percent))


def dilated(mask: np.ndarray) -> np.ndarray:
    """A mask and its six neighbours."""
    wider = mask.copy()
    for axis in range(3):
        for shift in (-1, 1):
            wider |= np.roll(mask, shift, axis)
    return wider


@pytest.mark.slow
def test_every_call_gives_the_same_patient_on_any_number_of_threads(patient):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        again = phantom.head_and_neck_phantom()
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    for one, other in (
        (patient.ct, again.ct),
        (patient.rois.bits, again.rois.bits),
        (patient.dose_mask, again.dose_mask),
        (patient.dose, again.dose),
    ):
        assert one.tobytes() == other.tobytes()


def test_grid_and_structures(patient):
    assert patient.name == "phantom"
    assert patient.shape == GRID
    assert patient.spacing == (2.5, 3.906, 3.906)
    assert patient.rois.present() == ROIS
    assert patient.dose.dtype == np.float32


@pytest.mark.parametrize("roi", ROIS)
def test_volumes_are_those_of_a_patient(patient, roi):
    low, high = VOLUMES_CC[roi]
    assert low < np.count_nonzero(patient.rois[roi]) * patient.voxel_volume_mm3 / 1000 < high


def test_organs_are_in_their_places(patient):
    (right, left, cord, brainstem, larynx, mandible, esophagus) = (
        centre(patient.rois[name])
        for name in ("RightParotid", "LeftParotid", "SpinalCord", "Brainstem", "Larynx", "Mandible", "Esophagus")
    )
    middle = (GRID[2] - 1) / 2
    assert right[2] < middle - 10 and left[2] > middle + 10
    assert right[:2] == pytest.approx(left[:2], abs=1)
    assert cord[2] == pytest.approx(middle, abs=1)
    assert brainstem[0] > right[0] > larynx[0] > esophagus[0]
    assert mandible[1] < right[1] < cord[1]
    assert np.argwhere(patient.rois["SpinalCord"])[:, 0].max() + 1 == np.argwhere(patient.rois["Brainstem"])[:, 0].min()


def test_tumour_is_on_the_right_and_the_elective_neck_on_both_sides(patient):
    middle = (GRID[2] - 1) / 2
    assert centre(patient.rois["PTV70"])[2] < middle - 3
    sides = np.argwhere(patient.rois["PTV56"])[:, 2] < middle
    assert 0.15 < sides.mean() < 0.5


def test_targets_are_disjoint_and_keep_their_distance(patient):
    for one, other in combinations(PTVS, 2):
        assert not (patient.rois[one] & patient.rois[other]).any()
    targets = np.logical_or.reduce([patient.rois[name] for name in PTVS])
    assert not (dilated(targets) & ~patient.dose_mask).any()
    assert not (dilated(targets) & patient.rois["SpinalCord"]).any()


def test_dose_mask_is_the_body_near_the_targets(patient):
    slices = np.flatnonzero(patient.dose_mask.any((1, 2)))
    targets = np.flatnonzero(np.logical_or.reduce([patient.rois[name] for name in PTVS]).any((1, 2)))
    assert (targets[0] - slices[0]) * 2.5 == (slices[-1] - targets[-1]) * 2.5 == 25
    assert np.median(patient.ct[patient.dose_mask]) == pytest.approx(40, abs=25)
    assert (patient.ct[slices[0] : slices[-1] + 1][~patient.dose_mask[slices[0] : slices[-1] + 1]] < -400).all()


def test_ct_has_air_soft_tissue_and_bone_where_they_belong(patient):
    ct, rois = patient.ct, patient.rois
    assert ct.dtype == np.int16 and ct.min() == -1000 and 1500 < ct.max() <= 3000
    assert (ct[:, 0] == -1000).all() and (ct[-1] == -1000).all()
    assert np.median(ct[rois["Brainstem"]]) == pytest.approx(35, abs=15)
    assert np.median(ct[rois["Mandible"]]) > 300
    assert ((ct < -500) & rois["Larynx"]).any()  # the glottis
    assert ((ct < -800) & patient.dose_mask).sum() > 300  # pharynx, trachea, sinuses


def test_bone_surrounds_the_cord(patient):
    cord, rows = patient.rois["SpinalCord"], 4
    assert np.percentile(patient.ct[cord], 99) < 150
    for k in np.flatnonzero(cord.any((1, 2)))[::10]:
        _, j, i = np.rint(centre(cord[k : k + 1])).astype(int)
        ring = patient.ct[max(0, k - 3) : k + 4, j - rows - 2 : j + rows + 3, i - rows - 2 : i + rows + 3].max(0)
        assert (ring[:6] > 300).any() and (ring[7:] > 300).any(), k
        assert (ring[:, :6] > 300).any() and (ring[:, 7:] > 300).any(), k


def test_dose_is_positive_in_the_mask_and_nowhere_else(patient):
    np.testing.assert_array_equal(patient.dose > 0, patient.dose_mask)
    assert 71 < patient.dose.max() < 80


@pytest.mark.parametrize("ptv", PTVS)
def test_targets_are_covered(patient, ptv):
    assert dose_covering(patient, ptv, 95) >= 0.95 * prescription(ptv)
    assert dose_covering(patient, ptv, 99) >= 0.90 * prescription(ptv)
    assert dose_covering(patient, ptv, 50) == pytest.approx(prescription(ptv), rel=0.04)


def test_organs_are_spared(patient):
    assert dose_covering(patient, "PTV70", 1) <= 77
    assert patient.dose[patient.rois["SpinalCord"]].max() < 45
    assert patient.dose[patient.rois["Brainstem"]].max() < 45
    assert patient.dose[patient.rois["LeftParotid"]].mean() < 26
    assert patient.dose[patient.rois["Larynx"]].mean() < 45


def test_beams_enter_at_their_gantry_angles():
    """An open beam on a cylinder of water, off the middle of the grid, falls off with depth from its side."""
    radius, x0, y0 = 100.0, 60.0, -40.0
    y, x = np.meshgrid(*2 * [(np.arange(GRID[1]) - (GRID[1] - 1) / 2) * 3.906], indexing="ij")
    water = np.hypot(x - x0, y - y0) < radius
    beams = phantom_plan._Beams(np.where(water, 0, -1000).astype(np.int16)[None], water[None])
    x, y = x[water] - x0, y[water] - y0
    for beam, gantry in enumerate(np.radians(range(0, 360, 40))):  # 0 from the front, 90 from the patient's left
        weights = torch.zeros(beams.shape)
        weights[beam] = 1
        towards = x * np.sin(gantry) - y * np.cos(gantry)
        across = x * np.cos(gantry) + y * np.sin(gantry)
        depth = np.sqrt(radius**2 - across**2) - towards
        deep = (depth > 20) & (abs(across) < 80)
        expected = (1 - 0.5 * np.exp(-depth / 5)) * np.exp(-phantom_plan.ATTENUATION_PER_MM * depth)
        ratio = (beams.dose(weights).numpy() / expected)[deep]
        assert np.abs(ratio / ratio.mean() - 1).max() < 0.04


def test_backprojection_is_the_transpose_of_dose(patient):
    slices = slice(40, 44)
    beams = phantom_plan._Beams(patient.ct[slices], patient.dose_mask[slices])
    random = torch.Generator().manual_seed(0)
    weights = torch.rand(beams.shape, generator=random)
    values = torch.rand(int(patient.dose_mask[slices].sum()), generator=random)
    assert float(beams.dose(weights) @ values) == pytest.approx(float((beams.back(values) * weights).sum()), rel=1e-4)
