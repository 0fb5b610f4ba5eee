"""The panel's files agree with each other, and the module imports where little is installed."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

MODULE = Path(__file__).resolve().parents[1] / "DeepDosePredict"
UI = ElementTree.parse(MODULE / "Resources" / "UI" / "DeepDosePredict.ui").getroot()
SOURCES = [MODULE / "DeepDosePredict.py", *sorted((MODULE / "DeepDosePredictLib" / "panel").glob("*.py"))]


def ui_names() -> list[str]:
    return [element.get("name") for tag in ("widget", "layout", "spacer") for element in UI.iter(tag)]


def names_used_by_python() -> set[str]:
    """Every X of `self.ui.X` and `ui.X`."""
    used = set()
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                owner = node.value
                if getattr(owner, "id", getattr(owner, "attr", None)) == "ui":
                    used.add(node.attr)
    return used


def test_every_name_used_by_python_exists_in_the_ui_file():
    used = names_used_by_python()
    assert len(used) > 25
    assert used <= set(ui_names())


def test_every_name_in_the_ui_file_is_unique():
    names = ui_names()
    assert sorted(names) == sorted(set(names))


def test_every_widget_with_a_scene_is_connected_to_it():
    with_scene = {widget.get("name") for widget in UI.iter("widget") if widget.get("class").startswith("qMRML")}
    with_scene -= {"DeepDosePredict"}
    assert with_scene == {connection.findtext("receiver") for connection in UI.iter("connection")}


def test_custom_widgets_are_declared():
    custom = {widget.get("class") for widget in UI.iter("widget") if not widget.get("class").startswith("Q")}
    assert custom == {widget.findtext("class") for widget in UI.iter("customwidget")}


def test_every_parameter_in_the_ui_file_is_one_of_the_node():
    source = (MODULE / "DeepDosePredictLib" / "panel" / "parameter_node.py").read_text(encoding="utf-8")
    node = next(
        n for n in ast.parse(source).body if isinstance(n, ast.ClassDef) and n.name == "DeepDosePredictParameterNode"
    )
    parameters = {statement.target.id for statement in node.body if isinstance(statement, ast.AnnAssign)}
    named = [p.findtext("string") for p in UI.iter("property") if p.get("name") == "SlicerParameterName"]
    assert named and set(named) <= parameters
    assert len(named) == len(set(named))


def test_every_control_has_a_tool_tip():
    """In the file or, where it depends on the results, in Python."""
    kinds = {"QPushButton", "QComboBox", "QCheckBox", "QLineEdit", "QTreeWidget", "qMRMLNodeComboBox"}
    controls = {w.get("name") for w in UI.iter("widget") if w.get("class") in kinds}
    tipped = {
        w.get("name") for w in UI.iter("widget") if any(p.get("name") == "toolTip" for p in w.findall("property"))
    }
    set_by_python = {name for source in SOURCES for name in re.findall(r"ui\.(\w+)\.toolTip = ", source.read_text())}
    assert len(controls) > 20 and controls == tipped & controls | set_by_python


def test_words_of_the_panel_go_through_translation():
    """What Python shows as text or tool tip is no plain literal of words."""
    shown = {"text", "toolTip", "setText", "setToolTip", "showStatus", "show", "_show_status"}
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "attr", "") in shown:
                values = [node.value]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") in shown:
                values = node.args
            else:
                continue
            plain = [v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)]
            assert not any(" " in text for text in plain), (source.name, plain)


def test_icons_exist():
    source = (MODULE / "DeepDosePredictLib" / "panel" / "structure_table.py").read_text(encoding="utf-8")
    for state in ("Matched", "Chosen", "Confirm", "Missing"):
        assert f'"Status{state}"' in source
        assert (MODULE / "Resources" / "Icons" / f"Status{state}.png").read_bytes().startswith(b"\x89PNG")
    assert (MODULE / "Resources" / "Icons" / "DeepDosePredict.png").is_file()


IMPORT_WITH_LITTLE = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "pydicom", "safetensors", "matplotlib", "nrrd", "tqdm", "PyTorchUtils"}:
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Absent())
from mrml_scene import Scene
from qt_standins import SlicerSession, complaints
scene = Scene()
session = SlicerSession(scene)
panel = session.open()
assert panel.ui.reasonLabel.text == "Select a CT volume.", panel.ui.reasonLabel.text
assert session.description.title and "Not for clinical use" in session.description.helpText
session.close()
assert not complaints, complaints
"""


IN_ANOTHER_LANGUAGE = """
import sys
from pathlib import Path
from mrml_scene import Scene
from qt_standins import SlicerSession, application, complaints
from qt_standins.pythonqt import unwrap
application.dictionary.append(lambda text: f"<{text}>")
scene = Scene()
session = SlicerSession(scene)
import slicer
from panel_patient import add_patient
from synthetic import make_model
shown = set()
panel = session.open()
shown.add(panel.ui.reasonLabel.text)
patient = add_patient(scene)
session.wait()
panel.logic.getParameterNode().model = str(make_model(Path(slicer.app.temporaryPath) / "tiny.safetensors"))
panel.ui.referenceDoseSelector.setCurrentNode(patient.dose)
let = session.app.processEvents
session.app.processEvents = lambda: (shown.update((panel.ui.statusLabel.text, panel.ui.predictButton.text)), let())
panel.ui.predictButton.click()
panel.ui.isodoseCheckBox.click()
results = panel.results.results
chart = results.chartNode
shown |= {chart.GetTitle(), chart.GetXAxisTitle(), chart.GetYAxisTitle(), chart.GetNthPlotSeriesNode(0).GetName()}
for node in (results.doseNode, results.differenceNode, results.isodoseNode):
    displays = [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    shown |= {d.GetTitleText() for d in displays if d.IsA("vtkMRMLColorLegendDisplayNode")}
shown |= {panel.ui.scoresLabel.text, panel.ui.differenceCheckBox.toolTip, panel.ui.exportButton.toolTip}
combos = panel.ui.deviceComboBox, panel.ui.outputGridComboBox, panel.ui.dvhSourceComboBox
shown |= {combo.itemText(n) for combo in combos for n in range(combo.count)}
header = panel.ui.metricsTree.headerItem()
shown |= {header.text(n) for n in range(5)}
table = panel.ui.structureTable
shown |= {table.item(n, column).toolTip() for n in range(table.rowCount) for column in (0, 3)}
plain = {text for text in shown if text and "<" not in text}
assert len(shown) > 30 and not plain, plain
session.close()
assert not complaints, complaints
"""


def run_with_a_panel(program: str) -> None:
    pytest.importorskip("slicer", reason="needs slicer-core")
    pytest.importorskip("PySide6", reason="the panel's tests need PySide6")
    paths = [MODULE, Path(__file__).parent]
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_panel_opens_without_torch_pydicom_safetensors_and_slicerrt():
    run_with_a_panel(IMPORT_WITH_LITTLE)


@pytest.mark.slow
def test_words_shown_in_passing_are_translated_in_mrml_too():
    """Progress, titles, headings, choices and tool tips; what is found out about a patient stays as it is recorded."""
    run_with_a_panel(IN_ANOTHER_LANGUAGE)
