"""The recipe: all stages on made-up patients, stops, other settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from deepdose_training.cli import main
from deepdose_training.recipe import RecipeRun, read_recipe
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.model.predictor import Predictor
from synthetic import make_case, write_cohort

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ROOT / "Training/configs/shipped.yaml"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory) -> Path:
    return write_cohort(tmp_path_factory.mktemp("cohort"), train=range(4), validation=range(10, 12))


def recipe_file(tmp_path: Path, cohort: Path, **changes) -> Path:
    data = {"train": f"{cohort}/train", "validation": f"{cohort}/validation", "cache": f"{tmp_path}/cache"}
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({"extends": str(SHIPPED), "data": data} | changes))
    return path


@pytest.mark.slow
def test_all_of_it(tmp_path, cohort, capsys):
    """From folders to a model that predicts, with scores and card; a second call does nothing; all patients, too."""
    path = recipe_file(tmp_path, cohort)
    command = ["recipe", str(path), "--smoke", "--run", str(tmp_path / "run")]
    assert main(command) == 0
    model = load_model(tmp_path / "run/deepdose-openkbp.safetensors")
    assert model.contract.architecture == "CellNet" and len(model.planner.partners) == 1
    assert set(model.contract.validation) == {"dose_score", "dvh_score"}
    assert Predictor(model, "cpu").predict(make_case("pt_20", seed=20)).dose.max() > 30
    card = model.path.with_suffix(".md").read_text(encoding="utf-8")
    assert "4 patients" in card and "planner-1-together" in card and "Research use only" in card
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*") if file.is_file()}
    capsys.readouterr()
    assert main(command) == 0
    assert "about" not in capsys.readouterr().out
    assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*") if file.is_file()}
    assert main(["recipe", str(path), "--smoke", "--all", "--run", str(tmp_path / "all")]) == 0
    everybody = load_model(tmp_path / "all/deepdose-openkbp.safetensors").contract
    assert not everybody.validation
    assert "6 patients" in (tmp_path / "all/deepdose-openkbp.md").read_text(encoding="utf-8")


def test_stages_are_listed_before_anything_is_made(tmp_path, cohort, capsys):
    assert main(["recipe", str(recipe_file(tmp_path, cohort)), "--list", "--run", str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines][-4:] == ["planners", "network", "fine", "export"]
    assert all("on one core" in line for line in lines) and not (tmp_path / "run").exists()


def test_a_stage_made_with_other_settings_is_not_taken_over(tmp_path, cohort):
    run = tmp_path / "run"
    run.mkdir()
    (run / "planner-0.json").write_text(json.dumps({"made_from": "others", "seconds": 1}))
    recipe = read_recipe(recipe_file(tmp_path, cohort), smoke=True)
    with pytest.raises(DeepDoseError, match=r"planner-0 was made with other settings"):
        RecipeRun(recipe, run).run()


def test_what_decides_on_a_stage(tmp_path, cohort):
    """Settings of a later stage leave an earlier one as it is; the validation interval changes nothing."""

    def settings(**changes) -> dict[str, str]:
        recipe = read_recipe(recipe_file(tmp_path, cohort, **changes), smoke=True)
        stages = RecipeRun(recipe, tmp_path / "run").stages
        return {stage.name: json.dumps(stage.settings, sort_keys=True, default=str) for stage in stages}

    usual = settings()
    assert settings(validate_every=7) == usual
    longer = settings(recipe={"smoke": {"fine": {"epochs": 9}}})
    assert {name for name in usual if usual[name] != longer[name]} == {"fine"}
    others = settings(recipe={"smoke": {"planners": {"epochs": 3}}})
    assert {name for name in usual if usual[name] != others[name]} == {"planner-0", "planner-1"}


def test_planners_need_someone_they_have_not_seen(tmp_path, cohort):
    with pytest.raises(DeepDoseError, match="2 folds or more"):
        read_recipe(recipe_file(tmp_path, cohort, recipe={"planners": {"folds": 1}}))


def test_other_patients_are_another_run(tmp_path, cohort):
    """As many of them, too."""
    usual = RecipeRun(read_recipe(recipe_file(tmp_path, cohort), smoke=True), tmp_path / "run").stages[0].settings
    others = tmp_path / "others"
    shutil.copytree(cohort, others)
    (others / "train/pt_3").rename(others / "train/pt_4")
    data = {"train": f"{others}/train", "validation": f"{others}/validation"}
    recipe = read_recipe(recipe_file(tmp_path, cohort, data=data), smoke=True)
    assert RecipeRun(recipe, tmp_path / "run").stages[0].settings["patients"] != usual["patients"]


def test_a_configuration_without_a_recipe_is_refused(tmp_path):
    with pytest.raises(DeepDoseError, match="no section recipe"):
        read_recipe(ROOT / "Training/configs/published.yaml")
