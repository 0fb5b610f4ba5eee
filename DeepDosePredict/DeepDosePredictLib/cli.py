"""The `deepdose` command."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean

from tqdm import tqdm

from . import __version__
from .core.case import Case
from .core.device import DEVICES, keep_freed_memory
from .core.errors import CaseError, DeepDoseError
from .core.metrics import PatientScore, metric_differences
from .core.model_file import read_contract
from .core.phantom import head_and_neck_phantom
from .core.predictor import Predictor
from .evaluation import Evaluation, compare_derived_masks, evaluate, given_predictions, model_predictions
from .io.atomic import atomic_write
from .io.cases import find_cases, is_case, is_scene_case, read_case
from .io.nrrd_case import read_dose_on_grid, write_nrrd_case
from .io.openkbp import is_openkbp
from .io.openkbp import read_dose as read_openkbp_dose
from .io.outputs import model_label, write_prediction, write_table
from .models import installed_models, model_card, open_model


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="deepdose: %(message)s")
    keep_freed_memory()
    try:
        return options.run(options)
    except DeepDoseError as error:
        print(f"deepdose: {error}", file=sys.stderr)
    except OSError as error:
        print(f"deepdose: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("deepdose: stopped; what is finished is kept", file=sys.stderr)
        return 130
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("deepdose", description="Predict radiotherapy dose for head and neck."
                                     " Research use only, not for clinical use.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    predict = commands.add_parser("predict", help="predict the dose of one patient or of many")
    predict.add_argument("input", nargs="+", type=Path, metavar="INPUT",
                         help="patient folder (OpenKBP CSV, or ct.nrrd with segmentation.seg.nrrd or rois.nrrd), or a"
                              " folder of patients")
    predict.add_argument("-o", "--output", required=True, type=Path, metavar="OUT")
    predict.add_argument("--reference", type=Path, metavar="DOSE",
                         help="reference dose instead of the folder's own: .nrrd on its grid, or OpenKBP .csv")
    predict.add_argument("--roles", type=Path, metavar="FILE",
                         help="JSON file {role: segment name or names} for segmentations whose names do not tell")
    predict.set_defaults(run=_predict)

    score = commands.add_parser("evaluate", help="OpenKBP dose and DVH score over a folder of OpenKBP patients")
    score.add_argument("patients", type=Path, metavar="PATIENTS")
    score.add_argument("--predictions", type=Path, metavar="DIR", help="score DIR/PATIENT.csv instead of a model")
    score.add_argument("--derived-mask", action="store_true",
                       help="also say what the model loses with dose masks derived from CT and targets")
    score.add_argument("--json", type=Path, metavar="FILE", help="write everything to a JSON file")
    score.set_defaults(run=_evaluate)

    for command in (predict, score):
        command.add_argument("--model", metavar="NAME|FILE", help="an installed model or a .safetensors file")
        command.add_argument("--device", choices=DEVICES, default="auto")
        command.add_argument("--mirror", action=argparse.BooleanOptionalAction, default=None,
                             help="average with the prediction of the mirrored patient")

    models = commands.add_parser("models", help="installed models and their cards")
    models.set_defaults(run=_models)

    phantom = commands.add_parser("phantom", help="write the made-up head-and-neck patient")
    phantom.add_argument("output", type=Path, metavar="OUT")
    phantom.set_defaults(run=_phantom)
    return parser


def _predict(options: argparse.Namespace) -> int:
    folders = find_cases(options.input)
    single = len(options.input) == 1 and folders == options.input
    if options.reference and not single:
        raise DeepDoseError("--reference goes with one patient; in a batch each patient's own dose is the reference")
    outputs = [options.output if single else options.output / folder.resolve().name for folder in folders]
    _check_outputs(folders, outputs)
    roles = _read_roles(options.roles) if options.roles else None
    model = open_model(options.model)
    predictor = Predictor(model, options.device, options.mirror)
    if single:
        print(_predict_one(folders[0], outputs[0], predictor, roles, options.reference)[1])
        return 0
    return _predict_batch(folders, outputs, predictor, roles, options.output)


def _read_roles(path: Path) -> dict:
    try:
        roles = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DeepDoseError(f"{path}: this is no JSON file ({error})") from error
    if not isinstance(roles, dict) or not all(isinstance(v, str | list) for v in roles.values()):
        raise DeepDoseError(f'{path}: expected roles with segment names, such as {{"PTV70": "PTV_7000"}}')
    return roles


def _check_outputs(folders: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Nothing that was read may be overwritten, and no two patients may share an output folder."""
    inputs = {folder.resolve() for folder in folders}
    seen: dict[Path, Path] = {}
    for folder, output in zip(folders, outputs, strict=True):
        if output.resolve() in inputs:
            raise DeepDoseError(f"{output}: this is a patient's own folder; choose another output folder")
        if output in seen:
            raise DeepDoseError(f"{folder} and {seen[output]} have the same name; predict them into separate folders")
        if output.exists() and not output.is_dir():
            raise DeepDoseError(f"{output}: this is a file; give a folder")
        seen[output] = folder


def _predict_one(folder: Path, output: Path, predictor: Predictor, roles: dict | None,
                 reference: Path | None = None) -> tuple[dict, str]:
    """Predict one patient; returns its row for the summary and a line for the user."""
    if is_scene_case(folder):
        case = read_case(folder, roles, reference)
    else:
        case = read_case(folder, roles)
        if reference:
            case = replace(case, dose=_read_reference(reference, case))
    prediction = predictor.predict(case, any_prescription=is_scene_case(folder))
    score = write_prediction(output, case, prediction, predictor.model, openkbp=is_openkbp(folder))
    row = {"seconds": f"{prediction.seconds:.3f}", "device": prediction.device,
           "warnings": "; ".join(prediction.warnings), **_errors(score)}
    lines = [f"{case.name}: predicted in {prediction.seconds:.2f} s on {prediction.device}, written to {output}"]
    if score:
        lines.append(f"  against the reference: dose error {score.dose_error:.2f} Gy,"
                     f" DVH error {score.dvh_error:.2f} Gy")
    lines += [f"  warning: {warning}" for warning in prediction.warnings]
    return row, "\n".join(lines)


