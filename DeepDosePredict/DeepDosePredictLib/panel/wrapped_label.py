"""Labels that wrap their text and are never cut."""

from __future__ import annotations

import qt


class WrappedLabel(qt.QObject):
    """Insists on the height that a label's text needs.

    Slicer's module panel gives its widgets the minimum size hint, which is one line for a wrapped label.
    """

    def __init__(self, label):
        qt.QObject.__init__(self)
        self.label = label
        label.installEventFilter(self)
        self._fit()

    def show(self, text: str) -> None:
        """Show a text; the label hides without one."""
        self.label.text = text
        self.label.visible = bool(text)
        self._fit()

    def eventFilter(self, label, event) -> bool:
        if event.type() == qt.QEvent.Resize:
            self._fit()
        return False

    def _fit(self) -> None:
        self.label.minimumHeight = 0  # which the next line's height would not fall below
        self.label.minimumHeight = max(0, self.label.heightForWidth(self.label.width))
