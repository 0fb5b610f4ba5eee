"""Model files: round trip, and an error for every way to be truncated, wrong or hostile."""

from __future__ import annotations

import json
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from DeepDosePredictLib.errors import ModelError
from DeepDosePredictLib.model import model_file
from DeepDosePredictLib.model.contract import FORMAT, ChannelSpec, read_contract
from DeepDosePredictLib.model.installed import find_model, installed_models
from DeepDosePredictLib.model.model_file import load_model, load_planner
from synthetic import make_model


def test_round_trip_in_half_precision(tmp_path):
    path = make_model(tmp_path / "m.safetensors", single_pass=False, spec=ChannelSpec(prescription=66.0))
    model = load_model(path)
    assert model.contract == read_contract(path)
    assert not model.contract.single_pass and model.contract.channels.prescription == 66.0
    assert not any(p.requires_grad or p.dtype != torch.float32 for p in model.network.parameters())
    for name, tensor in load_file(path).items():
        assert tensor.dtype == torch.float16
        torch.testing.assert_close(model.network.state_dict()[name], tensor.float(), rtol=0, atol=0)


@pytest.mark.slow
def test_planner_goes_with_the_model(tmp_path):
    path = make_model(tmp_path / "m.safetensors", spec=ChannelSpec(("ct", "plan_dose"), gantry_angles=(0, 180)))
    weights = load_planner(path).state_dict()
    assert all(torch.equal(load_model(path).planner.state_dict()[name], weights[name]) for name in weights)
    without = rewritten(
        path,
        tmp_path / "without.safetensors",
        change_weights=lambda w: [w.pop(name) for name in list(w) if name.startswith("planner.")],
    )
    part = rewritten(path, tmp_path / "part.safetensors", change_weights=lambda w: w.pop("planner.log_smoothness"))
    odd = rewritten(
        path,
        tmp_path / "odd.safetensors",
        change_weights=lambda w: w.update({"planner.log_smoothness": torch.tensor(float("nan"))}),
    )
    for path in (without, part):
        with pytest.raises(ModelError, match=rf"{path.name}: its weights do not fit"):
            load_model(path)
    with pytest.raises(ModelError, match=r"odd\.safetensors: the weights have NaN"):
        load_model(odd)
    save_file({}, tmp_path / "other.safetensors", {"format": "something"})
    with pytest.raises(ModelError, match=r"other\.safetensors: neither a planner nor a model"):
        load_planner(tmp_path / "other.safetensors")


@pytest.mark.parametrize(
    ("part", "values", "words"),
    [
        ("network", {"group_size": 3, "widths": [32, 64, 128]}, "groups of 3 channels do not divide"),
        ("network", {"head_channels": 4096}, "head_channels and full_resolution_channels"),
        ("network", {"dilations": [1, 4096]}, "dilations"),
        ("channels", {"gantry_angles": [0, 1e308]}, "gantry angles from -360 to 360"),
    ],
)
def test_contracts_that_break_or_flood_the_memory_later(tmp_path, part, values, words):
    path = make_model(tmp_path / "m.safetensors", spec=ChannelSpec(("ct", "plan_dose"), gantry_angles=(0, 180)))
    path = rewritten(path, tmp_path / "odd.safetensors", lambda contract: contract[part].update(values))
    for read in (read_contract, load_model):
        with pytest.raises(ModelError, match=rf"odd\.safetensors: .*{words}"):
            read(path)


def test_a_planner_of_very_many_networks_is_refused_before_they_are_built(tmp_path, monkeypatch):
    path = make_model(tmp_path / "m.safetensors", spec=ChannelSpec(("ct", "plan_dose"), gantry_angles=(0, 180)))
    names = [f"planner.bixel_factors.{n}.stem.bias" for n in range(20_000)]
    path = rewritten(path, path, change_weights=lambda w: w.update({name: torch.zeros(1) for name in names}))
    monkeypatch.setattr(model_file, "Planner", lambda *_: pytest.fail("it was built"))
    with pytest.raises(ModelError, match=r"m\.safetensors: its planner has 20000 networks, more than 64"):
        load_model(path)


