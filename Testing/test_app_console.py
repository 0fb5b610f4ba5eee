"""The screen: quiet unless asked, one line for each thing said, no bars in log files."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from DeepDosePredictLib.app import cli, console

LIBRARY = Path(console.__file__).parents[2]
PROGRAM = """
import logging, sys, warnings
from pydicom.misc import warn_and_log
from DeepDosePredictLib.app.console import progress_bar, set_up_console
set_up_console("--verbose" in sys.argv)
warn_and_log("a value\\nis odd")
warnings.warn("old", DeprecationWarning)
logging.getLogger("lightning.pytorch").info("buy this")
logging.getLogger("DeepDosePredictLib.model.predictor").warning("pt_1: no PTV56")
for _ in progress_bar(range(3)):
    pass
logging.getLogger("other").error("it broke")
"""


def said(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments], cwd=LIBRARY, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


def test_only_what_concerns_the_user_is_said():
    assert said() == ["deepdose: pt_1: no PTV56", "deepdose: it broke"]


def test_verbose_says_the_rest_once():
    assert said("--verbose") == [
        "deepdose: UserWarning: a value is odd",
        "deepdose: DeprecationWarning: old",
        "deepdose: buy this",
        "deepdose: pt_1: no PTV56",
        "deepdose: it broke",
    ]


def test_every_argument_is_explained():
    commands = next(action for action in cli._parser()._actions if isinstance(action.choices, dict)).choices
    unexplained = [(name, action.dest) for name, one in commands.items() for action in one._actions if not action.help]
    assert unexplained == [] and "phantom" in commands
    assert all("--verbose" in one.format_help() for one in commands.values())


def test_names_neither_steer_the_terminal_nor_make_lines_of_their_own(tmp_path, patients, capsys):
    evil = "pt_1\ndeepdose: all is well\x1b[31m"
    (tmp_path / evil).mkdir()
    roles = tmp_path / "roles.json"
    roles.write_text(json.dumps({"patients": {evil: {"PTV70": "x"}}}))
    assert cli.main(["structures", str(tmp_path / evil)]) == 1
    assert cli.main(["structures", str(patients), "--roles", str(roles)]) == 0
    assert cli.main(["predict", str(tmp_path / evil), "-o", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert not any(line.startswith("deepdose: all") for line in (said.out + said.err).splitlines())
    assert "\x1b" not in said.out + said.err and "all is well" in said.err
