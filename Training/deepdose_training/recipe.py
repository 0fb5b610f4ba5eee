"""A model from the patients' folders to its file: planners, network, its last stage on whole patients, export.

Every stage writes its result and a record of what it was made from. A stage with a result is passed over, one that was
stopped goes on from its last checkpoint, and one that was made from something else stops the recipe.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import lightning

from DeepDosePredictLib.app.console import progress_bar
from DeepDosePredictLib.dvh.metrics import dose_score, dvh_score, score_patient
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.atomic import atomic_write
from DeepDosePredictLib.io.openkbp import read_openkbp
from DeepDosePredictLib.model.model_file import load_model
from DeepDosePredictLib.model.predictor import Predictor

from .combine import join_planners
from .configuration import DataConfig, TrainingConfig, build_settings, make_config, merged, read_settings
from .dataset import patient_folders
from .export import Release, export_checkpoint
from .train import train
from .train_planner import LeftOut, PlannerTraining, train_planner

PLANNER_SECONDS, SLAB_SECONDS, PATIENT_SECONDS, CELLS_SECONDS = 0.35, 0.17, 1.2, 1.6
"""A training step of a planner, of a network on slabs and on whole patients, and planning a patient, on one core of an
AMD EPYC processor with bf16: the first two as measured in runs, the others estimates."""
TOGETHER, LAST = "-together", Path("checkpoints/last.ckpt")


@dataclass(frozen=True)
class PlannersConfig:
    """Planners, each of which first learns from all patients but every `folds`-th, and then from all.

    Attributes:
        folds: how many; those that have not seen a patient plan for them when the network is trained.
        epochs, rate: of the first training, from random weights.
        together_epochs, together_rate: of the second.
        copies: stretched copies in which every patient is also seen.
    """

    folds: int = 2
    epochs: int = 100
    rate: float = 4e-3
    together_epochs: int = 40
    together_rate: float = 2e-3
    copies: int = 2

    def __post_init__(self) -> None:
        if self.folds < 2:
            raise DeepDoseError(f"planners that have not seen a patient need 2 folds or more, not {self.folds}")


@dataclass(frozen=True)
class Recipe:
    """What a file's `recipe` section and the rest of its settings make.

    Attributes:
        planners: how planners are trained.
        network: of the stage on slabs; the planners train by its data, seed and gantry angles.
        fine: of the stage on whole patients.
        release: shares of deliverable doses in predictions, and the version.
        all_patients: whether validation patients are learnt from, too.
    """

    planners: PlannersConfig
    network: TrainingConfig
    fine: TrainingConfig
    release: Release
    all_patients: bool = False


def read_recipe(path: Path, *, smoke: bool = False, all_patients: bool = False) -> Recipe:
    """Read a configuration with a `recipe` section; DeepDoseError names the mistake.

    Args:
        smoke: with the changes of the section `smoke`: few patients, few steps.
        all_patients: learn from the validation patients, too. As many passes, so nothing is chosen on them any more.
    """
    content = read_settings(path)
    recipe = content.pop("recipe", None)
    if not isinstance(recipe, Mapping):
        raise DeepDoseError(f"{path}: has no section recipe")
    changes = recipe.get("smoke", {})
    recipe = merged({key: value for key, value in recipe.items() if key != "smoke"}, changes if smoke else {})
    common = merged(content, recipe.get("common", {}))
    network = make_config(path, merged(common, recipe.get("network", {})))
    fine = make_config(path, merged(common, recipe.get("fine", {})))
    if all_patients:
        data = replace(network.data, train=[str(network.data.train), network.data.validation])
        network, fine = replace(network, data=data), replace(fine, data=data)
    return Recipe(
        build_settings(PlannersConfig, recipe.get("planners", {}), "recipe.planners."),
        network,
        fine,
        build_settings(Release, recipe.get("release", {}), "recipe.release."),
        all_patients,
    )


@dataclass(frozen=True)
class Stage:
    """A step of the recipe.

    Attributes:
        name: also of its record.
        result: file that it writes last.
        settings: what decides on the result, besides the results of the stages in `needs`.
        make: makes the result; takes a callback for Lightning that notes the time.
        hours: about how long it takes on one core.
    """

    name: str
    result: Path
    settings: Mapping[str, Any]
    needs: Sequence[str]
    make: Callable[[lightning.Callback], object]
    hours: float


@dataclass
class Record:
    """What a stage's result was made from, and in how many seconds; kept beside it from the stage's begin on."""

    path: Path
    made_from: str
    seconds: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    def note(self) -> None:
        """Write down the time until now."""
        now = time.monotonic()
        self.seconds, self.begun = self.seconds + now - self.begun, now
        with atomic_write(self.path) as file:
            file.write(json.dumps({"made_from": self.made_from, "seconds": round(self.seconds, 1)}).encode())


class NoteTime(lightning.Callback):
    """Writes down a stage's time after every epoch, so that a stop loses little of it."""

    def __init__(self, record: Record):
        self.record = record

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self.record.note()


