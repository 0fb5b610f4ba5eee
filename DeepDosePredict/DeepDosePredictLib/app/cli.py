"""The `deepdose` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..device import DEVICES
from ..errors import DeepDoseError
from .console import say, set_up_console


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    set_up_console(options.verbose)
    try:
        return _run(options)
    except DeepDoseError as error:
        say(f"deepdose: {error}", sys.stderr)
    except OSError as error:
        say(f"deepdose: {error.filename or 'file'}: {error.strerror or error}", sys.stderr)
    except KeyboardInterrupt:
        say("deepdose: stopped; what is finished is kept", sys.stderr)
        return 130
    return 1


def _run(options: argparse.Namespace) -> int:
    # Not at the top: imports take time, and help and mistyped arguments need not wait for it.
    from ..device import keep_freed_memory
    from . import commands

    keep_freed_memory()
    return getattr(commands, options.run)(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "deepdose", description="Predict radiotherapy dose for head and neck. Research use only, not for clinical use."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    predict = commands.add_parser("predict", help="predict the dose of one patient or of many")
    predict.add_argument(
        "-o",
        "--output",
        required=True,
        type=Path,
        metavar="OUT",
        help="folder for the results, made where it is not there; for many patients it gets a folder for each",
    )
    predict.add_argument(
        "--jobs",
        type=_positive,
        metavar="N",
        help="patients at a time, each in a process (default: by cores and memory; 1 on a GPU)",
    )
    predict.add_argument(
        "--overwrite",
        action="store_true",
        help="predict again what is finished; otherwise a run goes on where the last one stopped",
    )
    predict.set_defaults(run="predict")

    explore = commands.add_parser("explore", help="what could the plan be instead? the dose follows priorities")
    explore.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="folder for the results")
    explore.add_argument(
        "--spare",
        action="append",
        default=[],
        metavar="STRUCTURE=STEPS",
        help="priority, such as LeftParotid=2: an organ is spared (a step takes about a tenth off its mean dose), a"
        " target covered better; below 0 it matters less. May be given for several structures, as may the two below",
    )
    explore.add_argument(
        "--want",
        action="append",
        default=[],
        metavar='"ORGAN mean GY"',
        help='mean dose to find the priority for, such as "RightParotid mean 20"',
    )
    explore.add_argument(
        "--curve",
        action="append",
        default=[],
        metavar='"ORGAN [METRIC]"',
        help="what sparing this organ costs, step by step: its mean or, with D0.1cc behind its name, D0.1cc",
    )
    explore.add_argument(
        "--pyradplan",
        action="store_true",
        help="also write CT, structures and a script that optimises a plan with pyRadPlan from the objectives",
    )
    explore.set_defaults(run="explore")
    for command in (predict, explore):
        command.add_argument(
            "--reference",
            type=Path,
            metavar="DOSE",
            help="reference dose instead of the folder's own: .nrrd on its grid, OpenKBP .csv, or for DICOM an RTDOSE"
            " file",
        )

    structures = commands.add_parser("structures", help="say which contour would go in as what, without predicting")
    structures.set_defaults(run="structures")
    for command in (predict, explore, structures):
        command.add_argument(
            "input",
            nargs="+",
            type=Path,
            metavar="INPUT",
            help="patient folder (OpenKBP CSV, DICOM with CT and RTSTRUCT, or ct.nrrd with"
            " segmentation.seg.nrrd or rois.nrrd), or a folder of patients",
        )
        command.add_argument(
            "--roles",
            type=Path,
            metavar="FILE",
            help="JSON file {role: contour name or names, not_targets: names} for what names do not tell; for a cohort"
            " {patients: {patient: {role: ...}}}",
        )

    score = commands.add_parser("evaluate", help="OpenKBP dose and DVH score over a folder of OpenKBP patients")
    score.add_argument(
        "patients", type=Path, metavar="PATIENTS", help="folder of OpenKBP patient folders with their dose.csv"
    )
    score.add_argument("--predictions", type=Path, metavar="DIR", help="score DIR/PATIENT.csv instead of a model")
    score.add_argument(
        "--derived-mask",
        action="store_true",
        help="also say what the model loses with dose masks derived from CT and targets",
    )
    score.add_argument("--json", type=Path, metavar="FILE", help="write everything to a JSON file")
    score.set_defaults(run="evaluate")

    for command in (predict, explore, score):
        command.add_argument("--model", metavar="NAME|FILE", help="an installed model or a .safetensors file")
        command.add_argument(
            "--device", choices=DEVICES, default="auto", help="where it computes (default: %(default)s)"
        )
        command.add_argument(
            "--single-pass",
            action=argparse.BooleanOptionalAction,
            default=None,
            help="plan with the model's first planner alone and run its network once, instead of averaging the plans of"
            " its planners, and the prediction with that of the mirrored patient",
        )
        command.add_argument(
            "--gantry-angles",
            default="",
            metavar="DEGREES",
            help="of the beams to plan for, such as 0,72,144,216,288 (default: the model's)",
        )

    models = commands.add_parser("models", help="installed models and their cards")
    models.set_defaults(run="models")

    phantom = commands.add_parser("phantom", help="write the made-up head-and-neck patient")
    phantom.add_argument("output", type=Path, metavar="OUT", help="folder for the patient, made where it is not there")
    phantom.add_argument("--dicom", action="store_true", help="as DICOM with CT, RTSTRUCT, RTPLAN and RTDOSE")
    phantom.set_defaults(run="phantom")
    for command in commands.choices.values():
        command.add_argument("--verbose", action="store_true", help="also show what the libraries warn and tell of")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a number from 1 on")
    return number


if __name__ == "__main__":
    sys.exit(main())
