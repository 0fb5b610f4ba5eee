"""Training end to end on made-up patients: learning, exact resume, data parallel, scores, export, configurations."""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from argparse import ArgumentTypeError
from dataclasses import replace
from functools import cache
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
import yaml

from deepdose_training.cli import left_out, main
from deepdose_training.combine import average_models
from deepdose_training.configuration import DataConfig, ScheduleConfig, TrainingConfig, read_config
from deepdose_training.dataset import (
    CACHED_ROIS,
    Plans,
    Sample,
    ShardSampler,
    cache_patients,
    collate,
    derived_masks,
)
from deepdose_training.dose_module import MIRRORED_BITS, DoseModule, learning_rate_schedule
from deepdose_training.export import export_checkpoint
from deepdose_training.train import start_from, train
from deepdose_training.train_planner import LeftOut, PlannedPatient, PlannerModule, PlannerTraining, train_planner
from DeepDosePredictLib.dvh.metrics import score_patient
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS, ChannelSpec
from DeepDosePredictLib.model.model_file import load_model, load_planner, planner_hash, save_planner
from DeepDosePredictLib.model.predictor import Predictor
from DeepDosePredictLib.patient.roi_mask import decode, swap_bits
from DeepDosePredictLib.patient.rois import DOSE_MASK, ROIS
from DeepDosePredictLib.planner.delivery import plan_dose
from DeepDosePredictLib.planner.planner import Planner
from DeepDosePredictLib.planner.planning_case import PlanningCase
from synthetic import make_case as new_case
from synthetic import make_model, write_cohort

