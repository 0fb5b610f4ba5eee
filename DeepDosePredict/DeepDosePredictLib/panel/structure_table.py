"""The structure table of the panel: which segment feeds which model input, prescriptions, and what must be asked."""

from __future__ import annotations

from collections.abc import Callable

import ctk
import qt
from slicer.i18n import tr as _

from ..errors import DeepDoseError
from ..patient import structure_rows
from ..patient.assignment import Roles
from ..patient.rois import DOSE_MASK, EXTERNAL
from ..patient.roles import roles_from_json
from ..patient.stated_levels import LEVELS_GY
from ..patient.structure_names import Match
from ..patient.structure_rows import Edits, State, StructureRow

STATUS, INPUT, SEGMENT, DOSE = range(4)
EDITOR_MARGINS = 24
"""Pixels that an editor in a cell needs beside its text."""
ICONS = {
    State.MATCHED: "StatusMatched",
    State.CHOSEN: "StatusChosen",
    State.CONFIRM: "StatusConfirm",
    State.MISSING: "StatusMissing",
}


def label(role: str) -> str:
    """Name of a model input for people."""
    names = {
        "SpinalCord": _("Spinal cord"),
        "RightParotid": _("Right parotid"),
        "LeftParotid": _("Left parotid"),
        EXTERNAL: _("Body"),
        DOSE_MASK: _("Dose mask"),
    }
    return names.get(role, role)


