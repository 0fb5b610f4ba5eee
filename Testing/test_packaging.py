"""The frame: CMake lists every file, descriptions agree, documents name what is there, rooms import what they may."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from DeepDosePredictLib import __version__
from DeepDosePredictLib.app.cli import main

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "DeepDosePredict"
LIBRARY = MODULE / "DeepDosePredictLib"


def cmake_list(name: str) -> set[str]:
    match = re.search(rf"set\({name}\n(.*?)\)", (MODULE / "CMakeLists.txt").read_text(), re.DOTALL)
    return {line.strip() for line in match[1].splitlines() if line.strip()}


def test_cmake_lists_every_file_of_the_module():
    scripts = {path.relative_to(MODULE).as_posix() for path in MODULE.rglob("*.py") if "Testing" not in path.parts}
    resources = {path.relative_to(MODULE).as_posix() for path in (MODULE / "Resources").rglob("*") if path.is_file()}
    assert cmake_list("MODULE_PYTHON_SCRIPTS") == scripts
    assert cmake_list("MODULE_PYTHON_RESOURCES") == resources


def test_s4ext_agrees_with_cmake():
    cmake = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', (ROOT / "CMakeLists.txt").read_text()))
    lines = (ROOT / "DeepDosePredict.s4ext").read_text().splitlines()
    s4ext = dict(line.partition(" ")[::2] for line in lines if line and not line.startswith("#"))
    for key in ("homepage", "category", "contributors", "description", "iconurl", "screenshoturls", "depends"):
        assert s4ext[key] == cmake[key.upper()], key
    assert s4ext["scmurl"] == cmake["HOMEPAGE"] + ".git"


def imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize("room", ["patient", "geometry", "dvh", "planner", "model"])
def test_the_rooms_without_files_import_nothing_but_numpy_scipy_and_torch(room):
    for path in (LIBRARY / room).rglob("*.py"):
        assert imports(path) - sys.stdlib_module_names <= {"numpy", "scipy", "torch", "safetensors"}, path


def test_only_mrml_and_panel_meet_slicer_and_nothing_meets_training():
    for path in LIBRARY.rglob("*.py"):
        part = path.relative_to(LIBRARY).parts[0]
        slicer = {"mrml": {"slicer", "vtk"}, "panel": {"slicer", "vtk", "qt", "ctk"}}.get(part, set())
        others = {"slicer", "vtk", "qt", "ctk", "lightning", "deepdose_training"} - slicer
        assert not imports(path) & others, path


def test_the_module_imports_without_torch_and_what_slicer_lacks():
    """Slicer brings numpy, scipy and VTK; everything else may be missing until the user has it installed."""
    pytest.importorskip("slicer")
    code = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "safetensors", "pydicom", "nrrd", "matplotlib", "tqdm", "yaml"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Missing())
import DeepDosePredictLib.mrml.installed as installed
import DeepDosePredictLib.mrml.isodose, DeepDosePredictLib.mrml.prediction, DeepDosePredictLib.mrml.sample_data
assert "torch" in installed.torchProblem() and installed.goalTemplates() and installed.installedModels()
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=MODULE)
    assert process.returncode == 0, process.stderr


def test_extension_index_entry_agrees_with_cmake():
    entry = json.loads((ROOT / "DeepDosePredict.json").read_text())
    cmake = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', (ROOT / "CMakeLists.txt").read_text()))
    assert entry["build_dependencies"] == cmake["DEPENDS"].split()
    assert entry["category"] == cmake["CATEGORY"] and entry["scm_url"] == cmake["HOMEPAGE"] + ".git"
    assert set(entry) <= {
        "$schema",
        "build_dependencies",
        "build_subdirectory",
        "category",
        "scm_revision",
        "scm_type",
        "scm_url",
        "tier",
        "enabled",
    }
    assert entry["scm_url"].rpartition("/")[2].startswith("Slicer")


def test_icon_and_screenshots_exist_where_the_descriptions_point():
    cmake = dict(re.findall(r'set\(EXTENSION_(\w+) "([^"]*)"\)', (ROOT / "CMakeLists.txt").read_text()))
    for url in (cmake["ICONURL"], *cmake["SCREENSHOTURLS"].split()):
        assert (ROOT / url.partition("/main/")[2]).is_file(), url


def test_readme_names_the_two_commands_and_ci_runs_one():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme and "make test" in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text()


DOCUMENTS = (
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Training/README.md")),
    *(ROOT / "docs").glob("*.md"),
)


FOLDERS = r"DeepDosePredict|Training|Testing|docs|examples|requirements|\.github"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_document_names_exists(document):
    """Links, paths from the repository's root, and what its Python imports from the library."""
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (document.parent / target).exists(), target
    for path in re.findall(rf"(?<![\w./~-])(?:{FOLDERS})/[\w./-]*", text):
        assert (ROOT / path.rstrip(".")).exists(), path
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("DeepDosePredictLib"):
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), node.module
    for name in re.findall(r"`(DeepDosePredictLib(?:\.\w+)+)`", text):
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name


def test_contributing_names_every_room_of_the_library():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+/)`", text))
    rooms = {f"{path.parent.name}/" for path in LIBRARY.glob("*/__init__.py")}
    assert rooms <= named
    assert all((LIBRARY / name).is_dir() or (ROOT / name).is_dir() for name in named)


@pytest.mark.parametrize("document", ["2-command-line.md", "4-models.md", "7-explore.md"])
def test_options_in_the_documents_are_the_command_s(document, capsys):
    known = ""
    for command in ("predict", "explore", "structures", "evaluate", "models", "phantom"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        known += capsys.readouterr().out
    options = set(re.findall(r"--[a-z][a-z-]+", (ROOT / "docs" / document).read_text(encoding="utf-8")))
    assert options and options <= set(re.findall(r"--[a-z][a-z-]+", known))


def test_version_is_the_same_everywhere():
    changelog = re.findall(r"^## \[(\d[\w.]*)\] - ([\d-]+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text()
    assert changelog[0][0] == __version__
    assert f"\nversion: {__version__}\n" in citation and f'\ndate-released: "{changelog[0][1]}"\n' in citation


def test_locks_pin_what_the_package_asks_for():
    pinned = {}
    for lock in ("run.lock", "test.lock"):
        for line in (ROOT / "requirements" / lock).read_text().splitlines():
            if line and not line.startswith("#"):
                name, separator, version = line.partition("==")
                assert separator and version, line
                pinned[name.lower().replace("_", "-")] = version
    asked = re.findall(r'"([a-z]+)[><=!]', (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[0])
    assert {name for name in asked if name not in {"hatchling"}} <= pinned.keys()
    assert pinned["torch"] == "2.13.0"


def test_command_helps_and_says_what_it_is_for():
    process = subprocess.run(
        [sys.executable, "-m", "DeepDosePredictLib.app.cli", "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=MODULE,
    )
    assert process.returncode == 0 and "not for clinical use" in " ".join(process.stdout.split())


def test_help_does_not_wait_for_pytorch():
    code = (
        "import sys; from DeepDosePredictLib.app.cli import main\ntry: main(['predict', '--help'])\n"
        "finally: sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=MODULE, capture_output=True).returncode == 0


def test_no_patient_data_and_no_large_files_are_tracked():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=False, cwd=ROOT).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout")
    assert not [name for name in tracked if name.endswith(("possible_dose_mask.csv", "voxel_dimensions.csv", ".nrrd"))]
    assert all((ROOT / name).stat().st_size < 26e6 for name in tracked if (ROOT / name).exists())