ROOT = Path(__file__).resolve().parents[1]
NETWORK = {"widths": [4, 4, 4], "growth": 4, "head_channels": 4, "norm": "group", "group_size": 2}
QUIET = {"accelerator": "cpu", "devices": 1, "enable_progress_bar": False, "enable_model_summary": False}
make_case = cache(new_case)
"""The same case for the same seed: no test here changes one."""
CELL_CHANNELS = ["density", *DEFAULT_CHANNELS[1:], "plan_dose", "feature/near the targets", "spacing/k"]
CELL_NETWORK = {"widths": [8, 16, 16], "dilations": [1]}
QUIET_PLANNER = {"enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    """Four training and two validation patients."""
    return write_cohort(tmp_path_factory.mktemp("cohort"), train=range(4), validation=range(10, 12))


@pytest.fixture(scope="module")
def pair(cohort, tmp_path_factory) -> Path:
    """Two of the training patients and one of the validation patients, for what takes long."""
    root = tmp_path_factory.mktemp("pair")
    for name in ("train/pt_0", "train/pt_1", "validation/pt_10"):
        shutil.copytree(cohort / name, root / name)
    return root


def settings(cohort: Path, **changes) -> dict:
    return {
        "name": "tiny",
        "epochs": 2,
        "mirror": 0.5,
        "ema": 0.5,
        "network": NETWORK,
        "loss": {"mae": 1.0, "value_dvh": 0.1},
        "data": {
            "train": str(cohort / "train"),
            "validation": str(cohort / "validation"),
            "cache": str(cohort / "cache"),
        },
        "optimizer": {"name": "adamw", "lr": 0.01},
        "schedule": {"name": "onecycle"},
        "precision": "32-true",
    } | changes


def configuration(tmp_path: Path, cohort: Path, *overrides: str, **changes) -> TrainingConfig:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings(cohort, **changes)))
    return read_config(path, overrides)


def logged(run: Path, column: str) -> list[float]:
    """Values of a column in the CSV logs of a run; every start of the run has a log of its own."""
    values = []
    for path in sorted((run / "csv").glob("*/metrics.csv")):
        with path.open(newline="") as file:
            values += [float(row[column]) for row in csv.DictReader(file) if row.get(column)]
    return values


def weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


@pytest.mark.slow
def test_training_learns_and_exports(tmp_path, cohort):
    config = configuration(tmp_path, cohort, "epochs=12", "validate_every=6")
    path = train(config, tmp_path / "run", **QUIET)
    losses = logged(tmp_path / "run", "train/mae")
    assert losses[-1] < 0.6 * losses[0]
    assert list((tmp_path / "run" / "tensorboard").iterdir())
    model = load_model(path)
    assert model.contract.name == "tiny" and model.contract.channels.names[0] == "ct"
    # The exported file predicts what the validated checkpoint predicted: same score up to half precision.
    case = make_case("pt_10", seed=10)
    other = make_case("pt_11", seed=11)
    predictor = Predictor(model, "cpu")
    errors = [
        score_patient(c.name, c.dose, predictor.predict(c).dose, c.rois, c.dose_mask, 1.0).dose_error
        for c in (case, other)
    ]
    assert np.mean(errors) == pytest.approx(min(logged(tmp_path / "run", "val/dose_score")), abs=0.5)


@pytest.mark.slow
def test_resume_is_exact(tmp_path, cohort):
    """Stopping after the second of four epochs and going on gives the very weights of an uninterrupted run."""
    schedule = {"name": "trapezoid", "warmup_steps": 2, "decay_fraction": 0.3}
    config = configuration(tmp_path, cohort, epochs=4, validate_every=3, schedule=schedule)
    train(config, tmp_path / "whole", **QUIET)
    with pytest.raises(_StopError):
        train(config, tmp_path / "parts", **QUIET, callbacks_extra=[_StopAfter(2)])
    train(config, tmp_path / "parts", resume=True, **QUIET)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


class _StopError(Exception):
    pass


class _StopAfter(lightning.Callback):
    """Ends a run in the middle of an epoch, as a crash would."""

    def __init__(self, epochs: int):
        self.epochs = epochs

    def on_train_batch_start(self, trainer, module, batch, batch_index):
        if trainer.current_epoch == self.epochs and batch_index == 1:
            raise _StopError


@pytest.mark.slow
def test_two_processes_equal_one_on_the_same_global_batch(tmp_path, cohort):
    """DDP over gloo: batch 1 in two processes against batch 2 in one; scores agree within 1e-3 Gy."""
    train(configuration(tmp_path, cohort, batch_size=2), tmp_path / "one", **QUIET)
    path = tmp_path / "two.yaml"
    path.write_text(yaml.safe_dump(settings(cohort, batch_size=1)))
    command = [sys.executable, ROOT / "Training" / "train.py", path, "--run", tmp_path / "two"]
    process = subprocess.run(
        [*map(str, command), "--accelerator", "cpu", "--devices", "2"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.returncode == 0, process.stderr[-3000:]
    one, two = (
        [logged(tmp_path / run, f"val/{name}") for name in ("dose_score", "dvh_score")] for run in ("one", "two")
    )
    assert len(one[0]) == 2 and (tmp_path / "two" / "tiny.safetensors").is_file()
    np.testing.assert_allclose(two, one, atol=1e-3)


def test_validation_gives_the_official_scores(tmp_path, cohort):
    """From crops, counts of voxels outside and torch, the module gets what the metrics get from whole volumes."""
    case = make_case("pt_10", seed=10)
    module = DoseModule(configuration(tmp_path, cohort)).eval()
    batch = collate([(0, Sample.from_case(case))])
    assert batch["outside"][0, ROIS.index("SpinalCord")] == 4 * 10, "the cord must leave the crop for this to be a test"
    with torch.no_grad():
        predicted = module.predict_dose(batch["ct"], batch["bits"])
    ours = module._score(batch, predicted, 0)
    whole = np.zeros(case.shape, np.float32)
    whole[48:80, 48:80, 48:80] = predicted[0].numpy()
    official = score_patient("x", case.dose, whole, case.rois, case.dose_mask, case.voxel_volume_mm3)
    assert ours.dose_error == pytest.approx(official.dose_error, abs=1e-5)
    assert ours.reference.keys() == official.reference.keys()
    for roi in official.reference:
        assert ours.reference[roi] == pytest.approx(official.reference[roi], abs=1e-5)
        assert ours.predicted[roi] == pytest.approx(official.predicted[roi], abs=1e-5)


def test_cache_is_lossless_and_reused(tmp_path, cohort):
    first = cache_patients(cohort / "validation", tmp_path)
    files = sorted(tmp_path.rglob("*.safetensors"))
    times = [path.stat().st_mtime_ns for path in files]
    second = cache_patients(cohort / "validation", tmp_path)
    assert [path.stat().st_mtime_ns for path in files] == times and len(files) == 2
    case = make_case("pt_10", seed=10)
    for sample in (first[0], second[0]):
        assert sample.name == "pt_10" and sample.ct.shape == (32, 32, 32)
        np.testing.assert_allclose(sample.dose.numpy(), case.dose[48:80, 48:80, 48:80], atol=1e-3)
        for r, roi in enumerate(ROIS):
            inside = decode(sample.bits, r).sum() + sample.outside[r]
            assert inside == case.rois[roi].sum()


def test_collate_pads_with_air_outside_the_dose_mask():
    small, large = (Sample.from_case(make_case("a", seed=s)) for s in (0, 1))
    small = replace(small, **{key: getattr(small, key)[:16] for key in ("ct", "bits", "dose")})
    batch = collate([(3, small), (5, large)])
    assert batch["ct"].shape == (2, 32, 32, 32) and batch["index"].tolist() == [3, 5]
    assert (batch["ct"][0, 16:] == -1000).all() and not batch["bits"][0, 16:].any()


def test_shards_cover_every_patient_and_share_one_order():
    whole = ShardSampler(9, 0, 1, shuffle=True, seed=4)
    whole.set_epoch(2)
    shards = [ShardSampler(9, rank, 2, shuffle=True, seed=4) for rank in range(2)]
    for shard in shards:
        shard.set_epoch(2)
    order = list(whole)
    assert sorted(order) == list(range(9))
    assert [list(shard) for shard in shards] == [order[0:8:2], order[1:8:2]]
    assert sorted(i for rank in range(2) for i in ShardSampler(9, rank, 2, shuffle=False)) == list(range(9))
    whole.set_epoch(3)
    assert list(whole) != order


def test_mirroring_swaps_the_parotids_and_nothing_else():
    bits = Sample.from_case(make_case()).bits
    swapped = swap_bits(bits, MIRRORED_BITS)
    for r, roi in enumerate(CACHED_ROIS):
        other = {"RightParotid": "LeftParotid", "LeftParotid": "RightParotid"}.get(roi, roi)
        assert torch.equal(decode(swapped, r), decode(bits, CACHED_ROIS.index(other)))


def test_derived_masks_keep_to_the_slices_of_the_targets_and_take_dose_with_them():
    """Some masks stay, some are cut, some become the body; the structures stay, and no dose lies outside the mask."""
    batch = batch_of(8)
    changed = derived_masks(batch, 0.75, seed=1, epoch=0)
    bit = CACHED_ROIS.index(DOSE_MASK)
    old, new = decode(batch["bits"], bit), decode(changed["bits"], bit)
    same = [torch.equal(a, b) for a, b in zip(old, new, strict=True)]
    assert 0 < sum(same) < 8 and torch.equal(batch["bits"] & ~(1 << bit), changed["bits"] & ~(1 << bit))
    assert not (changed["dose"] * ~new).any() and torch.equal(changed["dose"], batch["dose"] * new)
    for n in range(8):
        slices = new[n].any(-1).any(-1)
        targets = decode(batch["bits"][n], CACHED_ROIS.index("PTV56")).any(-1).any(-1)
        assert slices[targets].all() and not (slices & ~old[n].any(-1).any(-1)).any()
    assert torch.equal(derived_masks(batch, 0.75, seed=1, epoch=0)["bits"], changed["bits"])


def batch_of(n: int) -> dict:
    return collate([(i, Sample.from_case(make_case(seed=i))) for i in range(n)])


def test_flips_keep_volumes_together_and_follow_seed_and_patient(tmp_path, cohort):
    batch = batch_of(6)
    module = DoseModule(configuration(tmp_path, cohort, "mirror=0.5", "mirror_axial=0.5"))
    flipped, drawn = module._flipped(batch), module._flips(batch["index"])
    assert torch.equal(drawn, module._flips(batch["index"].flip(0)).flip(0))
    assert len({tuple(row) for row in drawn.tolist()}) > 2
    for n, (left_right, head_foot) in enumerate(drawn.tolist()):
        dose, bits = batch["dose"][n], batch["bits"][n]
        if left_right:
            dose, bits = dose.flip(-1), swap_bits(bits.flip(-1), MIRRORED_BITS)
        if head_foot:
            dose, bits = dose.flip(0), bits.flip(0)
        assert torch.equal(flipped["dose"][n], dose) and torch.equal(flipped["bits"][n], bits)


def test_a_run_may_start_from_a_models_weights(tmp_path, cohort):
    config = configuration(tmp_path, cohort, "epochs=1", "optimizer.lr=0", "ema=0", "optimizer.weight_decay=0")
    model = make_model(tmp_path / "start.safetensors", seed=5)
    exported = train(config, tmp_path / "run", init=model, **QUIET)
    before, after = (load_model(path).network.state_dict() for path in (model, exported))
    assert all(torch.equal(before[key], after[key]) for key in before)
    other = make_model(tmp_path / "other.safetensors", widths=(4, 4, 8))
    with pytest.raises(DeepDoseError, match=r"other\.safetensors: its network differs"):
        train(config, tmp_path / "run2", init=other, **QUIET)
    with pytest.raises(DeepDoseError, match="its channels"):
        start_from(DoseModule(configuration(tmp_path, cohort, "prescription=60")), model)
    with pytest.raises(DeepDoseError, match="its channels"):
        start_from(DoseModule(configuration(tmp_path, cohort, channels=[*DEFAULT_CHANNELS, "spacing/k"])), model)


def test_a_model_with_beams_predicts_what_was_validated(tmp_path, cohort, case):
    """Cache, training and predictor make the same plan, by the planner that the configuration names."""
    angles, planner = list(range(0, 360, 40)), Planner()
    torch.nn.init.normal_(planner.judge[-1].weight, std=0.3)
    save_planner(tmp_path / "planner.safetensors", planner)
    config = configuration(
        tmp_path,
        cohort,
        "epochs=1",
        f"gantry_angles={angles}",
        planner=str(tmp_path / "planner.safetensors"),
        channels=[*DEFAULT_CHANNELS, "plan_dose", "spacing/k"],
        network=NETWORK,
    )
    model = load_model(train(config, tmp_path / "run", **QUIET))
    assert model.contract.channels.gantry_angles == tuple(angles)
    assert planner_hash(model.planner) == planner_hash(planner) != planner_hash(Planner())
    predictor = Predictor(model, "cpu")
    errors = [
        score_patient(c.name, c.dose, predictor.predict(c).dose, c.rois, c.dose_mask, 1.0).dose_error
        for c in (make_case("pt_10", seed=10), make_case("pt_11", seed=11))
    ]
    assert np.mean(errors) == pytest.approx(logged(tmp_path / "run", "val/dose_score")[-1], abs=0.2)


@pytest.mark.slow
def test_training_on_cells(tmp_path, cohort):
    """It learns on slabs of changed patients; a resumed run is the same; the model predicts what was validated."""
    settings = {
        "epochs": 4,
        "validate_every": 2,
        "architecture": "CellNet",
        "augment": {"slabs": [8, 0]},
        "mirror_axial": 0.5,
        "derived_mask": 0.3,
        "gantry_angles": [0, 120, 240],
        "channels": CELL_CHANNELS,
        "network": CELL_NETWORK,
        "single_pass": False,
    }
    config = configuration(tmp_path, cohort, **settings)
    model = load_model(train(config, tmp_path / "whole", **QUIET))
    losses = logged(tmp_path / "whole", "train/loss_epoch")
    assert losses[-1] < losses[0]
    with pytest.raises(_StopError):
        train(config, tmp_path / "parts", **QUIET, callbacks_extra=[_StopAfter(2)])
    train(config, tmp_path / "parts", resume=True, **QUIET)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    errors = [
        score_patient(c.name, c.dose, Predictor(model, "cpu").predict(c).dose, c.rois, c.dose_mask, 1.0).dose_error
        for c in (make_case("pt_10", seed=10), make_case("pt_11", seed=11))
    ]
    assert np.mean(errors) == pytest.approx(min(logged(tmp_path / "whole", "val/dose_score")), abs=0.1)
    fine = configuration(tmp_path, cohort, **settings | {"augment": None, "loss": {"mae": 1.0, "value_dvh": 0.2}})
    whole_patients = train(fine, tmp_path / "fine", init=model.path, **QUIET)
    assert load_model(whole_patients).contract.architecture == "CellNet"


@pytest.mark.slow
def test_planner_learns(tmp_path, pair):
    """Its plans come nearer to the reference doses, also from a planner that was trained before."""
    config = configuration(tmp_path, pair, "gantry_angles=[0, 120, 240]")
    first = train_planner(config, tmp_path / "planner.safetensors", PlannerTraining(3), **QUIET_PLANNER)
    again = PlannerTraining(1, init=first)
    second = train_planner(config, tmp_path / "second.safetensors", again, **QUIET_PLANNER)
    factors_only = PlannerTraining(4, init=first, bixel_factors=True)
    third = train_planner(config, tmp_path / "third.safetensors", factors_only, **QUIET_PLANNER)
    case = make_case("pt_1", seed=1)

    def error(planner: Planner) -> float:
        plan = plan_dose(planner, PlanningCase.of(case), (0, 120, 240))
        return float(np.abs(70 * plan - case.dose)[case.dose_mask].mean())

    untrained, trained, again, preferring = map(error, (Planner().eval(), *map(load_planner, (first, second, third))))
    assert trained < untrained and again < untrained and preferring < trained
    frozen, changed = (load_planner(path).state_dict() for path in (first, third))
    assert all(torch.equal(frozen[n], changed[n]) for n in frozen if not n.startswith("bixel_factors."))
    with pytest.raises(DeepDoseError, match="--init"):
        train_planner(config, tmp_path / "x.safetensors", PlannerTraining(bixel_factors=True))
    with pytest.raises(DeepDoseError, match="no gantry angles"):
        train_planner(configuration(tmp_path, pair), tmp_path / "x.safetensors", PlannerTraining())


@pytest.mark.slow
def test_a_planners_training_goes_on_where_it_stopped(tmp_path, pair, monkeypatch):
    config = configuration(tmp_path, pair, "gantry_angles=[0, 120, 240]")
    whole = train_planner(config, tmp_path / "whole.safetensors", PlannerTraining(3, copies=1), **QUIET_PLANNER)

    def stop(module: PlannerModule) -> None:
        if module.current_epoch == 2:
            raise _StopError

    with monkeypatch.context() as patch:
        patch.setattr(PlannerModule, "on_train_epoch_end", stop)
        with pytest.raises(_StopError):
            train_planner(config, tmp_path / "parts.safetensors", PlannerTraining(3, copies=1), **QUIET_PLANNER)
    assert not (tmp_path / "parts.safetensors").exists()
    parts = train_planner(config, tmp_path / "parts.safetensors", PlannerTraining(3, copies=1), **QUIET_PLANNER)
    assert planner_hash(load_planner(parts)) == planner_hash(load_planner(whole))


@pytest.mark.slow
def test_plans_by_planners_that_have_not_seen_the_patient(tmp_path, pair, cohort):
    """Training patients get them in turn, validation patients get the planner's; who is left out teaches nothing."""
    alone = configuration(tmp_path, pair, "gantry_angles=[0, 120, 240]")
    paths = [tmp_path / f"without-{n}.safetensors" for n in range(2)]
    for n, path in enumerate(paths):
        train_planner(alone, path, PlannerTraining(3, without=LeftOut(n, 2)), **QUIET_PLANNER)
    names = [sample.name for sample in cache_patients(cohort / "train", tmp_path / "cache")]
    assert LeftOut(1, 2).rest(names) == names[::2] and LeftOut(0, 4).rest(names) == names[1:]
    config = configuration(
        tmp_path, cohort, "gantry_angles=[0, 120, 240]", held_out_planners=list(map(str, paths)), planner=str(paths[0])
    )
    found = cache_patients(pair / "train", tmp_path / "cache", Plans.of_training_patients(config))
    for n, sample in enumerate(found):
        ours, others = (Plans((0, 120, 240), paths[m % 2]) for m in (n, n + 1))
        case = read_openkbp(pair / "train" / sample.name)
        assert torch.equal(sample.plan_dose, ours.sample(case).plan_dose)
        assert not torch.equal(sample.plan_dose, others.sample(case).plan_dose)
    assert Plans.of_training_patients(alone) == [Plans.of(alone)]


def test_halves_of_a_patient_count_as_much(cohort, tmp_path):
    whole = PlannedPatient.of(cache_patients(cohort / "train", tmp_path)[0], 70.0, (0, 120, 240))
    halves = whole.halves()
    for half in halves:
        assert float(half.counts.sum()) == pytest.approx(float(whole.counts.sum()), rel=0.02)
        assert float(half.difference(half.reference + 0.5)) == pytest.approx(0.5)
        assert half.dose(Planner(bixel_factors=1).eval(), (-1,)).shape == half.reference.shape
    places = [torch.stack(part.problem.voxels.index).T.tolist() for part in (whole, *halves)]
    assert sorted(places[0]) == sorted(places[1] + places[2])
    every = slice(1, None, 2)
    assert torch.equal(halves[1].problem.voxels.rays.depth, whole.problem.voxels.rays.depth[:, every])
    assert torch.equal(halves[1].problem.features, whole.problem.features[every])


def test_who_is_left_out_is_checked():
    assert left_out("3/4") == LeftOut(3, 4)
    for text in ("4/4", "1", "1/", "-1/4", "0/1", "a/b"):
        with pytest.raises(ArgumentTypeError, match="is not FIRST/OF"):
            left_out(text)


def test_schedules():
    def rates(config, steps):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
        schedule = learning_rate_schedule(config, optimizer, steps)
        values = []
        for _ in range(steps):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return values

    trapezoid = ScheduleConfig("trapezoid", warmup_steps=4, decay_fraction=0.5)
    short, long = rates(trapezoid, 20), rates(trapezoid, 40)
    assert short[:4] == [0.5, 1.0, 1.5, 2.0] and short[9] == 2.0 and short[-1] == pytest.approx(0.2)
    assert long[:11] == short[:11], "on the plateau the planned length must not matter"
    onecycle = rates(ScheduleConfig("onecycle"), 20)
    assert max(onecycle) == pytest.approx(2.0, rel=0.02) and onecycle[-1] < 0.01
    assert set(rates(ScheduleConfig("constant"), 5)) == {2.0}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["epoch=3"], "unknown setting 'epoch'"),
        (["optimizer.speed=1"], "unknown setting 'optimizer.speed'"),
        (["epochs=many"], "epochs must be a number"),
        (["epochs=2.5"], "whole number"),
        (["epochs"], "key=value"),
        (["data=3"], "expected settings of DataConfig"),
        (["schedule.name=cubic"], "schedule.name must be one of constant, onecycle, trapezoid, not 'cubic'"),
        (["single_pass=maybe"], "single_pass must be true or false"),
    ],
)
def test_mistakes_in_configurations_are_named(tmp_path, cohort, overrides, message):
    with pytest.raises(DeepDoseError, match=message):
        configuration(tmp_path, cohort, *overrides)


