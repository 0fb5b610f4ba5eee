"""The dock of the module panel, and the widget of a scripted module in it."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets

from .qmrml_widgets import qMRMLWidget


class ModulePanel(QtWidgets.QScrollArea):
    """A scroll area that gives its widget the minimum size hint, not the height that its width needs.

    QScrollArea by itself asks for the height for width; Slicer's panel does not, so a wrapped label that does not
    insist on its height is drawn over what follows.
    """

    def setWidget(self, widget) -> None:
        super().setWidget(widget)
        self.setWidgetResizable(False)
        widget.installEventFilter(self)
        self.fit()

    def fit(self) -> None:
        widget, view = self.widget(), self.viewport().size()
        widget.resize(view.width(), max(view.height(), widget.minimumSizeHint().height()))

    def resizeEvent(self, event) -> None:
        super().resizeEvent(event)
        if self.widget() is not None:
            self.fit()

    def eventFilter(self, widget, event) -> bool:
        if event.type() == QtCore.QEvent.Type.LayoutRequest:
            self.fit()
        return False


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The parent of a scripted module's widget; knows whether the module is shown."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._python = None
        self._entered = False

    def setPythonWidget(self, widget) -> None:
        self._python = widget

    def isEntered(self) -> bool:
        return self._entered

    def enter(self) -> None:
        self._entered = True
        self._python.enter()

    def exit(self) -> None:
        self._entered = False
        self._python.exit()
