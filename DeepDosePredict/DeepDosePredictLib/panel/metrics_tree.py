"""The metrics of the results: a group for each structure, goals first, numbers to the right."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import qt
from slicer.i18n import tr as _

NAME, REFERENCE, PREDICTED, DIFFERENCE, GOAL, EXPLORED = range(6)
KEYS = ("metric", "reference", "predicted", "difference", "goal", "explored")
SEGMENT = 256  # Qt.UserRole
ROWS_SHOWN = 16
Color = tuple[float, float, float]
"""Red, green and blue from 0 to 1."""


class MetricsTree:
    """Shows the rows of a comparison table in a QTreeWidget.

    Args:
        on_select: called with the ID of the structure that the user selects.
        on_check: called with the ID of a structure and whether its curves are to be seen.
    """

    def __init__(self, tree, on_select: Callable[[str], None], on_check: Callable[[str, bool], None]):
        self.tree = tree
        self._rows: list[dict] = []
        self._seen: Mapping[str, bool] = {}
        self._colors: Mapping[str, Color] = {}
        self._shown: tuple = ()
        self._sorting: tuple[int, bool] | None = None
        self._on_select, self._on_check = on_select, on_check
        tree.setHeaderLabels([_("Structure"), _("Ref"), _("Pred"), _("Diff"), _("Goal"), _("Expl")])
        header = tree.header()
        header.setStretchLastSection(False)
        header.setSectionsClickable(True)
        header.setMinimumSectionSize(24)
        for column in range(len(KEYS)):
            stretch = qt.QHeaderView.Stretch if column == NAME else qt.QHeaderView.ResizeToContents
            header.setSectionResizeMode(column, stretch)
        header.moveSection(EXPLORED, GOAL)  # numbers side by side
        header.connect("sectionClicked(int)", self._on_sort)
        tree.connect("itemSelectionChanged()", self._on_selection)
        tree.connect("itemChanged(QTreeWidgetItem*,int)", self._on_changed)
        self._copy = qt.QShortcut(qt.QKeySequence(qt.QKeySequence.Copy), tree)
        self._copy.setContext(qt.Qt.WidgetShortcut)
        self._copy.connect("activated()", self.copy)

    def show(self, rows: list[dict], seen: Mapping[str, bool], colors: Mapping[str, Color]) -> None:
        """Show rows of `comparisonRows` with the colours of their structures' curves, a legend of the chart.

        Args:
            seen: {segment ID: whether its curves are in the chart}.
            colors: {segment ID: colour}.
        """
        rows = [row for row in rows if row.get("segmentId")]
        self._rows, self._seen, self._colors = rows, dict(seen), colors
        if self._shown != self._state():
            self._fill()

    def _state(self) -> tuple:
        """All that the look depends on."""
        return self._rows, self._seen, self._colors, self.tree.enabled, self._is_dark()

    def copy(self) -> None:
        """Put the selected rows, or all, on the clipboard as a table."""
        items = self.tree.selectedItems() or self._items()
        lines = []
        for item in items:
            structure = item.parent().text(NAME) if item.parent() else item.text(NAME)
            cells = [item.text(column) for column in range(len(KEYS)) if not self.tree.isColumnHidden(column)]
            lines.append("\t".join([structure, *cells] if item.parent() else [structure]))
        qt.QApplication.clipboard().setText("\n".join(lines))

    def _items(self) -> list:
        """All, as they stand below each other."""
        items = []
        for n in range(self.tree.topLevelItemCount):
            top = self.tree.topLevelItem(n)
            items += [top, *(top.child(m) for m in range(top.childCount()))]
        return items

    def _fill(self) -> None:
        self._shown = self._state()
        is_open = {item.data(NAME, SEGMENT): item.isExpanded() for item in self._items() if item.parent() is None}
        blocked = self.tree.blockSignals(True)
        self.tree.clear()
        has_reference = any(row["reference"] is not None for row in self._rows)
        has_explored = any(row["explored"] is not None for row in self._rows)
        self.tree.setColumnHidden(REFERENCE, not has_reference)
        self.tree.setColumnHidden(EXPLORED, not has_explored)
        self.tree.setColumnHidden(DIFFERENCE, not has_reference or has_explored)  # a dock has no room for all
        for segment in dict.fromkeys(row["segmentId"] for row in self._rows):
            rows = [row for row in self._rows if row["segmentId"] == segment]
            top = self._add_structure(segment, self._sorted(rows))
            top.setExpanded(is_open.get(segment, any(row["goal"] for row in rows)))
        self.tree.blockSignals(blocked)
        row = self.tree.sizeHintForRow(0) if self._rows else 0
        self.tree.setMinimumHeight(self.tree.header().height + row * min(ROWS_SHOWN, len(self._items())) + 4)

    def _sorted(self, rows: list[dict]) -> list[dict]:
        if self._sorting is None:
            return rows
        column, descending = self._sorting
        key = KEYS[column]
        known = [row for row in rows if row[key] is not None]
        return [*sorted(known, key=lambda row: row[key], reverse=descending), *(r for r in rows if r[key] is None)]

    def _add_structure(self, segment: str, rows: list[dict]):
        top = qt.QTreeWidgetItem()
        top.setText(NAME, rows[0]["structure"])
        top.setToolTip(NAME, _("{name}: tick to see its curves in the DVH").format(name=rows[0]["structure"]))
        top.setData(NAME, SEGMENT, segment)
        top.setCheckState(NAME, qt.Qt.Checked if self._seen.get(segment) else qt.Qt.Unchecked)
        if color := self._colors.get(segment):
            square = qt.QPixmap(10, 10)
            square.fill(qt.QColor(*(round(255 * part) for part in color)))
            top.setIcon(NAME, qt.QIcon(square))
        font = qt.QFont(self.tree.font)
        font.setBold(True)
        top.setFont(NAME, font)
        self.tree.addTopLevelItem(top)
        for row in rows:
            item = qt.QTreeWidgetItem()
            item.setData(NAME, SEGMENT, segment)
            self._fill_row(item, row)
            top.addChild(item)
        top.setFirstColumnSpanned(True)
        return top

    def _fill_row(self, item, row: dict) -> None:
        item.setText(NAME, row["metric"])
        tip = _("{structure}, {metric} in {unit}").format(**row)
        for column, key in enumerate(KEYS):
            item.setToolTip(column, tip)
            if column != NAME:
                item.setTextAlignment(column, qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            value = row[key]
            if isinstance(value, float):
                met = row.get(f"{key}_meets_goal")
                sign = "" if met is None else "✓ " if met else "✗ "
                item.setText(column, f"{sign}{value:+.1f}" if column == DIFFERENCE else f"{sign}{value:.1f}")
                if met is not None and self.tree.enabled:
                    item.setForeground(column, qt.QBrush(self._color(met)))
        item.setText(GOAL, (row["goal"] or "").replace(">=", "≥").replace("<=", "≤"))

    def _color(self, met: bool):
        """Green or red that can be read on the background, light or dark."""
        if met:
            return qt.QColor(110, 220, 130) if self._is_dark() else qt.QColor(0, 115, 40)
        return qt.QColor(255, 130, 120) if self._is_dark() else qt.QColor(190, 0, 0)

    def _is_dark(self) -> bool:
        return self.tree.palette.color(qt.QPalette.Base).lightness() < 128

    # --- what the user does

    def _on_sort(self, column: int) -> None:
        """By this column, then the other way round, then as before."""
        ways = (None, (column, False), (column, True))
        self._sorting = ways[(ways.index(self._sorting) + 1) % 3 if self._sorting in ways else 1]
        header = self.tree.header()
        header.setSortIndicatorShown(self._sorting is not None)
        order = qt.Qt.DescendingOrder if self._sorting and self._sorting[1] else qt.Qt.AscendingOrder
        header.setSortIndicator(column, order)
        self._fill()

    def _on_selection(self) -> None:
        for item in self.tree.selectedItems()[:1]:
            self._on_select(item.data(NAME, SEGMENT))

    def _on_changed(self, item, column: int) -> None:
        if item.parent() is None:
            visible = item.checkState(NAME) == qt.Qt.Checked
            self._seen = {**self._seen, item.data(NAME, SEGMENT): visible}
            self._shown = self._state()
            self._on_check(item.data(NAME, SEGMENT), visible)
