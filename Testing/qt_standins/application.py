"""`slicer.app` and what hangs on it, as far as the module meets it."""

from __future__ import annotations

import sys
import tempfile
import types

import slicer
import vtk
from PySide6 import QtWidgets

from .pythonqt import complain, unwrap, wrap


class _ModuleManager:
    def connect(self, signal: str, function) -> bool:
        if signal != "moduleAboutToBeUnloaded(QString)":
            complain(f"QObject::connect() signal '{signal}' does not exist")
            return False
        return True

    def disconnect(self, signal: str, function) -> bool:
        return True


class SlicerApplication:
    """The part of qSlicerApplication that the module uses; any other name is an AttributeError."""

    def __init__(self, scene, layout):
        self._scene, self._layout = scene, layout
        self._application = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer"])
        self._application.setStyle("Fusion")
        self._startup: list = []
        self._manager = _ModuleManager()
        self.applicationName = "Slicer"
        self.temporaryPath = tempfile.gettempdir()
        self.processed = 0

    def connect(self, signal: str, function) -> bool:
        if signal != "startupCompleted()":
            complain(f"QObject::connect() signal '{signal}' does not exist")
            return False
        self._startup.append(function)
        return True

    def startup_completed(self) -> None:
        """What the application emits when it is up; called by tests."""
        for function in self._startup:
            function()

    def mrmlScene(self):
        return self._scene

    def processEvents(self) -> None:
        self.processed += 1
        self._application.processEvents()

    def layoutManager(self):
        return self._layout

    def moduleManager(self):
        return self._manager

    def testingEnabled(self) -> bool:
        return False

    def topLevelWidgets(self) -> tuple:
        return wrap(self._application.topLevelWidgets())

    def setOverrideCursor(self, cursor) -> None:
        self._application.setOverrideCursor(unwrap(cursor))

    def restoreOverrideCursor(self) -> None:
        self._application.restoreOverrideCursor()


IN_HIERARCHY = ("Volume", "Segmentation", "Model", "Table", "PlotSeries", "PlotChart")


def file_new_nodes(scene):
    """Give every new data node an item at the root of the subject hierarchy, as Slicer does; the observer's tag.

    slicer-core has no such plugins.
    """

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def file(caller, event, node):
        if any(node.IsA(f"vtkMRML{kind}Node") for kind in IN_HIERARCHY) and not node.GetHideFromEditors():
            hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
            if not hierarchy.GetItemByDataNode(node):
                hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)

    return scene.AddObserver(slicer.vtkMRMLScene.NodeAddedEvent, file)


dictionary: list = []
"""At most one function that translates a text."""


def i18n_module() -> types.ModuleType:
    """`slicer.i18n`, by default without a translation."""
    module = types.ModuleType("slicer.i18n")
    module.tr = lambda text: dictionary[0](text) if dictionary else text
    module.translate = lambda context, text, disambiguation=None, n=-1: module.tr(text)
    return module


def sample_data_module() -> types.ModuleType:
    """`SampleData`: remembers what was registered."""
    module = types.ModuleType("SampleData")

    class SampleDataLogic:
        sources: list[dict] = []  # noqa: RUF012

        @staticmethod
        def registerCustomSampleDataSource(
            category="Custom",
            sampleName=None,
            uris=None,
            fileNames=None,
            nodeNames=None,
            customDownloader=None,
            thumbnailFileName=None,
            loadFileTypes=None,
            loadFiles=None,
            loadFileProperties=None,
            checksums=None,
        ):
            SampleDataLogic.sources.append(dict(locals()))

    module.SampleDataLogic = SampleDataLogic
    return module


def forget(names: tuple[str, ...]) -> None:
    for name in names:
        sys.modules.pop(name, None)