class RecipeRun:
    """A recipe in a folder.

    Args:
        folder: of the run; what is there already is used.
    """

    def __init__(self, recipe: Recipe, folder: Path):
        self.recipe, self.folder = recipe, folder
        self.model = folder / f"{recipe.network.name}.safetensors"
        self.stages = self._stages()

    def describe(self) -> str:
        """The stages with what is done and about how long the others take."""
        lines = []
        for stage in self.stages:
            what = "done" if stage.result.exists() else f"about {stage.hours:.1f} h on one core"
            lines.append(f"{stage.name:12} {what}")
        return "\n".join(lines)

    def run(self) -> Path:
        """Make what is missing; the model file."""
        made_from: dict[str, str] = {}
        for stage in self.stages:
            words = json.dumps([stage.settings, [made_from[name] for name in stage.needs]], sort_keys=True, default=str)
            made_from[stage.name] = sha256(words.encode()).hexdigest()[:16]
            record = self._record(stage, made_from[stage.name])
            if stage.result.exists():
                continue
            print(f"{stage.name} ...", flush=True)
            record.note()
            stage.make(NoteTime(record))
            record.note()
            print(f"{stage.name}: {record.seconds / 3600:.2f} h", flush=True)
        return self.model

    def _record(self, stage: Stage, made_from: str) -> Record:
        path = self.folder / f"{stage.name}.json"
        if not path.exists():
            return Record(path, made_from)
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["made_from"] != made_from:
            raise DeepDoseError(
                f"{self.folder}: {stage.name} was made with other settings or patients; take another folder with --run,"
                f" or delete {path.name} and {stage.result.name} to make it again"
            )
        return Record(path, made_from, content["seconds"])

    def hours(self) -> dict[str, float]:
        """{stage: hours that it took} of what is done."""
        records = {stage.name: self.folder / f"{stage.name}.json" for stage in self.stages}
        return {
            name: json.loads(path.read_text(encoding="utf-8"))["seconds"] / 3600
            for name, path in records.items()
            if path.exists()
        }

    def _stages(self) -> list[Stage]:
        folds = range(self.recipe.planners.folds)
        stages = [stage for fold in folds for stage in self._planner_stages(fold)]
        together = [stage.name for stage in stages if stage.name.endswith(TOGETHER)]
        planners = self.folder / "planners.safetensors"
        paths = [stage.result for stage in stages if stage.name in together]
        stages.append(Stage("planners", planners, {}, together, lambda _: join_planners(paths, planners), 0.0))
        held_out = [str(self._planner(fold)) for fold in folds]
        network, fine = (
            replace(config, planner=str(planners), held_out_planners=held_out)
            for config in (self.recipe.network, self.recipe.fine)
        )
        needs = ["planners", *(stage.name for stage in stages[:-1])]
        n = len(self._patients())
        stages.append(self._training("network", network, needs, n * (network.epochs * SLAB_SECONDS + CELLS_SECONDS)))
        stages.append(self._training("fine", fine, ["network"], n * fine.epochs * PATIENT_SECONDS))
        released = asdict(self.recipe.release)
        stages.append(Stage("export", self.model, released, ["fine", "planners"], lambda _: self._export(fine), 0.1))
        return stages

    def _planner(self, fold: int) -> Path:
        return self.folder / f"planner-{fold}.safetensors"

    def _planner_stages(self, fold: int) -> list[Stage]:
        """From random weights on all patients but every `folds`-th; on with all."""
        how, n = self.recipe.planners, len(self._patients())
        config = replace(self.recipe.network, seed=self.recipe.network.seed + fold)
        alone = self._planner(fold)
        first = PlannerTraining(how.epochs, how.rate, copies=how.copies, without=LeftOut(fold, how.folds))
        second = PlannerTraining(how.together_epochs, how.together_rate, copies=how.copies, init=alone)

        def stage(name: str, training: PlannerTraining, needs: list[str], patients: float) -> Stage:
            path = self.folder / f"{name}.safetensors"
            settings = {
                "data": asdict(config.data),
                "patients": [path.name for path in self._patients()],
                "angles": list(config.gantry_angles),
                "seed": config.seed,
                "how": asdict(replace(training, init=None)),
            }
            hours = patients * training.epochs * PLANNER_SECONDS / 3600
            return Stage(
                name,
                path,
                settings,
                needs,
                lambda note: train_planner(config, path, training, [note], enable_progress_bar=False),
                hours,
            )

        return [
            stage(alone.stem, first, [], n * (how.folds - 1) / how.folds),
            stage(alone.stem + TOGETHER, second, [alone.stem], n),
        ]

    def _training(self, name: str, config: TrainingConfig, needs: Sequence[str], seconds: float) -> Stage:
        """Of the network, from the weights of the stage before; the weights of the last epoch count."""
        run = self.folder / name
        init = None if name == "network" else self._result("network")

        def make(note: lightning.Callback) -> None:
            train(config, run, resume=True, init=init, callbacks_extra=[note], enable_progress_bar=False)
            export_checkpoint(run / LAST, config, self._result(name))

        return Stage(name, self._result(name), _settings(config), needs, make, seconds / 3600)

    def _result(self, name: str) -> Path:
        return self.folder / name / "last.safetensors"

    def _patients(self) -> list[Path]:
        data = self.recipe.network.data
        return patient_folders(data.train, data.limit)

    def _export(self, fine: TrainingConfig) -> None:
        """The model with its scores on patients that it has not seen, and its card."""
        last, release = self.folder / "fine" / LAST, self.recipe.release
        draft = export_checkpoint(last, fine, self.folder / "draft.safetensors", release)
        if not self.recipe.all_patients:
            release = replace(release, validation=validation_scores(draft, fine.data))
        export_checkpoint(last, fine, self.model, release)
        draft.unlink()
        self.model.with_suffix(".md").write_text(self.card(release), encoding="utf-8")

    def card(self, release: Release) -> str:
        """What a user should know of the model: what it learnt from, its scores, how long each stage took."""
        data, n = self.recipe.network.data, len(self._patients())
        scores = ", ".join(f"{name.replace('_', ' ')} {value:.3f} Gy" for name, value in release.validation.items())
        held = f"on the patients of {Path(data.validation).name}" if scores else ""
        hours = self.hours()
        return "\n".join(
            [
                f"# {self.recipe.network.name}",
                "",
                "**Research use only, not for clinical use.**",
                "",
                f"Learnt from {n} patients ({data.description or data.cohorts}).",
                f"Validation {held}: {scores}." if scores else "Learnt from the validation patients, too: not scored.",
                "",
                "| stage | hours |",
                "|---|---|",
                *(f"| {name} | {value:.2f} |" for name, value in hours.items()),
                f"| together | {sum(hours.values()):.2f} |",
                "",
            ]
        )


def validation_scores(model: Path, data: DataConfig) -> dict[str, float]:
    """OpenKBP's scores of a model file on the validation patients, in Gy."""
    predictor = Predictor(load_model(model))
    found = []
    for folder in progress_bar(patient_folders(data.validation, data.limit), desc="Scoring", leave=False):
        case = read_openkbp(folder)
        assert case.dose is not None
        dose = predictor.predict(case).dose
        found.append(score_patient(case.name, case.dose, dose, case.rois, case.dose_mask, case.voxel_volume_mm3))
    return {"dose_score": round(dose_score(found), 3), "dvh_score": round(dvh_score(found), 3)}


def _settings(config: TrainingConfig) -> dict[str, Any]:
    """What of a configuration decides on weights: where planners lie does not, they count as stages."""
    return {k: v for k, v in config.to_dict().items() if k not in ("planner", "held_out_planners", "validate_every")}
