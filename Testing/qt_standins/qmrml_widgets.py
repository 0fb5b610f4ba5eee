"""The qMRML widgets that the panel uses, on slicer-core's real scene."""

from __future__ import annotations

import slicer
import vtk
from PySide6 import QtCore, QtWidgets


def _check(value, of_class, name: str):
    """VTK arguments are checked as PythonQt does it."""
    if value is None:
        return
    if not isinstance(value, vtk.vtkObject):
        raise TypeError("method requires a VTK object")
    if not isinstance(value, of_class):
        raise TypeError(f"method requires a {name}, a {value.GetClassName()} was provided.")


class _SceneWidget(QtWidgets.QWidget):
    """Something with a scene."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self._tags: list[int] = []

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        _check(scene, slicer.vtkMRMLScene, "vtkMRMLScene")
        if scene is self._scene:
            return
        if self._scene is not None:
            for tag in self._tags:
                self._scene.RemoveObserver(tag)
        self._scene, self._tags = scene, []
        self._scene_set()

    def _scene_set(self) -> None: ...


class qMRMLWidget(_SceneWidget):
    scene_changed = QtCore.Signal(object)
    _signals = {"mrmlSceneChanged(vtkMRMLScene*)": "scene_changed"}  # noqa: RUF012

    def _scene_set(self) -> None:
        self.scene_changed.emit(self._scene)


def _value_property(of_type, name: str) -> QtCore.Property:
    def read(self):
        return self._values[name]

    def write(self, value) -> None:
        self._values[name] = value
        self._refill()

    return QtCore.Property(of_type, read, write)


class qMRMLNodeComboBox(_SceneWidget):
    """Selects a node of the scene by class."""

    node_changed = QtCore.Signal(object)
    node_changed_bool = QtCore.Signal(bool)
    node_id_changed = QtCore.Signal(str)
    node_activated = QtCore.Signal(object)
    node_added = QtCore.Signal(object)
    _signals = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": "node_changed",
        "currentNodeChanged(bool)": "node_changed_bool",
        "currentNodeIDChanged(QString)": "node_id_changed",
        "nodeActivated(vtkMRMLNode*)": "node_activated",
        "nodeAdded(vtkMRMLNode*)": "node_added",
    }
    nodeTypes = _value_property("QStringList", "nodeTypes")
    noneEnabled = _value_property(bool, "noneEnabled")
    addEnabled = _value_property(bool, "addEnabled")
    removeEnabled = _value_property(bool, "removeEnabled")
    renameEnabled = _value_property(bool, "renameEnabled")
    editEnabled = _value_property(bool, "editEnabled")
    showHidden = _value_property(bool, "showHidden")
    showChildNodeTypes = _value_property(bool, "showChildNodeTypes")
    selectNodeUponCreation = _value_property(bool, "selectNodeUponCreation")
    baseName = _value_property(str, "baseName")
    noneDisplay = _value_property(str, "noneDisplay")

    def __init__(self, parent=None):
        super().__init__(parent)
        self._values = {
            "nodeTypes": [],
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "renameEnabled": False,
            "editEnabled": False,
            "showHidden": False,
            "showChildNodeTypes": True,
            "selectNodeUponCreation": True,
            "baseName": "",
            "noneDisplay": "None",
        }
        self._current = None
        self._box = QtWidgets.QComboBox(self)
        self._box.setObjectName("ComboBox")
        self._box.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        expanding, fixed = QtWidgets.QSizePolicy.Policy.MinimumExpanding, QtWidgets.QSizePolicy.Policy.Fixed
        self.setSizePolicy(expanding, fixed)
        self._box.setSizePolicy(expanding, fixed)
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.activated.connect(lambda index: self.setCurrentNodeID(self._box.itemData(index) or ""))
        self.setEnabled(False)

    # --- the scene

    def _scene_set(self) -> None:
        self.setEnabled(self._scene is not None)
        if self._scene is None:
            self.setCurrentNode(None)
            return
        scene = slicer.vtkMRMLScene
        self._observe(scene.NodeAddedEvent, self._on_added)
        self._observe(scene.NodeRemovedEvent, self._on_removed)
        for event in (scene.EndCloseEvent, scene.EndImportEvent, scene.EndBatchProcessEvent):
            self._tags.append(self._scene.AddObserver(event, lambda *_: self._reconcile()))
        self._refill()
        if not self._values["noneEnabled"]:
            self.setCurrentNode(next(iter(self._nodes()), None))

    def _observe(self, event, method) -> None:
        @vtk.calldata_type(vtk.VTK_OBJECT)
        def call(caller, name, node):
            method(node)

        self._tags.append(self._scene.AddObserver(event, call))

    def _on_added(self, node) -> None:
        if self._accepts(node):
            self._refill()
            self.node_added.emit(node)

    def _on_removed(self, node) -> None:
        self._refill()
        if node is self._current:
            self.setCurrentNode(next(iter(self._nodes()), None))

    def _reconcile(self) -> None:
        self._refill()
        if self._current is not None and self._current not in self._nodes():
            self.setCurrentNode(None)

    def _accepts(self, node) -> bool:
        if node is None or (node.GetHideFromEditors() and not self._values["showHidden"]):
            return False
        if self._values["showChildNodeTypes"]:
            return any(node.IsA(name) for name in self._values["nodeTypes"])
        return node.GetClassName() in self._values["nodeTypes"]

    def _nodes(self) -> list:
        if self._scene is None:
            return []
        nodes = (self._scene.GetNthNode(n) for n in range(self._scene.GetNumberOfNodes()))
        return [node for node in nodes if self._accepts(node)]

    def _refill(self) -> None:
        self._box.clear()
        if self._values["noneEnabled"] or self._current is None:
            self._box.addItem(self._values["noneDisplay"] if self._values["noneEnabled"] else "Select a node...", "")
        for node in self._nodes():
            self._box.addItem(node.GetName(), node.GetID())
        self._box.setCurrentIndex(max(0, self._box.findData(self._current.GetID() if self._current else "")))

    # --- the node

    def currentNode(self):
        return self._current

    def setCurrentNode(self, node) -> None:
        _check(node, slicer.vtkMRMLNode, "vtkMRMLNode")
        node = node if self._accepts(node) else None
        if node is self._current:
            return
        self._current = node
        self._refill()
        self.node_changed.emit(node)
        self.node_changed_bool.emit(node is not None)
        self.node_id_changed.emit(node.GetID() if node else "")
        if node is not None:
            self.node_activated.emit(node)

    def setCurrentNodeID(self, node_id) -> None:
        self.setCurrentNode(self._scene.GetNodeByID(node_id) if self._scene and node_id else None)

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int):
        return self._nodes()[index]


WIDGETS = (qMRMLWidget, qMRMLNodeComboBox)
