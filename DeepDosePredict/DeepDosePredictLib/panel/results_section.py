"""The Results section of the panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import DeepDoseError
from ..mrml import charts, comparison, isodose, plot_views, slice_views
from ..mrml.results import ACCOUNT, FINGERPRINT, ISODOSE, SCORES, WARNINGS, Results, resultsOfCt
from ..patient.assignment import summary
from ..patient.rois import prescription
from .metrics_tree import MetricsTree
from .wrapped_label import WrappedLabel


class ResultsSection:
    """Shows the results of the selected patient: those of the parameter node's dose.

    Args:
        ui: the panel's widgets.
        roles: gives the roles that are shown in the structure table.
        show_status: called with words about what was done.
    """

    def __init__(self, ui, roles: Callable[[], dict], show_status: Callable[[str], None]):
        self.ui = ui
        self._roles, self._show_status = roles, show_status
        self._parameters = self._ct = None
        self.explored: Results | None = None
        self._out_of_date = WrappedLabel(ui.outOfDateLabel)
        self._account, self._summary = WrappedLabel(ui.usedLabel), WrappedLabel(ui.usedSummaryLabel)
        self._since = WrappedLabel(ui.followLabel)
        self._since.show("")
        self._scores, self._warnings = WrappedLabel(ui.scoresLabel), WrappedLabel(ui.resultWarningsLabel)
        self._metrics_tip = ui.metricsTree.toolTip
        self._metrics = MetricsTree(ui.metricsTree, self._on_structure_selected, self._on_structure_checked)
        ui.doseWashCheckBox.connect("clicked(bool)", self._on_dose_wash)
        ui.differenceCheckBox.connect("clicked(bool)", self._on_difference)
        ui.isodoseCheckBox.connect("clicked(bool)", self._on_isodose)
        ui.chartButton.connect("clicked(bool)", self._on_chart)
        ui.exportButton.connect("clicked(bool)", self._on_export)
        ui.isodoseLevelsLineEdit.connect("editingFinished()", self._on_levels)

    @property
    def results(self) -> Results | None:
        """Those that are shown."""
        dose = self._parameters.dose if self._parameters else None
        return Results(dose) if dose is not None else None

    @property
    def shown(self) -> Results | None:
        """What the views show: the explored dose with its table and chart, or else the results."""
        return self.explored or self.results

    def follow(self, parameters) -> None:
        """Turn to the results of the selected CT; without a CT those before stay, out of date."""
        self._parameters = parameters
        ct = parameters.ct if parameters else None
        if ct is None:
            return
        if self.results is None or self.results.ctNode is not ct:
            found = resultsOfCt(ct)
            parameters.dose = found[-1].doseNode if found else None
        is_other, self._ct = ct is not self._ct and self._ct is not None, ct
        if is_other or slice_views.areEmpty():
            slice_views.showStructuresOf(ct)
            slice_views.showLayers(ct, self._layer())
            self._show_isodose()
        if is_other:
            plot_views.showInPlaceOfOwn(slicer.mrmlScene, self.results.chartNode if self.results else None)

    def show(self, out_of_date: bool) -> None:
        ui, results = self.ui, self.results
        ui.noResultsLabel.visible = results is None
        ui.resultsWidget.visible = results is not None
        ui.outOfDateFrame.visible = results is not None and out_of_date
        if results is None:
            return
        table, chart = self.shown.metricsTableNode, self.shown.chartNode
        rows = comparison.comparisonRows(table) if table is not None else []
        method = comparison.provenanceOf(table).get("Method", "") if table is not None else ""
        ui.metricsTree.toolTip = f"{self._metrics_tip}\n{method}".strip()
        seen, colors = (charts.structuresOf(chart), charts.colorsOf(chart)) if chart is not None else ({}, {})
        ui.metricsTree.enabled = not out_of_date
        self._metrics.show(rows, seen, colors)
        ui.differenceCheckBox.enabled = self.shown.differenceNode is not None
        ui.differenceCheckBox.toolTip = (
            _("Predicted minus reference dose, as colour wash")
            if self.shown.differenceNode
            else _("Predict with a reference dose to see the difference")
        )
        ui.chartButton.enabled = chart is not None
        ui.exportButton.enabled = table is not None and not out_of_date
        ui.exportButton.toolTip = (
            _("The results are out of date: predict again before exporting")
            if out_of_date
            else _("Save the metrics with units, method and model as CSV")
        )
        self._scores.show(results.text(SCORES))
        ui.scoresLabel.enabled = not out_of_date
        self._account.show(results.text(ACCOUNT))
        self._summary.show(summary(results.text(ACCOUNT).splitlines()))
        self._warnings.show(bullets(self.shown.text(WARNINGS).splitlines()))

    def take(self, result, fingerprint: str, follows: bool = False) -> None:
        """Put a new result in the place of the patient's one before, and show it.

        Args:
            follows: whether it follows an edit: then views and check boxes stay as they are, and what changed is said.
        """
        results = Results(result.doseNode)
        before = self._rows() if follows else []
        plot_views.showInPlaceOfOwn(slicer.mrmlScene, result.chartNode)
        for earlier in resultsOfCt(results.ctNode):
            earlier.remove()
        results.note(FINGERPRINT, fingerprint)
        results.note(SCORES, _scores(result))
        parameters = self._parameters
        with slicer.util.NodeModify(parameters):
            parameters.dose = result.doseNode
            if not follows:
                parameters.showDose, parameters.showDifference = True, False
        self._since.show(_since_then(comparison.changesOf(before, self._rows())) if follows else "")
        if follows:
            self.show_layers()
            return
        slice_views.showLayers(results.ctNode, results.doseNode)
        slice_views.outline(parameters.segmentation)
        targets = {role: prescription(role) for role in self._roles() if prescription(role) is not None}
        slice_views.jumpTo(parameters.segmentation, self._roles()[max(targets, key=targets.get)][0])
        if parameters.showIsodose:
            self._on_isodose(True)

    def _rows(self) -> list[dict]:
        table = self.results.metricsTableNode if self.results else None
        return comparison.comparisonRows(table) if table is not None else []

    # --- what the user clicks

    def show_layers(self) -> None:
        """Show the dose, and the isodose lines, that the check boxes ask for."""
        if self.shown is None:
            return
        slice_views.showLayers(self.shown.ctNode, self._layer())
        if self._parameters.showIsodose:
            self._on_isodose(True)

    def _layer(self):
        """The volume over the CT that the check boxes ask for, or None."""
        if self.shown is None:
            return None
        if self._parameters.showDifference:
            return self.shown.differenceNode
        return self.shown.doseNode if self._parameters.showDose else None

    def _on_dose_wash(self, checked: bool) -> None:
        self._parameters.showDifference = False
        slice_views.showLayers(self.shown.ctNode, self.shown.doseNode if checked else None)

    def _on_difference(self, checked: bool) -> None:
        self._parameters.showDose = False
        slice_views.showLayers(self.shown.ctNode, self.shown.differenceNode if checked else None)

    def _on_isodose(self, checked: bool) -> None:
        with slicer.util.tryWithErrorDisplay(_("The isodose lines cannot be shown."), waitCursor=True):
            if checked and self.shown.isodoseNode is None:
                prescription = self.shown.prescription
                levels = isodose.isodoseLevels(prescription, self._parameters.isodoseLevels)
                model = isodose.isodoseModel(self.shown.doseNode, levels, prescription)
                self.shown.refer(ISODOSE, model)
            self._show_isodose()

    def _on_levels(self) -> None:
        """Draw the lines anew where other levels are asked for."""
        model = self.shown.isodoseNode if self.shown else None
        try:
            levels = isodose.isodoseLevels(self.shown.prescription, self._parameters.isodoseLevels) if model else ()
        except DeepDoseError:  # which the line under Predict tells
            return
        if model is None or levels == isodose.levelsOf(model):
            return
        isodose.removeIsodose(model)
        if self._parameters.showIsodose:
            self._on_isodose(True)

    def _show_isodose(self) -> None:
        """Show the lines of these results if they are asked for, and hide those of all others."""
        shown = self.shown.isodoseNode if self.shown and self._parameters.showIsodose else None
        for model in isodose.isodoseModels(slicer.mrmlScene):
            model.SetDisplayVisibility(model is shown)  # with its colour bar

    def _on_structure_selected(self, segment: str) -> None:
        if self.shown.chartNode is not None:
            charts.highlight(self.shown.chartNode, segment)

    def _on_structure_checked(self, segment: str, visible: bool) -> None:
        if self.shown.chartNode is not None:
            charts.showStructure(self.shown.chartNode, segment, visible)

    def _on_chart(self) -> None:
        slicer.modules.plots.logic().ShowChartInLayout(self.shown.chartNode)

    def _on_export(self) -> None:
        path = qt.QFileDialog.getSaveFileName(
            self.ui.exportButton, _("Export metrics"), "dose-metrics.csv", _("CSV files (*.csv)")
        )
        if not path:
            return
        if not path.lower().endswith(".csv"):
            path = f"{path}.csv"
            # The dialog asked about the name without it.
            question = _("{path} exists already. Replace it?").format(path=path)
            if Path(path).exists() and not slicer.util.confirmOkCancelDisplay(question):
                return
        with slicer.util.tryWithErrorDisplay(_("The metrics could not be exported.")):
            comparison.exportComparisonCsv(self.shown.metricsTableNode, path)
            self._show_status(_("Metrics written to {path}").format(path=path))


def _scores(result) -> str:
    parts = []
    if result.doseScore is not None:
        parts.append(_("Dose score {value:.2f} Gy").format(value=result.doseScore))
    if result.dvhScore is not None:
        parts.append(_("DVH score {value:.2f} Gy").format(value=result.dvhScore))
    parts.append(_("{seconds:.1f} s").format(seconds=result.seconds))
    return " · ".join(parts)


def _since_then(changes: list[str]) -> str:
    if not changes:
        return _("Since the edit nothing changed by more than 0.1 Gy.")
    return _("Since the edit, in Gy: {changes}").format(changes=", ".join(changes))


def bullets(warnings) -> str:
    """Warnings as one text, each on its line."""
    return "\n".join(f"⚠ {text[:1].upper()}{text[1:]}" for text in warnings)
