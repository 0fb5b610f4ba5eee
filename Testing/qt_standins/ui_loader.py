"""QUiLoader of PythonQt: loads a Designer file with the stand-ins, and says what Qt would say about mistakes in it."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from .ctk_widgets import WIDGETS as CTK_WIDGETS
from .pythonqt import complain, wrap, wrapper_class
from .qmrml_widgets import WIDGETS as QMRML_WIDGETS

CUSTOM = {widget.__name__: widget for widget in (*CTK_WIDGETS, *QMRML_WIDGETS)}


class QUiLoader:
    """`qt.QUiLoader()`."""

    def load(self, qfile):
        """The top-level widget, or None for a malformed file or unknown top-level class."""
        text = bytes(_raw(qfile).readAll().data()).decode()
        try:
            tree = ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            complain(f"Designer: {error}")
            return None
        connections = tree.find("connections")
        if connections is not None:  # VTK signatures are unknown to PySide6; connected below
            tree.remove(connections)
        for widget in tree.iter("widget"):
            if widget.get("class") not in CUSTOM and not hasattr(QtWidgets, widget.get("class")):
                complain(f"QFormBuilder was unable to create a widget of the class '{widget.get('class')}'")
        loader = QtUiTools.QUiLoader()
        for widget in CUSTOM.values():
            loader.registerCustomWidget(widget)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(tree))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        top = loader.load(buffer)
        if top is None:
            complain(loader.errorString())
            return None
        _check_properties(tree, top)
        for connection in connections if connections is not None else ():
            _connect(top, *(connection.findtext(tag) for tag in ("sender", "signal", "receiver", "slot")))
        return wrap(top)


def _raw(qfile):
    return object.__getattribute__(qfile, "_cpp") if not isinstance(qfile, QtCore.QFile) else qfile


def _child(top: QtWidgets.QWidget, name: str):
    return top if top.objectName() == name else top.findChild(QtCore.QObject, name)


def _check_properties(tree: ElementTree.Element, top: QtWidgets.QWidget) -> None:
    """Designer files may set properties that a class has not; Qt makes them dynamic without a word."""
    for widget in tree.iter("widget"):
        made = _child(top, widget.get("name"))
        for prop in widget.findall("property") if made is not None else ():
            if prop.get("stdset") != "0" and made.metaObject().indexOfProperty(prop.get("name")) < 0:
                complain(f"{widget.get('class')} {widget.get('name')} has no property '{prop.get('name')}'")


def _connect(top, sender: str, signal: str, receiver: str, slot: str) -> None:
    source, target = _child(top, sender), _child(top, receiver)
    method = slot.partition("(")[0]
    if source is None or target is None or not hasattr(target, method):
        complain(f"QObject::connect: cannot connect {sender}.{signal} to {receiver}.{slot}")
        return
    wrap(source).connect(signal, getattr(target, method))


for _widget in CUSTOM.values():
    wrapper_class(_widget)
