"""The Explore section of the panel: a slider for each structure, and what it does to all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from ..errors import DeepDoseError
from ..mrml import charts, exploration, plot_views, slice_views
from ..mrml.results import Results
from ..patient.rois import is_target
from ..planner.gantry_angles import parse_gantry_angles
from .results_section import ResultsSection
from .structure_table import label
from .wrapped_label import WrappedLabel

NAME, PRIORITY, DOSE = range(3)
TICKS = 2
"""Of a slider in a step of priority."""
MOST_STEPS = 6
DELAY_MS = 80
"""A dose is made when a slider has rested for so long."""
KEPT = 3
"""Predictions of so many patients can be explored without predicting again."""
NOTED_GY = 0.1
"""What changes less elsewhere is not told."""


class ExploreSection:
    """Explores the prediction that the Results section shows.

    Args:
        ui: the panel's widgets.
        results: the Results section, which shows the explored dose in the place of the predicted one.
        on_changed: called when another dose is shown.
        show_status: called with words about what was done.
    """

    def __init__(self, ui, results: ResultsSection, on_changed: Callable[[], None], show_status: Callable[[str], None]):
        self.ui, self.results = ui, results
        self.found: exploration.ExplorationResult | None = None
        self._on_changed, self._show_status = on_changed, show_status
        self._predictions: dict[str, object] = {}
        self._sliders: dict[str, object] = {}
        self._shown = None
        self._wheel = PassedWheel()
        self._hint, self._cost = WrappedLabel(ui.exploreHintLabel), WrappedLabel(ui.exploreCostLabel)
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.connect("timeout()", self.explore)
        header = ui.exploreTable.horizontalHeader()
        header.setSectionResizeMode(NAME, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(PRIORITY, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(DOSE, qt.QHeaderView.Fixed)
        header.resizeSection(DOSE, ui.exploreTable.fontMetrics().horizontalAdvance("88.8 → 88.8") + 16)
        ui.exploreAnglesLineEdit.connect("editingFinished()", self._timer.start)
        ui.exploreResetButton.connect("clicked(bool)", self.reset)
        ui.exploreKeepButton.connect("clicked(bool)", self.keep)
        ui.exploreCurveButton.connect("clicked(bool)", self._on_curve)
        ui.exploreObjectivesButton.connect("clicked(bool)", self._on_objectives)

    # --- what is shown

    @property
    def prediction(self):
        """The PredictionResult that is shown; None where none was made since the scene was opened."""
        results = self.results.results
        return self._predictions.get(results.doseNode.GetID()) if results else None

    def take(self, prediction) -> None:
        """Let a new prediction be explored."""
        self._predictions[prediction.doseNode.GetID()] = prediction
        self._predictions = {
            key: one for key, one in [*self._predictions.items()][-KEPT:] if one.doseNode.GetScene() is not None
        }

    def show(self, out_of_date: bool) -> None:
        """Show the structures of the prediction that is shown."""
        prediction = self.prediction
        if prediction is not self._shown:
            self.forget()
            self._shown = prediction
            self._fill()
        ready = prediction is not None and not out_of_date
        self.ui.exploreWidget.visible = prediction is not None
        self.ui.exploreWidget.enabled = ready
        self._hint.show("" if ready else _("Predict, and see here what the plan could be instead."))

    def forget(self) -> None:
        """Take the explored dose out of the scene; what was kept stays."""
        self._timer.stop()
        found, self.found, self.results.explored = self.found, None, None
        if found is not None and found.doseNode.GetScene() is not None:
            Results(found.doseNode).remove()

    def _fill(self) -> None:
        """Rows of the prediction's structures, all as predicted."""
        table, self._sliders = self.ui.exploreTable, {}
        rois = self._shown.basis.case.rois.present() if self._shown else ()
        table.setRowCount(len(rois))
        for n, roi in enumerate(sorted(rois, key=lambda roi: not is_target(roi))):
            name, dose = qt.QTableWidgetItem(), qt.QTableWidgetItem()
            name.setText(label(roi))
            dose.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            for column, item in ((NAME, name), (DOSE, dose)):
                item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable)
                table.setItem(n, column, item)
            self._sliders[roi] = self._slider(roi)
            table.setCellWidget(n, PRIORITY, self._sliders[roi])
        frame = 2 * table.frameWidth
        rows = sum(table.rowHeight(n) for n in range(len(rois)))
        table.setFixedHeight(table.horizontalHeader().sizeHint.height() + rows + frame)
        if self._shown:
            angles = self._shown.basis.predictor.channels.gantry_angles
            self.ui.exploreAnglesLineEdit.placeholderText = ", ".join(f"{angle:g}" for angle in angles)
        self.ui.exploreAnglesLineEdit.text = ""
        self._show_doses()

    def _slider(self, roi: str):
        slider = qt.QSlider(qt.Qt.Horizontal)
        slider.setRange(-MOST_STEPS * TICKS, MOST_STEPS * TICKS)
        slider.setPageStep(TICKS)
        slider.setTickInterval(TICKS * MOST_STEPS)
        slider.setTickPosition(qt.QSlider.TicksBelow)
        words = _("To the right it is covered better, to the left worse; in the middle as predicted")
        if not is_target(roi):
            words = _("To the right it is spared, to the left it matters less; in the middle as predicted")
        slider.setToolTip(f"{label(roi)}: {words}")
        slider.installEventFilter(self._wheel)

        def moved(value):
            self._timer.start()

        slider.connect("valueChanged(int)", moved)
        return slider

    def _show_doses(self) -> None:
        """Each structure's dose as predicted and now, and what changed in those that were not moved."""
        if self._shown is None:
            return
        predicted = self._shown.basis.metrics
        now = self.found.explored.metrics if self.found else predicted
        elsewhere = []
        for n, roi in enumerate(self._sliders):
            metric = "D_95" if is_target(roi) else "mean"
            before, after = predicted[roi][metric], now[roi][metric]
            item = self.ui.exploreTable.item(n, DOSE)
            item.setText(f"{before:.1f} → {after:.1f}" if self.found else f"{before:.1f}")
            words = _("D95 in Gy, as predicted and now") if is_target(roi) else _("Mean in Gy, as predicted and now")
            item.setToolTip(words)
            if roi not in self.priorities and abs(after - before) >= NOTED_GY:
                name = f"{label(roi)} D95" if is_target(roi) else label(roi)
                elsewhere.append(
                    (before - after if is_target(roi) else after - before, f"{name} {after - before:+.1f}")
                )
        unmoved = ", ".join(words for cost, words in sorted(elsewhere, reverse=True))
        if self.found is None:
            self._cost.show("")
        else:
            nothing = _("Nothing else changes by more than 0.1 Gy.")
            self._cost.show(_("Elsewhere, in Gy: {changes}").format(changes=unmoved) if unmoved else nothing)
        for button in (self.ui.exploreResetButton, self.ui.exploreKeepButton):
            button.enabled = self.found is not None

    @property
    def priorities(self) -> dict[str, float]:
        """{structure: steps} of the sliders that are not in the middle."""
        return {roi: slider.value / TICKS for roi, slider in self._sliders.items() if slider.value}

    # --- what the user does

    def explore(self) -> None:
        """Show the dose for the sliders as they are, in the place of the one before."""
        if self.prediction is None or not self.ui.exploreWidget.enabled:
            return
        try:
            angles = parse_gantry_angles(self.ui.exploreAnglesLineEdit.text)
            if not self.priorities and angles is None:
                found = None
            else:
                found = exploration.exploreDose(self._shown, self.priorities, gantryAngles=angles)
        except DeepDoseError as error:
            self._show_status(str(error))
            return
        self._show_status("")
        self._put(found)

    def _put(self, found) -> None:
        earlier = self.found
        self.found, self.results.explored = found, Results(found.doseNode) if found else None
        before, after = (one.chartNode if one else self._shown.chartNode for one in (earlier, found))
        if earlier is not None or found is not None:
            if before is not None and after is not None:
                charts.showAlike(after, before)
                plot_views.showInPlaceOfOwn(slicer.mrmlScene, after)
            self.results.show_layers()
        if earlier is not None:
            Results(earlier.doseNode).remove()
        self._show_doses()
        self._on_changed()

    def reset(self) -> None:
        """All sliders to the middle, and the prediction in the views."""
        for slider in self._sliders.values():
            blocked = slider.blockSignals(True)
            slider.setValue(0)
            slider.blockSignals(blocked)
        self.ui.exploreAnglesLineEdit.text = ""
        self._timer.stop()
        if self._shown is not None:
            self._put(None)

    def keep(self) -> None:
        """The explored dose stays in the scene with all that belongs to it; the sliders go back to the middle."""
        if self.found is None:
            return
        name, self.found = self.found.doseNode.GetName(), None
        slice_views.showLayers(self._shown.evaluator.inputs.ctNode, None)
        self.results.explored = None
        self.reset()
        self.results.show_layers()
        self._show_status(_("Kept in the scene as {name}").format(name=name))

    def _on_curve(self) -> None:
        rows = self.ui.exploreTable.selectionModel().selectedRows()
        rois = [*self._sliders]
        chosen = [rois[row.row()] for row in rows] or [*self.priorities]
        organ = next((roi for roi in chosen if not is_target(roi)), None)
        if organ is None:
            self._show_status(_("Select the row of an organ to see what sparing it costs."))
            return
        with slicer.util.tryWithErrorDisplay(_("The curve could not be made."), waitCursor=True):
            curve, chart = exploration.exploreTradeOff(self._shown, organ, priorities=self.priorities)
            slicer.modules.plots.logic().ShowChartInLayout(chart)
            self._show_status("\n".join(filter(None, (curve.sentence(), curve.judgement()))))

    def _on_objectives(self) -> None:
        kinds = _("CSV files (*.csv);;JSON files (*.json)")
        path = qt.QFileDialog.getSaveFileName(
            self.ui.exploreObjectivesButton, _("Export objectives"), "objectives.csv", kinds
        )
        if not path:
            return
        if Path(path).suffix.lower() not in (".csv", ".json"):
            path = f"{path}.csv"
            question = _("{path} exists already. Replace it?").format(path=path)
            if Path(path).exists() and not slicer.util.confirmOkCancelDisplay(question):
                return
        with slicer.util.tryWithErrorDisplay(_("The objectives could not be exported."), waitCursor=True):
            exploration.objectivesOf(self.found or self._shown, path)
            self._show_status(_("Objectives written to {path}").format(path=path))


class PassedWheel(qt.QObject):
    """Gives the wheel over a slider to the panel: scrolling must not change a priority."""

    def __init__(self):
        qt.QObject.__init__(self)

    def eventFilter(self, widget, event) -> bool:
        if event.type() != qt.QEvent.Wheel:
            return False
        event.ignore()
        return True