def test_an_impossible_network_is_named_before_patients_are_read(tmp_path):
    config = configuration(tmp_path, tmp_path / "none", "network.width=3")
    with pytest.raises(DeepDoseError, match="no such network"):
        train(config, tmp_path / "run", **QUIET)


def test_overrides(tmp_path, cohort):
    config = configuration(tmp_path, cohort, "epochs=7", "optimizer.lr=1e-4")
    assert config.epochs == 7 and config.optimizer.lr == 1e-4


def test_a_configuration_extends_another_one(tmp_path):
    """Mappings are merged, other values replaced, null takes away; a circle is named."""
    (tmp_path / "deeper").mkdir()
    (tmp_path / "base.yaml").write_text("""
name: base
data: {train: a, validation: b}
loss: {mae: 1.0, cdm: {weight: 0.5, goals: openkbp}, value_dvh: 0.1}
gantry_angles: [0, 90]
""")
    (tmp_path / "deeper" / "middle.yaml").write_text("extends: ../base.yaml\nname: middle\nloss: {cdm: {weight: 0.2}}")
    (tmp_path / "last.yaml").write_text("extends: deeper/middle.yaml\nloss: {value_dvh: null}\ngantry_angles: [45]")
    config = read_config(tmp_path / "last.yaml", ["data.train=c"])
    assert config.name == "middle" and config.gantry_angles == [45] and config.data == DataConfig("c", "b")
    assert config.loss == {"mae": 1.0, "cdm": {"weight": 0.2, "goals": "openkbp"}}
    (tmp_path / "base.yaml").write_text("extends: deeper/middle.yaml")
    with pytest.raises(DeepDoseError, match=r"extends itself"):
        read_config(tmp_path / "last.yaml")
    (tmp_path / "base.yaml").write_text("extends: none.yaml")
    with pytest.raises(DeepDoseError, match=r"none\.yaml"):
        read_config(tmp_path / "last.yaml")