class StructureTable:
    """Shows rows, and reports the user's changes.

    Args:
        table: QTableWidget with the four columns of the .ui file.
        icon_path: gives the path of an icon file by its name.
        on_edit: called with the new Edits when the user changed something.
        on_problem: called with words when the user's entry cannot be used.
    """

    def __init__(
        self,
        table,
        icon_path: Callable[[str], str],
        on_edit: Callable[[Edits], None],
        on_problem: Callable[[str], None],
    ):
        self.table = table
        self.rows: list[StructureRow] = []
        self._names: dict[str, str] = {}
        self._edits: Edits = {}
        self._on_edit, self._on_problem = on_edit, on_problem
        self._icons = {state: qt.QIcon(icon_path(f"{name}.png")) for state, name in ICONS.items()}
        header = table.horizontalHeader()
        header.setSectionResizeMode(SEGMENT, qt.QHeaderView.Stretch)
        for column in (STATUS, INPUT):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(DOSE, qt.QHeaderView.Fixed)
        header.resizeSection(DOSE, table.fontMetrics().horizontalAdvance("88.88") + EDITOR_MARGINS)
        table.connect("cellChanged(int,int)", self._on_cell_changed)

    @staticmethod
    def read_edits(text: str) -> Edits:
        """The user's answers from the parameter node; none where the text is damaged, so that they are asked again."""
        try:
            return roles_from_json(text)
        except DeepDoseError:
            return {}

    def show(self, matches: list[Match], names: dict[str, str], edits: Edits) -> None:
        """Show the matches of a segmentation, whose segments are given as {ID: name}, with the user's answers."""
        self._edits = structure_rows.known_edits(edits, list(names))
        rows = structure_rows.structure_rows(matches, self._edits)
        if rows == self.rows and names == self._names:
            return
        self.rows, self._names = rows, names
        blocked = self.table.blockSignals(True)
        self.table.setRowCount(len(rows))
        for n, row in enumerate(rows):
            self._fill(n, row)
        self.table.blockSignals(blocked)
        self._fit_height()

    @property
    def roles(self) -> Roles:
        return structure_rows.roles_of_rows(self.rows)

    @property
    def answers(self) -> Roles:
        """All that the table says, what is left out included, as roles for a prediction."""
        return structure_rows.answers_of_rows(self.rows)

    @property
    def unanswered(self) -> list[str]:
        """Names of the model inputs that still need an answer."""
        return [label(row.role) for row in self.rows if row.state is State.CONFIRM]

    @property
    def learnable(self) -> dict[str, str]:
        """{name: meaning} of the user's answers that can be remembered for other patients."""
        return structure_rows.learnable(self.rows, self._names)

    def add_target(self) -> None:
        self._on_edit(structure_rows.add_target(self.rows, self._edits))

    # --- one row

    def _fill(self, n: int, row: StructureRow) -> None:
        tip = self._tip(row)
        status, name, dose = qt.QTableWidgetItem(), qt.QTableWidgetItem(label(row.role)), qt.QTableWidgetItem()
        status.setIcon(self._icons[self._shown_state(row)])
        locked = qt.Qt.ItemIsEnabled
        status.setFlags(locked)
        name.setFlags(locked)
        dose.setFlags(locked)
        if row.level is not None:
            dose.setText(f"{row.level:g}")
            dose.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            dose.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEditable)
        for column, item in ((STATUS, status), (INPUT, name), (DOSE, dose)):
            item.setToolTip(tip)
            if row.state is State.CONFIRM:
                item.setBackground(qt.QBrush(qt.QColor(255, 170, 0, 90)))
            self.table.setItem(n, column, item)
        if row.level is not None:
            dose.setToolTip(_("Prescribed dose in Gy; double-click to change it"))
        self.table.setCellWidget(n, SEGMENT, self._combo(row, tip))

    def _combo(self, row: StructureRow, tip: str):
        combo = ctk.ctkComboBox()
        combo.scrollWheelEffect = ctk.ctkComboBox.NeverScroll  # scrolling the panel must not change a structure
        combo.setProperty("elideMode", qt.Qt.ElideMiddle)  # the end of a name often tells the side
        combo.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
        combo.setMinimumContentsLength(6)
        choices = self._choices(row)
        for text, _segments in choices:
            combo.addItem(text)
        current = [segments for _text, segments in choices]
        combo.setCurrentIndex(0 if row.state is State.CONFIRM else current.index(row.segments))
        combo.setToolTip(f"{combo.currentText}\n{tip}")  # a long name does not fit the cell

        def activated(index):
            segments = choices[index][1]
            if segments is not None and (segments != row.segments or row.state is not State.MATCHED):
                self._on_edit(structure_rows.choose(self.rows, self._edits, row, segments))

        combo.connect("activated(int)", activated)
        return combo

    def _choices(self, row: StructureRow) -> list[tuple[str, tuple[str, ...] | None]]:
        """(text, segments) of the combo box; None for the question itself."""
        asked = [(self._names[s], (s,)) for s in row.candidates if s in self._names]
        others = [(name, (s,)) for s, name in self._names.items() if s not in row.candidates]
        united = [(self._united(row.segments), row.segments)] if len(row.segments) > 1 else []
        nothing = (_("found in the CT") if structure_rows.is_automatic(row) else _("none"), ())
        question = [(self._question(row), None)] if row.state is State.CONFIRM else []
        to_add = structure_rows.to_add(self.rows, row, self._names)
        more = [(f"+ {self._names[s[-1]]}" if row.segments else self._united(s), s) for s in to_add]
        return [*question, *asked, nothing, *united, *others, *more]

    def _united(self, segments: tuple[str, ...]) -> str:
        return " + ".join(self._names[segment] for segment in segments)

    def _question(self, row: StructureRow) -> str:
        if len(row.candidates) == 1:
            return _("Confirm: {name}").format(name=self._names.get(row.candidates[0], ""))
        return _("Please choose")

    def _shown_state(self, row: StructureRow) -> State:
        found = structure_rows.is_automatic(row) and row.state is State.MISSING
        return State.MATCHED if found else row.state

    def _tip(self, row: StructureRow) -> str:
        if structure_rows.is_automatic(row) and row.state is State.MISSING:
            words = _("The body is found in the CT.")
        else:
            words = {
                State.MATCHED: _("Matched by its name."),
                State.CHOSEN: _("Chosen by you."),
                State.CONFIRM: _('Not sure: choose the segment, or "none".'),
                State.MISSING: _("No segment: the model does without it."),
            }[row.state]
        more = _("Choices with + add a contour to what is chosen.") if row.segments else ""
        return f"{words} {row.note} {more}".strip()

    # --- the user's prescriptions

    def _on_cell_changed(self, n: int, column: int) -> None:
        if column != DOSE:
            return
        row = self.rows[n]
        text = self.table.item(n, DOSE).text()
        try:
            self._on_edit(structure_rows.set_level(self.rows, self._edits, row, _level(text)))
        except DeepDoseError as error:
            self._on_problem(str(error))
        blocked = self.table.blockSignals(True)
        if n < len(self.rows) and self.rows[n].level is not None:
            self.table.item(n, DOSE).setText(f"{self.rows[n].level:g}")
        self.table.blockSignals(blocked)

    def _fit_height(self) -> None:
        """As high as its rows: a table that scrolls inside a panel that scrolls is hard to use."""
        header = self.table.horizontalHeader()
        frame = 2 * self.table.frameWidth
        rows = sum(self.table.rowHeight(n) for n in range(len(self.rows)))
        self.table.setFixedHeight(header.sizeHint.height() + rows + frame)


def _level(text: str) -> float:
    """A prescription that a user typed, in Gy."""
    try:
        level = round(float(text.replace(",", ".").lower().removesuffix("gy")), 2)
    except ValueError:
        raise DeepDoseError(_('"{text}" is not a dose in Gy.').format(text=text)) from None
    if not LEVELS_GY[0] <= level <= LEVELS_GY[1]:
        raise DeepDoseError(
            _("A prescription must be between {low:g} and {high:g} Gy; {level:g} is not.").format(
                low=LEVELS_GY[0], high=LEVELS_GY[1], level=level
            )
        )
    return level
