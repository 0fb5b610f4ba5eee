"""CTK's widgets that the panel uses, with the properties, methods and signals of the genuine ones."""

from __future__ import annotations

import enum

from PySide6 import QtCore, QtGui, QtWidgets


class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A header that hides and shows its children; a child hidden by itself stays hidden."""

    contents_collapsed = QtCore.Signal(bool)
    _signals = {"contentsCollapsed(bool)": "contents_collapsed"}  # noqa: RUF012

    def __init__(self, parent=None):
        super().__init__(parent)
        self._collapsed = False
        self._forcing = False
        self.setSizePolicy(QtWidgets.QSizePolicy.Policy.Minimum, QtWidgets.QSizePolicy.Policy.Preferred)
        self.setContentsMargins(0, self._header_height(), 0, 0)
        self.clicked.connect(lambda: self.setCollapsed(not self._collapsed))

    def _is_collapsed(self) -> bool:
        return self._collapsed

    def setCollapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self.setMaximumHeight(self._header_height() if collapsed else 16777215)
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                self._show(child)
        self.updateGeometry()
        self.contents_collapsed.emit(collapsed)

    collapsed = QtCore.Property(bool, _is_collapsed, setCollapsed)

    def _show(self, child: QtWidgets.QWidget) -> None:
        wanted = child.property("visibilityToParent")
        self._forcing = True
        child.setVisible(not self._collapsed and wanted is not False)
        self._forcing = False

    def childEvent(self, event):
        if event.added() and isinstance(event.child(), QtWidgets.QWidget):
            event.child().installEventFilter(self)
        super().childEvent(event)

    def eventFilter(self, child, event):
        kind = event.type()
        if not self._forcing and kind in (QtCore.QEvent.Type.ShowToParent, QtCore.QEvent.Type.HideToParent):
            child.setProperty("visibilityToParent", kind == QtCore.QEvent.Type.ShowToParent)
            if self._collapsed and kind == QtCore.QEvent.Type.ShowToParent:
                self._show(child)
        return False

    def _header_height(self) -> int:
        return self.fontMetrics().height() + 8

    def sizeHint(self):
        if self._collapsed or self.layout() is None:
            return QtCore.QSize(120, self._header_height())
        return self.layout().totalSizeHint()

    def minimumSizeHint(self):
        if self._collapsed or self.layout() is None:
            return QtCore.QSize(120, self._header_height())
        return self.layout().totalMinimumSize()

    def hitButton(self, point) -> bool:
        return point.y() < self._header_height()

    def paintEvent(self, event):
        painter = QtGui.QPainter(self)
        header = QtCore.QRect(0, 0, self.width(), self._header_height())
        painter.fillRect(header, self.palette().color(QtGui.QPalette.ColorRole.Button).darker(106))
        option = QtWidgets.QStyleOption()
        option.initFrom(self)
        option.rect = QtCore.QRect(6, header.height() // 2 - 5, 10, 10)
        arrow = QtWidgets.QStyle.PrimitiveElement
        self.style().drawPrimitive(
            arrow.PE_IndicatorArrowRight if self._collapsed else arrow.PE_IndicatorArrowDown, option, painter, self
        )
        painter.drawText(header.adjusted(22, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, self.text())


class ctkComboBox(QtWidgets.QComboBox):
    """A combo box that can refuse the mouse wheel and elide its text."""

    class ScrollEffect(enum.IntEnum):
        NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = range(4)

    QtCore.QEnum(ScrollEffect)
    NeverScroll, AlwaysScroll, ScrollWithFocus, ScrollWithNoVScrollBar = ScrollEffect

    def __init__(self, parent=None):
        super().__init__(parent)
        self._effect, self._elide = 1, QtCore.Qt.TextElideMode.ElideNone

    def _get_elide(self):
        return self._elide

    def _set_elide(self, mode) -> None:
        self._elide = mode
        self.update()

    elideMode = QtCore.Property(QtCore.Qt.TextElideMode, _get_elide, _set_elide)

    def shown_text(self) -> str:
        """What of the current text is drawn; for tests."""
        option = QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        style = QtWidgets.QStyle
        field = self.style().subControlRect(
            style.ComplexControl.CC_ComboBox, option, style.SubControl.SC_ComboBoxEditField, self
        )
        return self.fontMetrics().elidedText(self.currentText(), self._elide, field.width() - 4)

    def paintEvent(self, event):
        painter, option = QtWidgets.QStylePainter(self), QtWidgets.QStyleOptionComboBox()
        self.initStyleOption(option)
        painter.drawComplexControl(QtWidgets.QStyle.ComplexControl.CC_ComboBox, option)
        option.currentText = self.shown_text()
        painter.drawControl(QtWidgets.QStyle.ControlElement.CE_ComboBoxLabel, option)

    def _get_effect(self) -> int:
        return self._effect

    def setScrollWheelEffect(self, effect: int) -> None:
        self._effect = int(effect)

    scrollWheelEffect = QtCore.Property(int, _get_effect, setScrollWheelEffect)

    def wheelEvent(self, event):
        if self._effect == ctkComboBox.NeverScroll:
            event.ignore()
        else:
            super().wheelEvent(event)


WIDGETS = (ctkCollapsibleButton, ctkComboBox)