@pytest.mark.parametrize("path", sorted((ROOT / "Training" / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_build(path):
    DoseModule(read_config(path))


def test_models_of_other_planners_are_not_mixed(tmp_path):
    spec = ChannelSpec((*DEFAULT_CHANNELS, "plan_dose"), gantry_angles=(0, 180))
    paths = [make_model(tmp_path / f"{seed}.safetensors", seed=seed, spec=spec) for seed in (1, 2)]
    with pytest.raises(DeepDoseError, match=r"2\.safetensors: its planner differs"):
        average_models(paths, tmp_path / "x.safetensors", "3")


def test_average_of_models(tmp_path, capsys):
    paths = [make_model(tmp_path / f"{seed}.safetensors", seed=seed, single_pass=False) for seed in (1, 2)]
    mean = tmp_path / "mean.safetensors"
    assert main(["combine", *map(str, paths), "-o", str(mean), "--version", "3", "--validation", "2.5", "1.5"]) == 0
    result = load_model(mean)
    states = [load_model(path).network.state_dict() for path in paths]
    for name, value in result.network.state_dict().items():
        torch.testing.assert_close(value, (states[0][name] + states[1][name]) / 2, atol=1e-3, rtol=1e-3)
    contract = result.contract
    assert not contract.single_pass and contract.version == "3" and "mean of the weights" in contract.recipe
    assert contract.validation == {"dose_score": 2.5, "dvh_score": 1.5}
    other = make_model(tmp_path / "other.safetensors", widths=(4, 4, 8))
    assert main(["combine", str(paths[0]), str(other), "-o", str(mean)]) == 1
    assert "other.safetensors: its network differs" in capsys.readouterr().err


def test_a_checkpoint_is_exported_with_what_is_said_of_it(tmp_path, cohort, capsys):
    """The first argument names the command or is the configuration to train by."""
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(settings(cohort, epochs=1)))
    run, model = tmp_path / "run", tmp_path / "exported.safetensors"
    assert main([str(path), "seed=2", "--run", str(run), "--accelerator", "cpu", "optimizer.lr=0.001"]) == 0
    assert str(run / "tiny.safetensors") in capsys.readouterr().out
    assert main([str(path), "--run", str(run)]) == 1 and "--resume" in capsys.readouterr().err
    checkpoint, config = str(run / "checkpoints" / "last.ckpt"), str(run / "config.yaml")
    options = ["--version", "4", "--no-single-pass", "--validation", "3", "2"]
    assert main(["export", checkpoint, "--config", config, "-o", str(model), *options]) == 0
    ours, theirs = load_model(model), load_model(run / "tiny.safetensors")
    assert (ours.contract.version, ours.contract.single_pass) == ("4", False) and theirs.contract.single_pass
    assert "seed 2" in ours.contract.recipe and ours.contract.validation == {"dose_score": 3, "dvh_score": 2}
    assert all(
        torch.equal(a, b) for a, b in zip(*(m.network.state_dict().values() for m in (ours, theirs)), strict=True)
    )


def test_the_card_says_whom_the_model_learnt_from(tmp_path, cohort):
    """Only a configuration that says so makes it OpenKBP's."""
    config = configuration(tmp_path, cohort)
    module = DoseModule(config)
    checkpoint = tmp_path / "last.ckpt"
    torch.save({"state_dict": module.state_dict(), "epoch": 1, "global_step": 2}, checkpoint)
    for description, words in (("", "patients in train"), ("60 patients of ours", "60 patients of ours")):
        described = replace(config, data=replace(config.data, description=description))
        path = export_checkpoint(checkpoint, described, tmp_path / "model.safetensors")
        assert load_model(path).contract.training_data == words
    shipped = read_config(ROOT / "Training/configs/shipped.yaml")
    assert shipped.data.description.startswith("OpenKBP")


def test_a_missing_planner_stops_an_import_at_once(tmp_path, cohort, capsys):
    """It is not the fault of one patient after the other."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(settings(cohort, gantry_angles=[0, 90], planner=str(tmp_path / "none"))))
    arguments = ["import", cohort / "train", "-o", tmp_path / "cache", "--config", config]
    assert main([str(argument) for argument in arguments]) == 1
    captured = capsys.readouterr()
    assert f"{tmp_path / 'none'}" in captured.err and captured.err.count("\n") == 1
    assert "left out" not in captured.out and not (tmp_path / "cache").exists()