def test_damaged_files(tmp_path, tiny_model):
    content = tiny_model.read_bytes()
    path = tmp_path / "broken.safetensors"
    huge_header = (2**62).to_bytes(8, "little") + content[8:]
    for damaged in (b"", content[:5], content[:200], content[:-10], huge_header, pickle.dumps({"a": 1}), b"\0" * 64):
        path.write_bytes(damaged)
        with pytest.raises(ModelError, match=r"broken\.safetensors"):
            load_model(path)


def test_missing_file(tmp_path):
    with pytest.raises(ModelError, match="no such model file"):
        load_model(tmp_path / "none.safetensors")


def rewritten(source, target, change_contract=None, change_weights=None, **metadata):
    """A copy of a model file with another contract or other weights."""
    contract = json.loads(_metadata(source)["contract"])
    if change_contract:
        change_contract(contract)
    weights = load_file(source)
    if change_weights:
        change_weights(weights)
    save_file(weights, target, {"format": FORMAT, "contract": json.dumps(contract)} | metadata)
    return target


def _metadata(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("channels"),
        lambda c: c.update(architecture="ResNet"),
        lambda c: c["grid"].update(shape=[128, 128]),
        lambda c: c["grid"].update(shape=[10**9, 128, 128]),
        lambda c: c["grid"].update(spacing=[2.5, 4]),
        lambda c: c["grid"].update(spacing=[9, 4, 4]),
        lambda c: c["grid"].update(slices=[3, 1.5]),
        lambda c: c["grid"].update(pixels=[0, float("inf")]),
        lambda c: c["grid"].update(ct_pixels=0),
        lambda c: c.update(surprise=1),
        lambda c: c.update(deliverable_share=2),
        lambda c: c.update(deliverable_share=0.5),
        lambda c: c.update(plan_dose_share=0.5),
        lambda c: c.update(plan_dose_share="much"),
        lambda c: c["network"].update(pooling=2, detail_channel=99),
        lambda c: c["network"].update(widths=[10**6] * 3),
        lambda c: c["network"].update(in_channels=7),
        lambda c: c["network"].update(norm="__import__('os')"),
        lambda c: c["channels"].update(names=["ct", "secret"]),
        lambda c: c["channels"].update(prescription=-1),
    ],
)
def test_impossible_contracts(tmp_path, tiny_model, change):
    path = rewritten(tiny_model, tmp_path / "odd.safetensors", change)
    with pytest.raises(ModelError, match=r"odd\.safetensors: its contract cannot be read"):
        load_model(path)


def test_weights_of_another_architecture(tmp_path, tiny_model):
    path = rewritten(tiny_model, tmp_path / "odd.safetensors", lambda c: c["network"].update(growth=256))
    with pytest.raises(ModelError, match="do not fit the architecture"):
        load_model(path)


def test_weights_that_are_not_finite(tmp_path, tiny_model):
    def damage(weights):
        next(iter(weights.values())).view(-1)[0] = float("nan")

    path = rewritten(tiny_model, tmp_path / "odd.safetensors", change_weights=damage)
    with pytest.raises(ModelError, match="NaN"):
        load_model(path)


def test_other_safetensors_files_and_formats(tmp_path, tiny_model):
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="not a model of this program"):
        load_model(tmp_path / "other.safetensors")
    newer = rewritten(tiny_model, tmp_path / "newer.safetensors", format="deepdose-99")
    with pytest.raises(ModelError, match="deepdose-99"):
        load_model(newer)


def test_unknown_name_lists_what_is_installed():
    with pytest.raises(ModelError, match="no such model"):
        find_model("nonsense")


def test_installed_models_have_cards_and_fit_the_size_limit():
    assert installed_models(), "no model ships"
    for path in installed_models():
        contract = read_contract(path)
        assert contract.name == path.stem and contract.validation and contract.training_data
        assert path.with_suffix(".md").is_file()
        assert path.stat().st_size <= 25e6
