"""SlicerRT's Dose Volume Histogram module for tests: its call signatures, numbers and traps, without its C++.

Arguments are positional only, types as C++ wants them, and an unknown name is an AttributeError, as with wrapped C++.
The numbers are computed as SlicerRT does, with VTK on the whole oversampled grid, not with the code under test. What is
not exposed to Python there (SetDisableModifiedEvent of a logic) is not here either; `silent` shows tests that state.

Besides computing, it does what the genuine code does: makes its chart during the run, files tables and chart in the
hierarchy, complains harmlessly once a call, and adds or takes curves, with a change of layout, when "Show" is ticked.
"""

from __future__ import annotations

import sys
import types
from math import ceil

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

DOSE_MARK, UNIT = "DicomRtImport.DoseVolume", "DicomRtImport.DoseUnitName"


def install(scene) -> StandInLogic:
    """Put the stand-in where Slicer has SlicerRT's module; `scene` is a mrml_scene.Scene."""
    logic = StandInLogic(scene.scene)
    slicer.modules.dosevolumehistogram = types.SimpleNamespace(logic=lambda: logic)
    add = type(scene.scene).AddNewNodeByClass

    def add_new_node_by_class(class_name: str, *name: str):
        if class_name != "vtkMRMLDoseVolumeHistogramNode":
            return add(scene.scene, class_name, *name)
        return scene.scene.AddNode(StandInParameterNode(*name))

    scene.scene.AddNewNodeByClass = add_new_node_by_class
    return logic


