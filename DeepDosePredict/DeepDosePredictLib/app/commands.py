"""What the subcommands of `deepdose` do; each takes the parsed arguments and returns the exit status."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean

from ..dvh.metrics import METHOD, metric_differences
from ..errors import CaseError, DeepDoseError
from ..io.atomic import atomic_write, check_writable, staged_files
from ..io.nrrd_case import write_nrrd_case
from ..io.roles import read_roles
from ..model.contract import Contract, read_contract
from ..model.installed import find_model, installed_models, is_replacement, model_card
from ..patient.case import folder_name
from ..patient.roles import PATIENTS
from ..planner.gantry_angles import parse_gantry_angles
from ..report.html import PAGE
from ..report.result import SUMMARY, Result
from .cohort import CohortSettings, check_outputs, predict_cohort
from .console import is_verbose, progress_bar, say
from .evaluation import CohortScores, compare_derived_masks, given_predictions, model_predictions
from .evaluation import evaluate as evaluate_patients
from .output_lock import locked
from .prediction import Job, Settings, predict_case, result_key
from .sources import CaseSource, GivenRoles, find_cases, is_case
from .wishes import Wishes, check_explorable, parse_curves, parse_priorities, parse_wanted


def predict(options: Namespace) -> int:
    sources = find_cases(options.input, options.output)
    single = len(sources) == 1 and [sources[0].folder] == options.input
    if options.reference and not single:
        raise DeepDoseError("--reference goes with one patient; in a batch each patient's own dose is the reference")
    roles = _roles(options, sources)
    angles = parse_gantry_angles(options.gantry_angles)
    settings = Settings(options.model, options.device, options.single_pass, angles, roles)
    if not single:
        return _predict_cohort(sources, settings, options)
    check_outputs(sources, [options.output])
    contract = _say_model(options.model)
    with locked(options.output):
        # Before the model: PyTorch takes seconds to load, and what is wrong with a patient is said without it.
        case = sources[0].read(roles, options.reference, contract.grid)
        predictor = settings.predictor()
        # A cohort does not know another reference, so there this result must not count as finished.
        key = "" if options.reference else result_key(sources[0], predictor, roles)
        job = Job(sources[0], options.output, key, options.reference)
        result = predict_case(job, case, predictor)
    say(f"{result.patient}: predicted in {result.seconds:.2f} s on {result.device}, written to {job.output}")
    if result.dose_error is not None:
        say(f"  against the reference: dose error {result.dose_error:.2f} Gy, DVH error {result.dvh_error:.2f} Gy")
    for line in result.assignment.lines():
        say(f"  {line}")
    if result.scope and result.scope not in result.warnings:
        say(f"  {result.scope}")
    if result.intervals:
        say(f"  {result.intervals}")
    for sentence in result.plan_check:
        say(f"  {sentence}")
    for warning in result.warnings:
        say(f"  warning: {warning}")
    return 0


def explore(options: Namespace) -> int:
    wishes = Wishes(
        parse_priorities(options.spare),
        parse_wanted(options.want),
        parse_curves(options.curve),
        parse_gantry_angles(options.gantry_angles),
        options.pyradplan,
    )
    sources = find_cases(options.input, options.output)
    if len(sources) != 1:
        raise DeepDoseError(f"{options.input[0]}: one patient is explored at a time, and here are {len(sources)}")
    check_outputs(sources, [options.output])
    roles = _roles(options, sources)
    contract = _say_model(options.model)
    settings = Settings(options.model, options.device, options.single_pass, roles=roles)
    with locked(options.output):
        check_explorable(options.output)
        case = sources[0].read(roles, options.reference, contract.grid)
        from .exploration import explore_case  # PyTorch, see `predict`

        job = Job(sources[0], options.output, reference=options.reference)
        result = explore_case(job, case, settings.predictor(), wishes)
    _say_explored(result, options.output)
    return 0


def _say_explored(result: Result, output: Path) -> None:
    from ..explore.explorer import priority_words

    explored = result.explored
    assert explored is not None
    say(f"{result.patient}: explored with priorities {priority_words(explored.priorities)}, written to {output}")
    given = any(metric.reference is not None for metric in result.metrics)
    say(f"  {'structure':<14} {'metric':<7} {'predicted':>9} {'explored':>9}" + f" {'reference':>9}   [Gy]" * given)
    for m in result.metrics:
        if abs(m.change or 0.0) >= 0.05:
            values = (m.predicted, m.explored, m.reference)
            say(f"  {m.structure:<14} {m.metric:<7} " + " ".join(f"{v:>9.1f}" for v in values if v is not None))
    for sentence in explored.sentences:
        say(f"  {sentence}")
    for warning in result.warnings:
        say(f"  warning: {warning}")


def _roles(options: Namespace, sources: Sequence[CaseSource]) -> GivenRoles | None:
    """The roles file; says which of its patients are not here, for their answers may have been meant for others."""
    if not options.roles:
        return None
    roles = read_roles(options.roles)
    if unknown := set(roles.get(PATIENTS, ())) - {source.name for source in sources}:
        say(f"deepdose: {options.roles} has roles for {', '.join(sorted(unknown))}, who is not here", sys.stderr)
    return roles


def structures(options: Namespace) -> int:
    """1 if any patient cannot be predicted as its contours stand."""
    sources = find_cases(options.input)
    roles = _roles(options, sources)
    failed = 0
    for source in sources:
        try:
            case = source.read(roles)
        except (DeepDoseError, OSError) as error:
            failed += 1
            say(f"{source.name}: {error}")
            continue
        say(f"{source.name}:")
        for line in case.assignment.lines():
            say(f"  {line}")
        for note in case.notes:
            say(f"  warning: {note}")
    return 1 if failed else 0


def _predict_cohort(sources: Sequence[CaseSource], settings: Settings, options: Namespace) -> int:
    """1 if any patient failed."""
    title = folder_name(options.input[0])
    _say_model(options.model)
    cohort_settings = CohortSettings(title, settings, options.jobs, options.overwrite)
    with progress_bar(total=len(sources), desc="Predicting", unit="patient") as progress:

        def report(patient: str, error: str | None) -> None:
            if error:
                say(f"deepdose: {patient}: {error}", sys.stderr)
            elif is_verbose():
                say(f"deepdose: {patient}: predicted", sys.stderr)
            progress.update()

        cohort = predict_cohort(sources, options.output, cohort_settings, report)
    kept = f" ({cohort.n_kept} of them earlier)" if cohort.n_kept else ""
    say(
        f"{len(cohort.results)} of {len(sources)} patients predicted{kept}, {len(cohort.failures)} failed;"
        f" summary in {options.output / SUMMARY}, report in {options.output / PAGE}"
    )
    return 1 if cohort.failures else 0


def evaluate(options: Namespace) -> int:
    if not options.patients.is_dir() or is_case(options.patients):
        raise CaseError(f"{options.patients}: give a folder of OpenKBP patient folders")
    if options.predictions and (options.model or options.derived_mask):
        raise DeepDoseError("--predictions goes without --model and --derived-mask")
    if options.json:
        check_writable(options.json)
    if options.predictions:
        predict = given_predictions(options.predictions)
        label = f"predictions in {options.predictions}"
    else:
        angles = parse_gantry_angles(options.gantry_angles)
        _say_model(options.model)
        predictor = Settings(options.model, options.device, options.single_pass, angles).predictor()
        predict = model_predictions(predictor)
        label = predictor.model.label + (", single pass" if predictor.single_pass else "")
    progress = partial(progress_bar, desc="Evaluating", unit="patient", leave=False)
    result = evaluate_patients(options.patients, predict, label, progress)
    _print_evaluation(result)
    if options.derived_mask:
        masks = compare_derived_masks(options.patients, predictor, progress)
        given = mean(one.given for one in masks)
        derived = mean(one.derived for one in masks)
        say(
            f"inside the common mask: {given:.4f} Gy with the given masks, {derived:.4f} Gy with derived ones"
            f" ({derived - given:+.4f} Gy)"
        )
    if options.json:
        with atomic_write(options.json) as file:
            file.write(json.dumps(result.to_dict(), indent=1).encode())
    return 0


def _print_evaluation(result: CohortScores) -> None:
    content = result.to_dict()
    say(f"{'patient':<12} {'dose error':>10} {'DVH error':>10}   [Gy]")
    for score in result.scores:
        say(f"{score.name:<12} {score.dose_error:>10.3f} {score.dvh_error:>10.3f}")
    say("")
    say(f"{'structure':<14} {'metric':<9} {'mean |difference|':>18} {'patients':>9}")
    differences: dict[tuple[str, str], list[float]] = {}
    for score in result.scores:
        for roi, metrics in score.reference.items():
            for name in metrics:
                one = {roi: {name: metrics[name]}}
                differences.setdefault((roi, name), []).extend(metric_differences(one, score.predicted))
    for (roi, name), values in sorted(differences.items()):
        say(f"{roi:<14} {name:<9} {sum(values) / len(values):>18.3f} {len(values):>9}")
    say("")
    say(f"metrics on {METHOD}")
    say(f"{content['model']}, {content['n_patients']} patients, {content['seconds']:.1f} s")
    say(f"dose score {content['dose_score']:.4f} Gy")
    say(f"DVH score  {content['dvh_score']:.4f} Gy")


def _say_model(name: str | None) -> Contract:
    path = find_model(name)
    contract = read_contract(path)
    note = ", in place of the one of this name that ships" if is_replacement(path) else ""
    say(f"model {contract.name} {contract.version} from {path}{note}")
    return contract


def models(_: Namespace) -> int:
    for path in installed_models():
        for line in _description(path):
            say(line)
    return 0


def _description(path: Path) -> list[str]:
    contract = read_contract(path)
    scores = ", ".join(f"{name.replace('_', ' ')} {value:.2f} Gy" for name, value in contract.validation.items())
    lines = [
        f"{contract.name} {contract.version}  ({path}, {path.stat().st_size / 1e6:.1f} MB)",
        f"  channels: {', '.join(contract.channels.names)}",
        f"  grid {'x'.join(map(str, contract.grid.shape))}, prescription {contract.channels.prescription:g} Gy,"
        f" {'single pass' if contract.single_pass else 'mirrored by default'}",
        f"  trained on {contract.training_data}",
        f"  validation: {scores or 'not recorded'}",
        f"  {contract.interval_words(contract.channels.levels())}",
        f"  verdicts on patients: {f'from {contract.scope.n_patients} of its own' if contract.scope else 'none'}",
    ]
    if card := model_card(path):
        lines += ["", *(f"  {line}".rstrip() for line in card.splitlines())]
    return [*lines, ""]


def phantom(options: Namespace) -> int:
    from ..phantom.anatomy import head_and_neck_phantom
    from ..phantom.dicom import write_phantom

    with staged_files(options.output) as stage:
        if options.dicom:
            write_phantom(stage)
        else:
            write_nrrd_case(stage, head_and_neck_phantom())
    say(f"Phantom written to {options.output}")
    return 0
