"""The Results section of the panel."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer
from slicer.i18n import tr as _

from . import result_views

OUT_OF_DATE = "OutOfDate"
TABLE_ROWS_SHOWN = 12
NARROWEST_COLUMN = 30


class ResultsSection:
    """Shows the results that the parameter node holds.

    Args:
        ui: the panel's widgets.
        roles: gives the roles that are shown in the structure table.
    """

    def __init__(self, ui, roles: Callable[[], dict]):
        self.ui = ui
        self._roles = roles
        self._parameters = None
        header = ui.metricsTable.horizontalHeader()
        header.setSectionResizeMode(qt.QHeaderView.ResizeToContents)
        header.setStretchLastSection(True)
        ui.doseWashCheckBox.connect("clicked(bool)", self._on_dose_wash)
        ui.differenceCheckBox.connect("clicked(bool)", self._on_difference)
        ui.isodoseCheckBox.connect("clicked(bool)", self._on_isodose)
        ui.chartButton.connect("clicked(bool)", self._on_chart)
        ui.exportButton.connect("clicked(bool)", self._on_export)

    def show(self, parameters, out_of_date: bool) -> None:
        """parameters: the parameter node, or None while the scene closes."""
        self._parameters = parameters
        ui = self.ui
        dose = parameters.dose if parameters else None
        ui.noResultsLabel.visible = dose is None
        ui.resultsWidget.visible = dose is not None
        ui.outOfDateFrame.visible = dose is not None and out_of_date
        self._show_table(parameters.metricsTable if parameters else None)
        if dose is None:
            return
        ui.differenceCheckBox.enabled = parameters.difference is not None
        ui.differenceCheckBox.toolTip = (
            _("Predicted minus reference dose, as colour wash")
            if parameters.difference
            else _("Predict with a reference dose to see the difference")
        )
        ui.chartButton.enabled = parameters.chart is not None
        ui.exportButton.enabled = parameters.metricsTable is not None and not out_of_date
        ui.exportButton.toolTip = (
            _("The results are out of date: predict again before exporting")
            if out_of_date
            else _("Save the metrics with units, method and model as CSV")
        )
        ui.metricsTable.enabled = not out_of_date
        ui.scoresLabel.text = parameters.scores
        ui.scoresLabel.visible = bool(parameters.scores)
        ui.scoresLabel.enabled = not out_of_date
        ui.resultWarningsLabel.text = parameters.warnings
        ui.resultWarningsLabel.visible = bool(parameters.warnings)

    def mark(self, out_of_date: bool) -> None:
        """Note on the result nodes themselves whether they are out of date, so that saved scenes tell it too."""
        for node in self.nodes(self._parameters):
            value = "1" if out_of_date else None
            if node is not None and node.GetAttribute(f"DeepDosePredict.{OUT_OF_DATE}") != value:
                node.SetAttribute(f"DeepDosePredict.{OUT_OF_DATE}", value)

    @staticmethod
    def nodes(parameters) -> list:
        if parameters is None:
            return []
        return [parameters.dose, parameters.metricsTable, parameters.chart, parameters.difference, parameters.isodose]

    def take(self, parameters, result, fingerprint: str) -> None:
        """Put a new result in the place of the one before, and show it."""
        before = self.nodes(parameters)
        new = [result.doseNode, result.metricsTableNode, result.chartNode, result.differenceNode]
        with slicer.util.NodeModify(parameters):
            parameters.dose, parameters.metricsTable, parameters.chart, parameters.difference = new
            parameters.isodose = None
            parameters.scores = _scores(result)
            parameters.warnings = bullets(result.warnings)
            parameters.fingerprint = fingerprint
            parameters.showDose, parameters.showDifference = True, False
        result_views.remove_results(*before)
        self._parameters = parameters
        result_views.show_layer(parameters.ct, parameters.dose)
        if parameters.showIsodose:
            self._on_isodose(True)

    # --- what the user clicks

    def _on_dose_wash(self, checked: bool) -> None:
        self._parameters.showDifference = False
        result_views.show_layer(self._parameters.ct, self._parameters.dose if checked else None)

    def _on_difference(self, checked: bool) -> None:
        self._parameters.showDose = False
        result_views.show_layer(self._parameters.ct, self._parameters.difference if checked else None)

    def _on_isodose(self, checked: bool) -> None:
        with slicer.util.tryWithErrorDisplay(_("The isodose lines cannot be shown."), waitCursor=True):
            levels = result_views.isodose_levels(self._roles())
            self._parameters.isodose = result_views.show_isodose(
                self._parameters.dose, levels, self._parameters.isodose, checked
            )

    def _on_chart(self) -> None:
        result_views.show_chart(self._parameters.chart)

    def _on_export(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            self.ui.exportButton, _("Export metrics"), "dose-metrics.csv", _("CSV files (*.csv)")
        )
        if not path:
            return
        path = path if path.lower().endswith(".csv") else f"{path}.csv"
        with slicer.util.tryWithErrorDisplay(_("The metrics could not be exported.")):
            result_views.export_csv(self._parameters.metricsTable, path)
            self.ui.statusLabel.text = _("Metrics written to {path}").format(path=path)
            self.ui.statusLabel.visible = True

    def _show_table(self, table) -> None:
        view = self.ui.metricsTable
        if view.mrmlTableNode() is table:
            return
        view.setMRMLTableNode(table)
        if table is None:
            return
        view.setFirstRowLocked(True)
        view.horizontalHeader().setMinimumSectionSize(NARROWEST_COLUMN)  # the view sets 60, too wide for a dock
        rows = min(table.GetNumberOfRows(), TABLE_ROWS_SHOWN)
        view.setMinimumHeight((rows + 2) * view.verticalHeader().defaultSectionSize + view.frameWidth * 2)


def _scores(result) -> str:
    parts = []
    if result.doseScore is not None:
        parts.append(_("Dose score {value:.2f} Gy").format(value=result.doseScore))
    if result.dvhScore is not None:
        parts.append(_("DVH score {value:.2f} Gy").format(value=result.dvhScore))
    parts.append(_("{seconds:.1f} s").format(seconds=result.seconds))
    return " · ".join(parts)


def bullets(warnings) -> str:
    """Warnings as one text, each on its line."""
    return "\n".join(f"⚠ {text[:1].upper()}{text[1:]}" for text in warnings)