def _read_reference(path: Path, case: Case):
    return read_openkbp_dose(path) if path.suffix == ".csv" else read_dose_on_grid(path, case)


def _errors(score: PatientScore | None) -> dict[str, str]:
    return {"dose_error_gy": f"{score.dose_error:.4f}", "dvh_error_gy": f"{score.dvh_error:.4f}"} if score else {}


def _predict_batch(folders: Sequence[Path], outputs: Sequence[Path], predictor: Predictor, roles: dict | None,
                   output: Path) -> int:
    """Predict every patient; a bad one is reported and skipped. 1 if any failed."""
    columns = ("patient", "status", "dose_error_gy", "dvh_error_gy", "seconds", "device", "warnings", "error")
    rows = []
    for folder, target in tqdm(list(zip(folders, outputs, strict=True)), desc="Predicting", unit="patient"):
        row = {"patient": target.name, "status": "predicted"}
        try:
            row |= _predict_one(folder, target, predictor, roles)[0]
        except (DeepDoseError, OSError, MemoryError) as error:
            row |= {"status": "failed", "error": " ".join(str(error).split()) or type(error).__name__}
            tqdm.write(f"deepdose: {target.name}: {row['error']}", file=sys.stderr)
        rows.append([row.get(column, "") for column in columns])
        write_table(output / "summary.csv", columns, rows)
    failed = sum(row[1] == "failed" for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} patients predicted, {failed} failed;"
          f" summary in {output / 'summary.csv'}")
    return 1 if failed else 0


def _evaluate(options: argparse.Namespace) -> int:
    if not options.patients.is_dir() or is_case(options.patients):
        raise CaseError(f"{options.patients}: give a folder of OpenKBP patient folders")
    if options.predictions and (options.model or options.derived_mask):
        raise DeepDoseError("--predictions goes without --model and --derived-mask")
    if options.predictions:
        predict, label = given_predictions(options.predictions), f"predictions in {options.predictions}"
    else:
        predictor = Predictor(open_model(options.model), options.device, options.mirror)
        predict, label = model_predictions(predictor), _evaluated_label(predictor)
    progress = partial(tqdm, desc="Evaluating", unit="patient", leave=False)
    result = evaluate(options.patients, predict, label, progress)
    _print_evaluation(result)
    if options.derived_mask:
        masks = compare_derived_masks(options.patients, predictor, progress)
        given, derived = (mean(getattr(one, key) for one in masks) for key in ("given", "derived"))
        print(f"inside the common mask: {given:.4f} Gy with the given masks, {derived:.4f} Gy with derived ones"
              f" ({derived - given:+.4f} Gy)")
    if options.json:
        with atomic_write(options.json) as file:
            file.write(json.dumps(result.to_dict(), indent=1).encode())
    return 0


def _evaluated_label(predictor: Predictor) -> str:
    return model_label(predictor.model) + (", mirrored" if predictor.mirror else "")


def _print_evaluation(result: Evaluation) -> None:
    content = result.to_dict()
    print(f"{'patient':<12} {'dose error':>10} {'DVH error':>10}   [Gy]")
    for score in result.scores:
        print(f"{score.name:<12} {score.dose_error:>10.3f} {score.dvh_error:>10.3f}")
    print(f"\n{'structure':<14} {'metric':<9} {'mean |difference|':>18} {'patients':>9}")
    differences: dict[tuple[str, str], list[float]] = {}
    for score in result.scores:
        for roi, metrics in score.reference.items():
            for name in metrics:
                one = {roi: {name: metrics[name]}}
                differences.setdefault((roi, name), []).extend(metric_differences(one, score.predicted))
    for (roi, name), values in sorted(differences.items()):
        print(f"{roi:<14} {name:<9} {sum(values) / len(values):>18.3f} {len(values):>9}")
    print(f"\n{content['model']}, {content['n_patients']} patients, {content['seconds']:.1f} s")
    print(f"dose score {content['dose_score']:.4f} Gy")
    print(f"DVH score  {content['dvh_score']:.4f} Gy")


def _models(_: argparse.Namespace) -> int:
    for path in installed_models():
        print(_describe(path))
    return 0


def _describe(path: Path) -> str:
    contract = read_contract(path)
    scores = ", ".join(f"{name.replace('_', ' ')} {value:.2f} Gy" for name, value in contract.validation.items())
    lines = [f"{contract.name} {contract.version}  ({path}, {path.stat().st_size / 1e6:.1f} MB)",
             f"  channels: {', '.join(contract.channels.names)}",
             f"  grid {'x'.join(map(str, contract.grid))}, prescription {contract.channels.prescription:g} Gy,"
             f" {'mirrored by default' if contract.mirror else 'single pass'}",
             f"  trained on {contract.training_data}",
             f"  validation: {scores or 'not recorded'}"]
    if card := model_card(path):
        lines += ["", *(f"  {line}".rstrip() for line in card.splitlines())]
    return "\n".join([*lines, ""])


def _phantom(options: argparse.Namespace) -> int:
    write_nrrd_case(options.output, head_and_neck_phantom())
    print(f"Phantom written to {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
