"""How well tests tell a wrong program from the right one: change random places, one at a time, and run a room's tests.

    python Testing/mutants.py io/dicom [--number 20] [--seed 1]

A mutant that no test finds survives; mutation.md says which are known, and which no test can find. The repository
stays as it is: mutants are made in a copy of the library.
"""

from __future__ import annotations

import argparse
import ast
import copy
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = Path("DeepDosePredict", "DeepDosePredictLib")
TESTS = {
    "patient": ("test_patient_*.py", "test_structure_names.py"),
    "geometry": ("test_geometry_*.py",),
    "dvh": ("test_dvh_*.py",),
    "io": ("test_io_[!d]*.py", "test_app_sources.py"),
    "io/dicom": ("test_io_dicom_index.py", "test_io_dicom.py", "test_io_dicom_belonging.py", "test_app_sources.py"),
}
"""Files that may find a room's mutants, in the order in which they run."""
SECONDS = 600

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
NAMES = {"min": "max", "any": "all", "floor": "ceil", "zeros": "ones"}
NAMES |= {new: old for old, new in NAMES.items()}


def mutants(node: ast.AST) -> Iterator[ast.AST]:
    """What a node of a program can be changed to."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in COMPARISONS:
            yield _with(node, ops=[COMPARISONS[type(operator)]()])
        case ast.BinOp(op=operator) if type(operator) in ARITHMETIC and not _is_text(node):
            yield _with(node, op=ARITHMETIC[type(operator)]())
        case ast.BoolOp(op=operator):
            yield _with(node, op=ast.Or() if isinstance(operator, ast.And) else ast.And())
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield ast.Constant(value * 0.6)
            yield ast.Constant(value * 1.5)
        case ast.Name(id=name) if name in NAMES:
            yield _with(node, id=NAMES[name])
        case ast.Attribute(attr=name) if name in NAMES:
            yield _with(node, attr=NAMES[name])
        case ast.If(test=test) | ast.IfExp(test=test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Continue():
            yield ast.Break()
        case ast.Break():
            yield ast.Continue()


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _is_text(node: ast.BinOp) -> bool:
    return any(
        isinstance(side, ast.JoinedStr | ast.Constant) and not _is_number(side) for side in (node.left, node.right)
    )


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, int | float)


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    """(parent, field, index) of all that can be changed; not messages, docstrings, decorators and types."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_comment"):
            continue
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Raise | ast.JoinedStr):
                continue
            if any(True for _ in mutants(child)):
                yield node, name, index
            yield from places(child)


def mutated(source: str, rng: random.Random) -> str | None:
    """A program with one change; None where nothing in it can be changed."""
    tree = ast.parse(source)
    found = list(places(tree))
    if not found:
        return None
    parent, name, index = rng.choice(found)
    value = getattr(parent, name)
    if index is None:
        setattr(parent, name, rng.choice(list(mutants(value))))
    else:
        value[index] = rng.choice(list(mutants(value[index])))
    return ast.unparse(ast.fix_missing_locations(tree))


def survives(copied: Path, tests: list[str]) -> bool:
    """Whether every test passes with the library of a copied repository; one that does not end is found, too."""
    folders = [str(copied / name) for name in ("DeepDosePredict", "Training", "Testing")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(command, cwd=copied, env=environment, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("room", choices=TESTS)
    parser.add_argument("--number", type=int, default=20, help="of mutants (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another one draws other mutants (default: %(default)s)")
    options = parser.parse_args()
    rng, left = random.Random(options.seed), 0
    with tempfile.TemporaryDirectory() as temporary:
        copied = Path(temporary, "repository")
        skipped = shutil.ignore_patterns(".git", ".venv", "demo", "data", "__pycache__", ".*_cache")
        shutil.copytree(ROOT, copied, ignore=skipped)
        room = copied / LIBRARY / options.room
        sources = {path: path.read_text(encoding="utf-8") for path in sorted(room.glob("*.py"))}
        names = [one.name for pattern in TESTS[options.room] for one in sorted((copied / "Testing").glob(pattern))]
        tests = [f"Testing/{name}" for name in dict.fromkeys(names)]
        if not survives(copied, tests):
            sys.exit("the tests fail without any change")
        sizes = [len(text) for text in sources.values()]
        for _ in range(options.number):
            (path,) = rng.choices(list(sources), sizes)
            mutant = mutated(sources[path], rng)
            if mutant is None:
                continue
            path.write_text(mutant, encoding="utf-8")
            start = time.perf_counter()
            alive = survives(copied, tests)
            path.write_text(sources[path], encoding="utf-8")
            left += alive
            plain = ast.unparse(ast.parse(sources[path]))
            change = [
                line
                for line in difflib.unified_diff(plain.splitlines(), mutant.splitlines(), n=0, lineterm="")
                if line.startswith(("+", "-")) and not line.startswith(("+++", "---"))
            ]
            verdict = "SURVIVED" if alive else "found"
            print(f"{verdict} {options.room}/{path.name} ({time.perf_counter() - start:.0f} s)", *change, sep="\n  ")
            sys.stdout.flush()
    print(f"{left} of {options.number} survived")


if __name__ == "__main__":
    main()
