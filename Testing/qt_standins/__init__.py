"""Stand-ins for the names of the Slicer application that slicer-core lacks, for tests of the panel in a real Qt window.

`qt` and `ctk` are PySide6 in PythonQt's manner (see pythonqt.py), qMRML widgets stand on slicer-core's real scene,
slicer.util is the genuine one of slicer-core.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest

pytest.importorskip(
    "PySide6.QtWidgets",
    reason="the panel's tests need PySide6 and the libraries it stands on (EGL)",
    exc_type=ImportError,
)
import slicer
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QWidget

from . import application, parameter_node, scripted_module, ui_loader
from .ctk_widgets import WIDGETS as CTK_WIDGETS
from .layout_manager import LayoutManager
from .module_panel import ModulePanel, qSlicerScriptedLoadableModuleWidget
from .pythonqt import FlatModule, complaints, qt_module, unwrap, wrap, wrapper_class
from .qmrml_widgets import WIDGETS as QMRML_WIDGETS

MODULE = Path(__file__).resolve().parents[2] / "DeepDosePredict" / "DeepDosePredict.py"
DOCK_WIDTH = 400


class SlicerSession:
    """A Slicer with one scripted module; `close` takes everything away again."""

    def __init__(self, scene):
        """scene: a mrml_scene.Scene."""
        self.scene = scene.scene
        complaints.clear()
        self._library = _library_modules()
        self._added: list[tuple[object, str]] = []
        self._modules = {
            "qt": qt_module({"QUiLoader": ui_loader.QUiLoader}),
            "ctk": FlatModule("ctk", {widget.__name__: wrapper_class(widget) for widget in CTK_WIDGETS}),
            "slicer.i18n": application.i18n_module(),
            "slicer.ScriptedLoadableModule": scripted_module.scripted_module(),
            "slicer.parameterNodeWrapper": parameter_node.parameter_node_module(),
            "SampleData": application.sample_data_module(),
        }
        sys.modules.update(self._modules)
        self.layout = LayoutManager(self.scene, scene.application)
        self._filing = application.file_new_nodes(self.scene)
        self.app = application.SlicerApplication(self.scene, self.layout)
        self._give(slicer, "app", self.app)
        self._give(slicer, "mrmlScene", self.scene)
        for widget in QMRML_WIDGETS:
            self._give(slicer, widget.__name__, wrapper_class(widget))
        self.python = self._import_module()
        self.module_widget = None

    def _give(self, owner, name: str, value) -> None:
        setattr(owner, name, value)
        self._added.append((owner, name))

    def _import_module(self):
        """The module's file, as Slicer's module factory imports it."""
        name = MODULE.stem
        spec = importlib.util.spec_from_file_location(name, MODULE)
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        self.description = types.SimpleNamespace(
            path=str(MODULE), widgetRepresentation=lambda: self.module_widget.parent, reload=self._reload
        )
        self._give(slicer.modules, name.lower(), self.description)
        getattr(module, name)(self.description)
        return module

    def open(self, height: int = 1000):
        """Select the module: its widget in a dock 400 pixels wide. Returns the Python widget."""
        import qt

        self.area = wrap(ModulePanel())
        self.area.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)
        parent = wrap(qSlicerScriptedLoadableModuleWidget())
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        self.area.setWidget(parent)
        self._make_widget(parent)
        self.enter()
        self.area.resize(DOCK_WIDTH, height)
        self.area.show()
        self.app.processEvents()
        return self.module_widget

    def _make_widget(self, parent) -> None:
        self.module_widget = self.python.DeepDosePredictWidget(parent)
        unwrap(parent).setPythonWidget(self.module_widget)
        self.module_widget.setup()

    def enter(self) -> None:
        """Come back to the module."""
        unwrap(self.module_widget.parent).enter()
        self.app.processEvents()

    def leave(self) -> None:
        """Select another module."""
        unwrap(self.module_widget.parent).exit()

    def _reload(self) -> None:
        """slicer.util.reloadScriptedModule: a new widget in the old one's place, which is not told to enter."""
        parent = self.module_widget.parent
        self.module_widget.cleanup()
        for child in unwrap(parent).findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly):
            self.discard(wrap(child))
        self.python = self._import_module()
        self._make_widget(parent)

    def wait(self, milliseconds: int = 600) -> None:
        """Let timers run."""
        from PySide6 import QtTest

        QtTest.QTest.qWait(milliseconds)

    def grab(self, path: Path) -> None:
        """The whole panel as an image, as wide as the dock."""
        for _ in range(3):
            self.app.processEvents()
            wanted = unwrap(self.module_widget.parent).sizeHint().height() + 4
            self.area.resize(DOCK_WIDTH, wanted)
        self.app.processEvents()
        unwrap(self.area).grab().save(str(path))

    @staticmethod
    def discard(window) -> None:
        """Destroy a window, whose widgets then no longer follow the scene."""
        unwrap(window).close()
        for widget in (unwrap(window), *unwrap(window).findChildren(QWidget)):
            if hasattr(widget, "setMRMLScene"):
                widget.setMRMLScene(None)
        window.delete()

    def close(self) -> None:
        if self.module_widget is not None:
            if self.module_widget.parent:
                self.leave()
                self.module_widget.cleanup()
                self.discard(self.area)
            self.module_widget = None
        self.layout.close()
        self.scene.RemoveObserver(self._filing)
        if _library_modules().get("DeepDosePredictLib") is not self._library.get("DeepDosePredictLib"):
            application.forget(tuple(_library_modules()))  # of a reload; tests hold the modules from before
            sys.modules.update(self._library)
            for package in self._library.values():  # and packages what was imported into them since
                for name, value in list(vars(package).items()):
                    whole = f"{package.__name__}.{name}"
                    if whole not in self._library and getattr(value, "__name__", "") == whole:
                        delattr(package, name)
        application.forget(
            (
                *self._modules,
                MODULE.stem,
                *(name for name in sys.modules if name.startswith("DeepDosePredictLib.panel")),
            )
        )
        for owner, name in self._added:
            if hasattr(owner, name):
                delattr(owner, name)


def _library_modules() -> dict:
    return {name: module for name, module in sys.modules.items() if name.startswith("DeepDosePredictLib")}
