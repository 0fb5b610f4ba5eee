"""What a user does and sees at the panel, for its tests."""

from __future__ import annotations

GY = 3
"""Column of the prescriptions in the structure table."""


def rows(panel) -> dict[str, tuple[str, str]]:
    """{model input: (shown segment, prescription)} of the structure table."""
    table = panel.ui.structureTable
    return {
        table.item(n, 1).text(): (table.cellWidget(n, 2).currentText, table.item(n, GY).text())
        for n in range(table.rowCount)
    }


def choose(panel, model_input: str, segment: str) -> None:
    """What a user does with the combo box of a row."""
    table = panel.ui.structureTable
    n = list(rows(panel)).index(model_input)
    combo = table.cellWidget(n, 2)
    index = combo.findText(segment)
    assert index >= 0, [combo.itemText(i) for i in range(combo.count)]
    combo.setCurrentIndex(index)
    combo.activated.emit(index)


def type_prescription(panel, model_input: str, text: str) -> None:
    panel.ui.structureTable.item(list(rows(panel)).index(model_input), GY).setText(text)


def predict(panel) -> None:
    assert panel.ui.predictButton.enabled, panel.ui.reasonLabel.text
    panel.ui.predictButton.click()