def mark_as_dose(scene, *dose_nodes) -> None:
    """Dose volumes under a study with a unit, as SlicerRT wants them."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.scene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "Patient")
    study = hierarchy.CreateStudyItem(patient, "Study")
    hierarchy.SetItemAttribute(study, UNIT, "Gy")
    for node in dose_nodes:
        item = hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node)
        hierarchy.SetItemParent(item, study)
        node.SetAttribute(DOSE_MARK, "1")


class StandInParameterNode(slicer.vtkMRMLScriptedModuleNode):
    """vtkMRMLDoseVolumeHistogramNode."""

    def __init__(self, name: str = "DoseVolumeHistogram", /):
        self.SetName(name)
        self._selected, self._texts = (), {"VDoseValues": "", "DVolumeValuesCc": "", "DVolumeValuesPercent": ""}
        self._flags = {
            "AutomaticOversampling": False,
            "ShowVMetricsCc": False,
            "ShowVMetricsPercent": False,
            "ShowDMetrics": False,
        }

    def SetAndObserveDoseVolumeNode(self, node, /):
        self.SetNodeReferenceID("doseVolumeRef", _of_class(node, "vtkMRMLScalarVolumeNode").GetID())

    def SetAndObserveSegmentationNode(self, node, /):
        self.SetNodeReferenceID("segmentationRef", _of_class(node, "vtkMRMLSegmentationNode").GetID())

    def GetDoseVolumeNode(self, /):
        return self.GetNodeReference("doseVolumeRef")

    def GetSegmentationNode(self, /):
        return self.GetNodeReference("segmentationRef")

    def SetSelectedSegmentIDs(self, ids, /):
        if not isinstance(ids, list | tuple) or not all(isinstance(i, str) for i in ids):
            raise TypeError("SetSelectedSegmentIDs argument 1: expected a sequence of str")
        self._selected = tuple(ids)

    def SetAutomaticOversampling(self, on, /):
        self._set_flag("AutomaticOversampling", on)

    def SetShowVMetricsCc(self, on, /):
        self._set_flag("ShowVMetricsCc", on)

    def SetShowVMetricsPercent(self, on, /):
        self._set_flag("ShowVMetricsPercent", on)

    def SetShowDMetrics(self, on, /):
        self._set_flag("ShowDMetrics", on)

    def SetVDoseValues(self, text, /):
        self._set_text("VDoseValues", text)

    def SetDVolumeValuesCc(self, text, /):
        self._set_text("DVolumeValuesCc", text)

    def SetDVolumeValuesPercent(self, text, /):
        self._set_text("DVolumeValuesPercent", text)

    def AssembleDvhNodeReference(self, segment_id, /):
        dose, segmentation = self.GetDoseVolumeNode().GetID(), self.GetSegmentationNode().GetID()
        return f"DoseVolumeHistogram.{dose}_{segmentation}_{segment_id}"

    def GetMetricsTableNode(self, /):
        return self._made_on_demand("dvhMetricsTableRef", "vtkMRMLTableNode", "DvhMetrics")

    def GetChartNode(self, /):
        return self._made_on_demand("chartRef", "vtkMRMLPlotChartNode", "DvhChart")

    def _made_on_demand(self, role: str, class_name: str, name: str):
        if self.GetNodeReference(role) is None:
            node = self.GetScene().AddNewNodeByClass(class_name, self.GetScene().GenerateUniqueName(name))
            self.SetNodeReferenceID(role, node.GetID())
        return self.GetNodeReference(role)

    def _set_flag(self, name: str, on: object) -> None:
        if not isinstance(on, bool | int):
            raise TypeError(f"Set{name} argument 1: expected bool")
        self._flags[name] = bool(on)

    def _set_text(self, name: str, text: object) -> None:
        if not isinstance(text, str):
            raise TypeError(f"Set{name} argument 1: expected str")
        self._texts[name] = text


class StandInLogic:
    """vtkSlicerDoseVolumeHistogramModuleLogic."""

    def __init__(self, scene, /):
        self._scene = scene
        self._start, self._step, self._factor = 0.1, 0.2, 2.0
        self.silent, self.calls, self.errors = False, [], []
        self.layout_changes = 0
        self._observed = {}

    def GetStartValue(self, /):
        return self._start

    def SetStartValue(self, value, /):
        self._start = _number(value)

    def GetStepSize(self, /):
        return self._step

    def SetStepSize(self, value, /):
        self._step = _number(value)

    def GetDefaultDoseVolumeOversamplingFactor(self, /):
        return self._factor

    def SetDefaultDoseVolumeOversamplingFactor(self, value, /):
        self._factor = _number(value)

    def ComputeDvh(self, node, /):
        _of_class(node, "vtkMRMLScriptedModuleNode")
        self.silent = True
        was_modifying = node.StartModify()
        segmentation = node.GetSegmentationNode().GetSegmentation()
        ids = node._selected or [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
        assert self._factor == 2, "the stand-in oversamples twice only"
        assert not node._flags["AutomaticOversampling"], "fails with labelmaps in SlicerRT"
        self.calls.append((node.GetDoseVolumeNode().GetName(), tuple(ids)))
        print(
            "vtkSegmentationConverter: FindPath failed: source and target representation names are the same",
            file=sys.stderr,
        )
        self._prepare(node)
        for segment_id in ids:
            assert segmentation.GetSegment(segment_id) is not None, "SlicerRT crashes on a segment that does not exist"
            error = self._compute(node, segment_id)
            if error:  # as in SlicerRT: events stay disabled
                return error
        self.silent = False
        node.EndModify(was_modifying)
        return ""

    def _compute(self, node, segment_id: str) -> str:
        dose_node, segmentation_node = node.GetDoseVolumeNode(), node.GetSegmentationNode()
        samples, volume = _samples(dose_node, segmentation_node, segment_id)
        if not samples.size:
            return "Dose volume and the structure do not overlap"
        metrics_node = node.GetMetricsTableNode()
        metrics = metrics_node.GetTable()
        if not metrics.GetNumberOfColumns():
            unit = _unit(dose_node)
            kind = f"dose ({unit})" if unit else "intensity"
            show = vtk.vtkBitArray()
            show.SetName("Show")
            metrics.AddColumn(show)
            for name in ("Structure", "Volume name", "Volume (cc)", f"Mean {kind}", f"Min {kind}", f"Max {kind}"):
                _add_text_column(metrics, name)
        role = node.AssembleDvhNodeReference(segment_id)
        table_node = metrics_node.GetNodeReference(role)
        if table_node is None:
            table_node = self._scene.AddNewNodeByClass(
                "vtkMRMLTableNode", self._scene.GenerateUniqueName(segment_id + "_DvhTable")
            )
            self._file(dose_node, table_node)
            for key, value in (("DVH", "1"), ("TableRow", str(metrics.GetNumberOfRows()))):
                table_node.SetAttribute("DoseVolumeHistogram." + key, value)
            metrics.InsertNextBlankRow()
            metrics_node.SetNodeReferenceID(role, table_node.GetID())
            for role, other in (
                ("doseVolumeRef", dose_node),
                ("segmentationRef", segmentation_node),
                ("dvhMetricsTableRef", metrics_node),
            ):
                table_node.SetNodeReferenceID(role, other.GetID())
        row = int(table_node.GetAttribute("DoseVolumeHistogram.TableRow"))
        for key, value in (
            ("SegmentID", segment_id),
            ("DoseVolumeOversamplingFactor", "2"),
            ("Volume (cc)", f"{volume:.6g}"),
        ):
            table_node.SetAttribute("DoseVolumeHistogram." + key, value)
        name = segmentation_node.GetSegmentation().GetSegment(segment_id).GetName()
        statistics = (volume, samples.mean(dtype=float), samples.min(), samples.max())
        for column, text in enumerate([name, dose_node.GetName(), *(f"{x:.6g}" for x in statistics)], start=1):
            metrics.SetValue(row, column, vtk.vtkVariant(text))
        if samples.min() < 0:
            return "The dose volume contains negative dose values"
        highest = slicer.util.arrayFromVolume(dose_node).max()
        n = ceil((highest - self._start) / self._step) + 1
        doses = np.append(0.0, self._start + self._step * np.arange(n))
        percents = 100 * (samples[:, None] >= doses[None]).mean(0)
        percents[0] = 100
        table = table_node.GetTable()
        for column_name, values in (
            ("Dose" if dose_node.GetAttribute(DOSE_MARK) else "Intensity", doses),
            ("Volume", percents),
        ):
            column = numpy_to_vtk(values, deep=True)
            column.SetName(column_name)
            table.AddColumn(column)
        for other in (segmentation_node, dose_node):
            other.AddNodeReferenceID("DoseVolumeHistogram.createdDvhArrayRef", table_node.GetID())
        return ""

    def _prepare(self, node) -> None:
        """The chart, made during the run, and the observer of the metrics table."""
        metrics, chart = node.GetMetricsTableNode(), node.GetChartNode()
        for other in (metrics, chart):
            self._file(node.GetDoseVolumeNode(), other)
        if metrics not in self._observed:
            self._observed[metrics] = chart
            metrics.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *_: self._on_show(metrics, chart))

    def _file(self, dose_node, node) -> None:
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self._scene)
        level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
        study = hierarchy.GetItemAncestorAtLevel(hierarchy.GetItemByDataNode(dose_node), level)
        if study:
            hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(study, node), study)

    def _on_show(self, metrics, chart) -> None:
        """Curves follow the ticks; adding one needs a plot layout."""
        if self.silent or metrics.GetScene() is None:
            return
        for table_node in self._tables(metrics):
            row = int(table_node.GetAttribute("DoseVolumeHistogram.TableRow"))
            shown = metrics.GetTable().GetValue(row, 0).ToInt()
            series = self.GetPlotSeriesNodeForTable(chart, table_node)
            if shown and series is None:
                self.AddDvhToChart(chart, table_node)
            elif not shown and series is not None:
                self.RemoveDvhFromChart(chart, table_node)

    def AddDvhToChart(self, chart, table_node, /):
        self.layout_changes += 1
        series = self._scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", table_node.GetName())
        series.SetAndObserveTableNodeID(table_node.GetID())
        chart.AddAndObservePlotSeriesNodeID(series.GetID())
        chart.AddNodeReferenceID("DoseVolumeHistogram.dvhPlotSeries", series.GetID())
        return series

    def RemoveDvhFromChart(self, chart, table_node, /):
        series = self.GetPlotSeriesNodeForTable(chart, table_node)
        chart.RemovePlotSeriesNodeID(series.GetID())
        role = "DoseVolumeHistogram.dvhPlotSeries"
        for n in reversed(range(chart.GetNumberOfNodeReferences(role))):
            if chart.GetNthNodeReferenceID(role, n) == series.GetID():
                chart.RemoveNthNodeReferenceID(role, n)

    def _tables(self, metrics) -> list:
        """Like GetDvhTableNodes: an empty role is an error in the log."""
        roles = [metrics.GetNthNodeReferenceRole(n) for n in range(metrics.GetNumberOfNodeReferenceRoles())]
        tables = []
        for role in roles:
            if role and role.startswith("DoseVolumeHistogram."):
                table = metrics.GetNodeReference(role)
                if table is None:
                    self.errors.append(f"{role}: no table")
                else:
                    tables.append(table)
        return tables

    def ComputeVMetrics(self, node, /):
        values = _numbers(node._texts["VDoseValues"])
        assert not node._flags["ShowVMetricsCc"], "not in the stand-in"
        if not node._flags["ShowVMetricsPercent"]:
            return True
        return self._add_metrics(
            node,
            [f"V{v:g} (%)" for v in values],
            lambda doses, percents, volume: [np.interp(v, doses, percents) for v in values],
        )

    def ComputeDMetrics(self, node, /):
        ccs, parts = _numbers(node._texts["DVolumeValuesCc"]), _numbers(node._texts["DVolumeValuesPercent"])
        if not node._flags["ShowDMetrics"]:
            return True
        names = [f"D{v:g}cc (Gy)" for v in ccs] + [f"D{v:g}% (Gy)" for v in parts]
        return self._add_metrics(
            node,
            names,
            lambda doses, percents, volume: [
                _d_metric(doses, percents, v) for v in [*(100 * cc / volume for cc in ccs), *parts]
            ],
        )

    def _add_metrics(self, node, names: list[str], compute) -> bool:
        metrics = node.GetMetricsTableNode().GetTable()
        first = metrics.GetNumberOfColumns()
        for name in names:
            _add_text_column(metrics, name)
        for table_node in self._tables(node.GetMetricsTableNode()):
            table = table_node.GetTable()
            assert table.GetNumberOfRows() > 1, "SlicerRT crashes on a table that was left half-made"
            row = int(table_node.GetAttribute("DoseVolumeHistogram.TableRow"))
            doses, percents = (vtk_to_numpy(table.GetColumn(c)) for c in range(2))
            for offset, value in enumerate(compute(doses, percents, metrics.GetValue(row, 3).ToDouble())):
                metrics.SetValue(row, first + offset, vtk.vtkVariant(f"{value:.6g}"))
        return True

    def GetPlotSeriesNodeForTable(self, chart, table, /):
        role = "DoseVolumeHistogram.dvhPlotSeries"
        series = (chart.GetNthNodeReference(role, n) for n in range(chart.GetNumberOfNodeReferences(role)))
        return next((s for s in series if s.GetTableNode() is table), None)


def _samples(dose_node, segmentation_node, segment_id: str) -> tuple[np.ndarray, float]:
    """Doses at the samples of a labelmap segment on the oversampled dose grid, and their volume in cc."""
    segmentations = slicer.vtkSlicerSegmentationsModuleLogic
    dose = segmentations.CreateOrientedImageDataFromVolumeNode(dose_node)
    fine = slicer.vtkOrientedImageData()
    fine.ShallowCopy(dose)
    slicer.vtkCalculateOversamplingFactor.ApplyOversamplingOnImageGeometry(fine, 2.0)
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    assert resample(dose, fine, fine, True)
    mask = slicer.vtkOrientedImageData()
    segmentation_node.GetBinaryLabelmapRepresentation(segment_id, mask)
    assert resample(mask, fine, mask, False)
    padder = vtk.vtkImageConstantPad()
    padder.SetInputData(mask)
    padder.SetOutputWholeExtent(fine.GetExtent())
    padder.Update()
    inside = vtk_to_numpy(padder.GetOutput().GetPointData().GetScalars()) > 0
    samples = vtk_to_numpy(fine.GetPointData().GetScalars())[inside]
    return samples, samples.size * float(np.prod(fine.GetSpacing())) / 1000


def _d_metric(doses: np.ndarray, percents: np.ndarray, volume: float) -> float:
    if volume >= percents[0]:
        return 0.0
    if volume < percents[-1]:
        return doses[-1]
    n = int(np.flatnonzero((percents[:-1] > volume) & (volume >= percents[1:]))[0])
    return doses[n] + (doses[n + 1] - doses[n]) * (volume - percents[n]) / (percents[n + 1] - percents[n])


def _unit(dose_node) -> str:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(dose_node.GetScene())
    level = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMLevelStudy()
    return hierarchy.GetAttributeFromItemAncestor(hierarchy.GetItemByDataNode(dose_node), UNIT, level)


def _add_text_column(table: vtk.vtkTable, name: str) -> None:
    column = vtk.vtkStringArray()
    column.SetName(name)
    column.SetNumberOfValues(table.GetNumberOfRows())
    table.AddColumn(column)


def _of_class(node: object, class_name: str):
    if not getattr(node, "IsA", lambda _: False)(class_name):
        raise TypeError(f"argument 1: expected {class_name}")
    return node


def _number(value: object) -> float:
    if not isinstance(value, float | int):
        raise TypeError("argument 1: expected a number")
    return float(value)


def _numbers(text: str) -> list[float]:
    return [float(part) for part in text.split(",") if part.strip()]
