"""`slicer.parameterNodeWrapper`: typed parameters in a node, and their connection to widgets, strict."""

from __future__ import annotations

import enum
import types
import typing

import slicer
import vtk

from .pythonqt import wrapper_class


class Choice:
    def __init__(self, choices):
        self.choices = list(choices)


class _Parameter:
    """One parameter: how it is checked, written to the node and read back."""

    def __init__(self, name: str, annotation, default):
        self.name = name
        annotations = ()
        if typing.get_origin(annotation) is typing.Annotated:
            annotation, *annotations = typing.get_args(annotation)
        self.type = annotation
        self.choice = next((a for a in annotations if isinstance(a, Choice)), None)
        self.is_node = isinstance(annotation, type) and issubclass(annotation, slicer.vtkMRMLNode)
        self.is_enum = isinstance(annotation, type) and issubclass(annotation, enum.Enum)
        if not (self.is_node or self.is_enum or annotation in (str, bool, int, float)):
            raise Exception(f"Unable to create serializer for member {name}")
        self.default = default if default is not None else self._first_default()

    def _first_default(self):
        if self.is_node:
            return None
        return next(iter(self.type)) if self.is_enum else self.type()

    def check(self, value) -> None:
        if value is None and not self.is_node:
            raise ValueError("Value must not be None")
        allowed = (int, float) if self.type is float else self.type
        if value is not None and (not isinstance(value, allowed) or (self.type is int and isinstance(value, bool))):
            raise TypeError(f"Value must be of type '{self.type}', is type '{type(value)}'")
        if self.choice and value not in self.choice.choices:
            raise ValueError(f"Value must be within choices {self.choice.choices}, is {value}")

    def is_in(self, node) -> bool:
        return bool(node.HasParameter(self.name))

    def write(self, node, value) -> None:
        self.check(value)
        if self.is_node:
            node.SetParameter(self.name, "")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
        else:
            node.SetParameter(self.name, value.name if self.is_enum else str(value))

    def read(self, node):
        if self.is_node:
            return node.GetNodeReference(self.name)
        if not self.is_in(node):
            self.write(node, self.default)
        text = node.GetParameter(self.name)
        if self.is_enum:
            return self.type[text]
        return text == "True" if self.type is bool else self.type(text)


class _Connector:
    """Two-way connection of a widget and a parameter."""

    def __init__(self, widget, parameter: _Parameter):
        self.widget, self.parameter = widget, parameter
        self.values = None
        kind = type(widget)
        qt = {name: wrapper_class(cls) for name, cls in _qt_classes().items()}
        if parameter.is_node and kind is slicer.qMRMLNodeComboBox:
            self.signal, self.read = widget.currentNodeChanged, widget.currentNode
            self.write = widget.setCurrentNode
        elif parameter.type is bool and kind is qt["QCheckBox"]:
            self.signal = widget.stateChanged
            self.read, self.write = lambda: widget.checked, lambda value: setattr(widget, "checked", value)
        elif parameter.type is str and not parameter.choice and kind is qt["QLineEdit"]:
            self.signal = widget.textChanged
            self.read, self.write = lambda: widget.text, lambda value: setattr(widget, "text", value)
        elif (parameter.is_enum or parameter.choice) and kind is qt["QComboBox"]:
            self._fill(widget)
        else:
            raise RuntimeError(
                f"Unable to create GUI connector from datatype '{parameter.type}' to widget type '{kind}'"
            )

    def _fill(self, combo) -> None:
        if self.parameter.is_enum:
            label = getattr(self.parameter.type, "label", lambda member: member.name)
            self.values = list(self.parameter.type)
            labels = [label(value) for value in self.values]
        else:
            self.values = self.parameter.choice.choices
            labels = [str(value) for value in self.values]
        combo.clear()
        for text in labels:
            combo.addItem(text)
        self.signal = combo.currentIndexChanged
        self.read = lambda: self.values[combo.currentIndex]
        self.write = lambda value: setattr(combo, "currentIndex", self.values.index(value))


def _qt_classes() -> dict[str, type]:
    from PySide6 import QtWidgets

    return {name: getattr(QtWidgets, name) for name in ("QCheckBox", "QLineEdit", "QComboBox")}


def parameterNodeWrapper(cls):
    """Class decorator."""
    hints = typing.get_type_hints(cls, include_extras=True)
    parameters = {name: _Parameter(name, hint, getattr(cls, name, None)) for name, hint in hints.items()}
    for name, parameter in parameters.items():
        setattr(cls, name, _property(parameter))
    for name, function in vars(_Methods).items():
        if not name.startswith("__") or name == "__init__":
            setattr(cls, name, function)
    cls.allParameters = parameters
    return cls


def _property(parameter: _Parameter) -> property:
    return property(lambda self: parameter.read(self.parameterNode), lambda self, value: self._write(parameter, value))


class _Methods:
    """What the decorator gives to the class."""

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._guis: dict[int, list] = {}
        self._next_tag = 0
        self._updating = False
        for parameter in self.allParameters.values():
            if not parameter.is_in(parameterNode):
                parameter.write(parameterNode, parameter.default)

    def _write(self, parameter: _Parameter, value) -> None:
        with slicer.util.NodeModify(self.parameterNode):
            parameter.write(self.parameterNode, value)

    def connectGui(self, gui) -> int:
        widgets = {}
        for widget in vars(gui).values():
            name = widget.property("SlicerParameterName")
            if name:
                widgets[name] = widget
        return self.connectParametersToGui(widgets)

    def connectParametersToGui(self, mapping) -> int:
        for name in mapping:
            if name not in self.allParameters:
                raise ValueError(f"Cannot find a param with the given name: {name}")
        connectors = [_Connector(widget, self.allParameters[name]) for name, widget in mapping.items()]
        tag, self._next_tag = self._next_tag, self._next_tag + 1
        self._guis[tag] = []
        for connector in connectors:
            connector.write(getattr(self, connector.parameter.name))
            callback = self._callback(connector)
            connector.signal.connect(callback)
            self._guis[tag].append((connector, callback))
        self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._update_gui())
        return tag

    def _callback(self, connector: _Connector):
        def changed(*_):
            if not self._updating:
                setattr(self, connector.parameter.name, connector.read())

        return changed

    def _update_gui(self) -> None:
        if self._updating:
            return
        self._updating = True
        try:
            with slicer.util.NodeModify(self.parameterNode):
                for connectors in self._guis.values():
                    for connector, _ in connectors:
                        connector.write(getattr(self, connector.parameter.name))
        finally:
            self._updating = False

    def disconnectGui(self, tag) -> None:
        for connector, callback in self._guis.pop(tag, ()):
            connector.signal.disconnect(callback)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, was_modified):
        return self.parameterNode.EndModify(was_modified)

    def Modified(self):
        return self.parameterNode.Modified()


def parameter_node_module() -> types.ModuleType:
    module = types.ModuleType("slicer.parameterNodeWrapper")
    module.parameterNodeWrapper, module.Choice = parameterNodeWrapper, Choice
    module.__all__ = ["Choice", "parameterNodeWrapper"]
    return module
