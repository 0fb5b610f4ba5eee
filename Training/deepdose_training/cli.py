"""The command line of Training/train.py: a configuration trains a network, the name of a command does what it says."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from DeepDosePredictLib.app.console import set_up_console
from DeepDosePredictLib.app.sources import find_cases
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.io.roles import read_roles
from DeepDosePredictLib.model.contract import ChannelSpec

from .calibrate import Calibration, calibrate
from .combine import average_models, join_planners
from .configuration import read_config
from .dataset import NO_PLANS, Plans
from .export import Release, export_checkpoint
from .import_cohort import REPORT, import_cohort
from .train import train
from .train_planner import LeftOut, PlannerTraining, train_planner


@dataclass(frozen=True)
class Command:
    """A command with its arguments and what it does with them; `run` returns the exit status."""

    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, or train by the configuration that it is; the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    name = words.pop(0) if words and words[0] in COMMANDS else ""
    command = COMMANDS.get(name, TRAIN)
    others = [f"{key}: {other.description}" for key, other in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog=f"train.py {name}".rstrip(),
        description=command.description,
        epilog=None if name else "Other commands: " + " | ".join(others),
    )
    command.add_arguments(parser)
    parser.add_argument("--verbose", action="store_true", help="also show what the libraries warn and tell of")
    options = parser.parse_intermixed_args(words)
    set_up_console(options.verbose)
    try:
        return command.run(options)
    except (DeepDoseError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1


def _configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="YAML configuration")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. epochs=20 optimizer.lr=1e-3")


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    _configuration(parser)
    parser.add_argument("--run", type=Path, help="folder of the run (default: runs/NAME)")
    parser.add_argument("--resume", action="store_true", help="continue the run where it stopped")
    parser.add_argument("--init", type=Path, metavar="MODEL", help="start from the weights of this .safetensors model")
    parser.add_argument("--accelerator", default="auto")
    parser.add_argument("--devices", default="auto", help="number of GPUs, or of processes on the CPU")
    parser.add_argument("--nodes", type=int, default=1)


def _train(options: argparse.Namespace) -> int:
    config = read_config(options.config, options.overrides)
    model = train(
        config,
        options.run or Path("runs") / config.name,
        resume=options.resume,
        init=options.init,
        accelerator=options.accelerator,
        devices=options.devices if options.devices == "auto" else int(options.devices),
        num_nodes=options.nodes,
        enable_model_summary=options.verbose,
        enable_progress_bar=sys.stdout.isatty(),
    )
    if model:
        print(f"Exported {model}")
    return 0


def left_out(text: str) -> LeftOut:
    """Of "FIRST/OF"."""
    first, _, of = text.partition("/")
    if not (first.isdecimal() and of.isdecimal() and int(first) < int(of) > 1):
        raise argparse.ArgumentTypeError(f"{text!r} is not FIRST/OF, e.g. 0/4, with FIRST below OF")
    return LeftOut(int(first), int(of))


def _planner_arguments(parser: argparse.ArgumentParser) -> None:
    usual = PlannerTraining()
    _configuration(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PLANNER", help="file to write")
    parser.add_argument("--epochs", type=int, default=usual.epochs, help="(default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=usual.rate, help="peak of the learning rate (default: %(default)s)"
    )
    parser.add_argument("--dropout", type=float, default=usual.dropout, help="(default: %(default)s)")
    parser.add_argument("--copies", type=int, default=0, help="stretched copies of every training patient")
    parser.add_argument("--init", type=Path, metavar="PLANNER", help="start from this planner, or that of this model")
    parser.add_argument(
        "--bixel-factors",
        action="store_true",
        help="add one more network that spreads the dose over the beams, and train only that",
    )
    parser.add_argument(
        "--without",
        type=left_out,
        metavar="FIRST/OF",
        help="leave out every OF-th training patient from FIRST (0, 1, ...) on; for held_out_planners",
    )


def _train_planner(options: argparse.Namespace) -> int:
    how = PlannerTraining(
        epochs=options.epochs,
        rate=options.rate,
        dropout=options.dropout,
        copies=options.copies,
        init=options.init,
        bixel_factors=options.bixel_factors,
        without=options.without,
    )
    path = train_planner(read_config(options.config, options.overrides), options.output, how)
    print(f"Wrote {path}")
    return 0


def _model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help=".safetensors file to write")
    parser.add_argument("--version", default="1", help="of the model")
    parser.add_argument(
        "--validation",
        nargs=2,
        type=float,
        metavar=("DOSE", "DVH"),
        help="validation scores in Gy that `deepdose evaluate` gave for this model",
    )


def _validation(options: argparse.Namespace) -> dict[str, float]:
    return dict(zip(("dose_score", "dvh_score"), options.validation or (), strict=False))


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--config", type=Path, required=True, help="config.yaml of the run")
    _model_arguments(parser)
    parser.add_argument(
        "--single-pass",
        action=argparse.BooleanOptionalAction,
        help="whether the model's predictions are those of one pass by default, or else averaged with the mirrored"
        " patient's (default: as the configuration validates)",
    )
    parser.add_argument(
        "--deliverable-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the nearest deliverable dose in the predictions, outside PTVs and organs",
    )
    parser.add_argument(
        "--plan-dose-share",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of the plan's dose in the predictions, likewise",
    )


def _export(options: argparse.Namespace) -> int:
    config = read_config(options.config)
    release = Release(
        version=options.version,
        single_pass=config.single_pass if options.single_pass is None else options.single_pass,
        deliverable_share=options.deliverable_share,
        plan_dose_share=options.plan_dose_share,
        validation=_validation(options),
    )
    print(f"Exported {export_checkpoint(options.checkpoint, config, options.output, release)}")
    return 0


def _combine_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="models that went on from one another")
    parser.add_argument(
        "--planners",
        action="store_true",
        help="the files are planners, or models with planners, trained independently: the mean of their plans counts",
    )
    _model_arguments(parser)


def _combine(options: argparse.Namespace) -> int:
    if options.planners:
        path = join_planners(options.files, options.output)
    else:
        path = average_models(options.files, options.output, options.version, _validation(options))
    print(f"Wrote {path}")
    return 0


def _calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", type=Path, metavar="MODEL", help=".safetensors file")
    parser.add_argument(
        "--learnt-from",
        nargs="+",
        type=Path,
        default=(),
        metavar="FOLDER",
        help="patients that the model was trained on: what later patients are compared with",
    )
    parser.add_argument(
        "--patients",
        nargs="+",
        type=Path,
        default=(),
        metavar="FOLDER",
        help="patients with plans that the model was not trained on: how far it is off there makes the intervals",
    )
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="file to write (default: MODEL itself)")


def _calibrate(options: argparse.Namespace) -> int:
    output = options.output or options.model
    print(f"Wrote {calibrate(options.model, output, Calibration(options.learnt_from, options.patients))}")
    return 0


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("cohort", nargs="+", type=Path, metavar="COHORT", help="patient folder or folder of patients")
    parser.add_argument("-o", "--output", required=True, type=Path, metavar="CACHE")
    parser.add_argument("--config", type=Path, help="configuration that will train on it (default: the usual channels)")
    parser.add_argument(
        "--roles", type=Path, metavar="FILE", help="JSON file {role: structure name or names} where names do not tell"
    )


def _import(options: argparse.Namespace) -> int:
    config = read_config(options.config) if options.config else None
    rows = import_cohort(
        find_cases(options.cohort),
        options.output,
        config.prescription if config else ChannelSpec().prescription,
        Plans.of(config) if config else NO_PLANS,
        read_roles(options.roles) if options.roles else None,
    )
    left_out = [row for row in rows if row.status != "kept"]
    for row in left_out:
        print(f"{row.patient}: left out: {row.reason}")
    print(f"{len(rows) - len(left_out)} of {len(rows)} patients kept; report in {options.output / REPORT}")
    return 0 if len(left_out) < len(rows) else 1


def _study_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, help="YAML file in Training/studies")


def _study(options: argparse.Namespace) -> int:
    from .study import RESULTS, Study, collect, run  # matplotlib takes long to load, in every process of a training

    study = Study.read(options.study)
    run(study)
    collect(study, RESULTS / study.name)
    print(f"Results in {RESULTS / study.name}; draw them with python Training/train.py report {study.name}")
    return 0


def _report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", help="of a study in Training/studies")
    parser.add_argument(
        "--patients",
        nargs="+",
        type=Path,
        metavar="FOLDER",
        help="OpenKBP patients whose DVHs and differences are drawn, from the models of the runs",
    )


def _report(options: argparse.Namespace) -> int:
    from . import study_report
    from .study import RESULTS, RUNS, Study

    print(study_report.report(options.name, RESULTS / options.name))
    if options.patients:
        path = RUNS / options.name / "patients.png"
        study_report.draw_patients(path, Study.read(RESULTS / f"{options.name}.yaml"), options.patients)
        print(path)
    return 0


def _recipe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="YAML configuration with a section recipe")
    parser.add_argument("--run", type=Path, help="folder of the run (default: runs/recipe-NAME)")
    parser.add_argument("--all", action="store_true", help="learn from the validation patients, too, for what ships")
    parser.add_argument("--smoke", action="store_true", help="few patients and few steps: does all of it run?")
    parser.add_argument("--list", action="store_true", help="only show the stages and how long they take")


def _recipe(options: argparse.Namespace) -> int:
    from .recipe import RecipeRun, read_recipe

    recipe = read_recipe(options.config, smoke=options.smoke, all_patients=options.all)
    kind = "".join(f"-{name}" for name in ("smoke", "all") if getattr(options, name))
    run = RecipeRun(recipe, options.run or Path("runs") / f"recipe-{recipe.network.name}{kind}")
    print(run.describe(), flush=True)
    if not options.list:
        print(f"Wrote {run.run()}")
    return 0


TRAIN = Command("Train a dose prediction network by a configuration.", _train_arguments, _train)
COMMANDS = {
    "recipe": Command("Make a model from the patients' folders to its file, in stages.", _recipe_arguments, _recipe),
    "planner": Command("Train the planner that makes a model's plans.", _planner_arguments, _train_planner),
    "export": Command("Export a checkpoint as a model file.", _export_arguments, _export),
    "combine": Command("Make one model or planner of several.", _combine_arguments, _combine),
    "calibrate": Command(
        "Measure how far a model can be trusted, and write that into its file.", _calibrate_arguments, _calibrate
    ),
    "import": Command("Make a training cache of one's own patients.", _import_arguments, _import),
    "study": Command("Train and score the variants of a study.", _study_arguments, _study),
    "report": Command("Draw tables and figures of a study.", _report_arguments, _report),
}
