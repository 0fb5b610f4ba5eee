"""The law of the house: which room may import which, how names and functions are kept."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY, TRAINING = ROOT / "DeepDosePredict" / "DeepDosePredictLib", ROOT / "Training" / "deepdose_training"
PACKAGES = {LIBRARY.name: LIBRARY, TRAINING.name: TRAINING}

ORDER = (
    {"__init__", "errors"},
    {"resources", "device"},
    {"patient"},
    {"geometry", "dvh"},
    {"planner", "trust"},
    {"model"},
    {"explore"},
    {"io"},
    {"phantom"},
    {"report"},
    {"mrml"},
    {"app", "panel"},
)
"""Rooms and loose modules of the library from the ground up: each may import those below it, and dvh may import
geometry."""
FLOOR = {room: n for n, rooms in enumerate(ORDER) for room in rooms}
SIDEWAYS = {("dvh", "geometry")}

MAX_LOOSE, MAX_ARGUMENTS = 4, 6
# Slicer's own signatures: what users call in the Python console, with every option by its name.
CONSOLE = {("mrml/prediction.py", "predictDose")}


def name_of(path: Path) -> str:
    """The module's name, "DeepDosePredictLib.io.dicom.ct" and the like."""
    package = next(folder for folder in PACKAGES.values() if folder in path.parents)
    parts = path.relative_to(package.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {name_of(path): path for folder in PACKAGES.values() for path in sorted(folder.rglob("*.py"))}


def imports(name: str, path: Path, top_only: bool = False) -> Iterator[str]:
    """Modules of the packages that a module imports, wherever in it, except for type checking alone.

    Args:
        top_only: leave out imports inside functions, which run later.
    """
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in statements(ast.parse(path.read_text(encoding="utf-8")), top_only):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *filter(None, [node.module])])
            found = [one if (one := f"{base}.{alias.name}") in modules() else base for alias in node.names]
        else:
            continue
        yield from (one for one in found if one in modules())


def statements(tree: ast.AST, top_only: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            continue
        if top_only and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield node
        yield from statements(node, top_only)


def room_of(name: str) -> str:
    """Room or loose module of the library."""
    return (*name.split("."), "__init__")[1]


def test_the_law_sees_the_imports():
    """Relative and absolute ones, of modules and of names, at the top and in functions."""
    cohort = {*imports("DeepDosePredictLib.app.cohort", modules()["DeepDosePredictLib.app.cohort"])}
    assert {"DeepDosePredictLib.errors", "DeepDosePredictLib.io.atomic", "DeepDosePredictLib.app.workers"} <= cohort
    cli = modules()["DeepDosePredictLib.app.cli"]
    lazy = {"DeepDosePredictLib.app.commands"}
    assert lazy <= {*imports("DeepDosePredictLib.app.cli", cli)}
    assert not lazy & {*imports("DeepDosePredictLib.app.cli", cli, top_only=True)}
    train = modules()["deepdose_training.train"]
    assert any(name.startswith("DeepDosePredictLib.") for name in imports("deepdose_training.train", train))


def test_no_arrow_upwards():
    wrong = []
    for name, path in modules().items():
        for other in imports(name, path):
            if not name.startswith(LIBRARY.name):
                continue
            here, there = room_of(name), room_of(other)
            allowed = here == there or FLOOR[there] < FLOOR[here] or (here, there) in SIDEWAYS
            if not (other.startswith(LIBRARY.name) and allowed):
                wrong.append(f"{name} imports {other}")
    assert not wrong


def test_the_command_line_knows_no_vtk_itk_or_slicer():
    """They write to the screen from C++, past every filter, and end the process at a damaged file."""
    wrong = []
    for name, path in modules().items():
        if not name.startswith(LIBRARY.name) or room_of(name) in ("mrml", "panel"):
            continue
        others = []
        for node in statements(ast.parse(path.read_text(encoding="utf-8")), False):
            if isinstance(node, ast.Import):
                others += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                others.append(node.module or "")
        wrong += [f"{name}: {one}" for one in others if one.lower().startswith(("vtk", "itk", "slicer", "simpleitk"))]
        wrong += [f"{name}: {one}" for one in imports(name, path) if room_of(one) in ("mrml", "panel")]
    assert not wrong


def test_no_import_circle():
    graph = {name: {*imports(name, path)} - {name} for name, path in modules().items()}
    order = [*TopologicalSorter(graph).static_order()]  # CycleError names the circle
    assert len(order) == len(graph)


def test_few_loose_modules():
    loose = {path.stem for path in LIBRARY.glob("*.py")} - {"__init__"}
    assert loose <= FLOOR.keys() and len(loose) <= MAX_LOOSE
    assert {path.name for path in LIBRARY.iterdir() if (path / "__init__.py").exists()} == {*FLOOR} - loose - {
        "__init__"
    }


def product() -> Iterator[tuple[str, ast.Module]]:
    """(path for people, syntax tree) of every module of the product and of Training."""
    for path in (ROOT / "DeepDosePredict" / "DeepDosePredict.py", ROOT / "Training" / "train.py", *modules().values()):
        folder = next((one for one in PACKAGES.values() if one in path.parents), path.parent)
        yield str(path.relative_to(folder).as_posix()), ast.parse(path.read_text(encoding="utf-8"))


def test_no_class_name_twice():
    where: dict[str, list[str]] = defaultdict(list)
    for path, tree in product():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                where[node.name].append(path)
    assert not {name: paths for name, paths in where.items() if len(paths) > 1}


def test_no_function_takes_more_than_six_arguments():
    many = set()
    for path, tree in product():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                arguments = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                own = [one for one in arguments if one.arg not in ("self", "cls")]
                if len(own) > MAX_ARGUMENTS:
                    many.add((path, getattr(node, "name", "lambda")))
    assert many == CONSOLE, "give the arguments that belong together as one dataclass"


@pytest.mark.parametrize("room", sorted({*FLOOR} - {"__init__", "errors", "resources", "device"}))
def test_every_room_says_what_lives_in_it(room):
    assert ast.get_docstring(ast.parse((LIBRARY / room / "__init__.py").read_text(encoding="utf-8")))
