"""DVHs of segments in a real MRML scene: our own, and through a stand-in for SlicerRT's logic; charts."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from mrml_scene import Scene, lps_grid, oriented_image

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

import slicerrt_standin  # noqa: E402
from DeepDosePredictLib.dvh.metrics import Metric  # noqa: E402
from DeepDosePredictLib.dvh.oversampled import OversampledDose  # noqa: E402
from DeepDosePredictLib.errors import DeepDoseError  # noqa: E402
from DeepDosePredictLib.io.openkbp import read_openkbp  # noqa: E402
from DeepDosePredictLib.mrml.charts import (  # noqa: E402
    colorsOf,
    dvhChart,
    highlight,
    removeRun,
    runNodes,
    showStructure,
    structuresOf,
)
from DeepDosePredictLib.mrml.dvh import DvhSettings, computeDvhs  # noqa: E402
from DeepDosePredictLib.mrml.dvh_result import curveOf  # noqa: E402
from DeepDosePredictLib.mrml.slicerrt_dvh import _isWhole, slicerRtDvhs, slicerRtProblem  # noqa: E402
from plot_view import PlotView  # noqa: E402

SHAPE, SPACING = (16, 20, 24), (3.0, 2.5, 2.0)
METRICS = tuple(map(Metric.parse, ("D95%", "D1%", "D0.1cc", "V20Gy", "V59.85Gy")))
CREATED = "DoseVolumeHistogram.createdDvhArrayRef"


def oblique(degrees: float = 20.0) -> np.ndarray:
    a = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]
    tilt = np.eye(4)
    tilt[1:3, 1:3] = turn[:2, :2]
    return turn @ tilt @ lps_grid(SPACING, (-12.0, 30.0, 7.0))


def masks() -> dict[str, np.ndarray]:
    box, ball = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    box[4:9, 5:12, 6:17] = True
    k, j, i = np.indices(SHAPE)
    ball[(k - 9) ** 2 + (j - 10) ** 2 + (i - 12) ** 2 < 30] = True
    return {"PTV70": box, "Brainstem": ball}


def dose_array(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 70, SHAPE).astype(np.float32)


class Patient:
    """Two doses and two overlapping segments in a scene."""

    def __init__(self, scene: Scene):
        self.scene, self.grid = scene, oblique()
        self.reference = scene.volume(dose_array(), self.grid, "Clinical")
        self.predicted = scene.volume(dose_array(1), self.grid, "Prediction")
        self.segmentation = scene.segmentation(masks(), self.grid)
        slicerrt_standin.mark_as_dose(scene, self.reference, self.predicted)
        self.doses = {"Reference": self.reference, "Predicted": self.predicted}

    def add_segment(self, name: str, mask: np.ndarray) -> None:
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.AddRepresentation("Binary labelmap", oriented_image(mask, self.grid))
        self.segmentation.GetSegmentation().AddSegment(segment, name)

    def dvhs(self, ids=("PTV70", "Brainstem"), **options):
        return computeDvhs(self.segmentation, ids, self.doses, METRICS, **options)

    def slicer_rt_dvhs(self, logic, ids=("PTV70", "Brainstem"), settings=None, metrics=METRICS):
        """SlicerRT's in the place of the built-in ones."""
        built_in = computeDvhs(self.segmentation, ids, self.doses, metrics, settings)
        try:
            return slicerRtDvhs(logic, built_in, metrics, settings or DvhSettings())
        finally:
            built_in.removeNodes()


@pytest.fixture
def patient(scene):
    return Patient(scene)


@pytest.fixture
def slicer_rt(patient):
    return slicerrt_standin.install(patient.scene)


def test_tables_hold_the_curves_of_the_core(patient):
    dvhs = patient.dvhs()
    assert not dvhs.warnings
    voxel = float(np.prod(SPACING))
    for (label, segment), curve in dvhs.curves.items():
        source = OversampledDose(slicer.util.arrayFromVolume(patient.doses[label]), voxel)
        box = tuple(slice(0, n) for n in SHAPE)
        expected = source.samples_of_voxels(box, masks()[segment])
        for ours, theirs in zip(curveOf(curve.tableNode), expected.curve(source.highest), strict=True):
            np.testing.assert_allclose(ours, theirs)
        assert curve.volumeCc == pytest.approx(masks()[segment].sum() * voxel / 1000)
        assert (curve.mean, curve.minimum, curve.maximum) == (expected.mean, expected.minimum, expected.maximum)
        assert {m: curve.metrics[m] for m in METRICS} == {m: expected.metric(m) for m in METRICS}


def test_slicerrts_own_numbers_through_mrml(scene, shared, validation_patients):
    case = read_openkbp(validation_patients / "pt_201")
    grid = lps_grid(case.spacing)
    segmentation = scene.segmentation({roi: case.rois[roi] for roi in case.rois.present()}, grid)
    columns = {"D99pct_gy": "D99%", "D1pct_gy": "D1%", "D0.1cc_gy": "D0.1cc", "V20Gy_pct": "V20Gy"}
    metrics = {column: Metric.parse(text) for column, text in columns.items()}
    dvhs = computeDvhs(segmentation, case.rois.present(), {"Dose": scene.volume(case.dose, grid)}, metrics.values())
    with (shared / "reference-results" / "slicerrt" / "metrics_fine.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["patient"] == "pt_201"]
    assert len(rows) == len(dvhs.curves) == 10
    for row in rows:
        curve = dvhs.curves["Dose", row["roi"]]
        values = (curve.volumeCc, curve.mean, curve.minimum, curve.maximum)
        assert [f"{value:.6g}" for value in values] == [row[c] for c in ("volume_cc", "mean_gy", "min_gy", "max_gy")]
        for column, metric in metrics.items():
            assert curve.metrics[metric] == pytest.approx(float(row[column]), abs=0.01), (row["roi"], column)


def test_tables_look_like_slicerrts(patient):
    curve = patient.dvhs().curves["Predicted", "PTV70"]
    node, table = curve.tableNode, curve.tableNode.GetTable()
    assert node.GetName() == "PTV70_Predicted_DvhTable"
    assert [table.GetColumnName(c) for c in range(table.GetNumberOfColumns())] == ["Dose", "Volume"]
    assert [table.GetValue(row, 0).ToDouble() for row in range(3)] == pytest.approx([0, 0.1, 0.3])
    assert table.GetValue(0, 1).ToDouble() == 100
    assert node.GetAttribute("DoseVolumeHistogram.DVH") == "1"
    assert node.GetAttribute("DoseVolumeHistogram.SegmentID") == "PTV70"
    assert node.GetAttribute("DoseVolumeHistogram.DoseVolumeOversamplingFactor") == "2"
    assert float(node.GetAttribute("DoseVolumeHistogram.Volume (cc)")) == curve.volumeCc
    assert node.GetNodeReference("doseVolumeRef") is patient.predicted
    assert node.GetNodeReference("segmentationRef") is patient.segmentation
    assert node.GetAttribute("DeepDosePredict.DoseUnit") == "Gy"
    assert "steps of 0.2 Gy from 0.1 Gy" in node.GetAttribute("DeepDosePredict.Method")


def test_doses_on_other_grids_and_under_transforms(patient):
    """A uniform dose on a coarser, shifted, oblique grid; everything moved by transforms of volume and segmentation."""
    shift = patient.scene.transform(np.array([[0, -1, 0, 5], [1, 0, 0, -3], [0, 0, 1, 9], [0, 0, 0, 1]], float))
    patient.segmentation.SetAndObserveTransformNodeID(shift.GetID())
    around = lps_grid((4.0, 4.0, 4.0), (-100.0, -100.0, -100.0))
    patient.doses = {"Predicted": patient.scene.volume(np.full((60, 60, 60), 33, np.float32), around, "Uniform")}
    dvhs = patient.dvhs()
    assert not dvhs.warnings
    for segment, mask in masks().items():
        curve = dvhs.curves["Predicted", segment]
        assert curve.volumeCc == pytest.approx(mask.sum() * np.prod(SPACING) / 1000, rel=0.05)
        assert (curve.minimum, curve.mean, curve.maximum) == pytest.approx((33, 33, 33))


def test_one_bad_segment_does_not_stop_the_rest(patient):
    patient.add_segment("Empty", np.zeros(SHAPE, bool))
    dvhs = patient.dvhs(["Empty", "PTV70", "no such ID", "Brainstem"])
    assert dvhs.segmentIds() == ["PTV70", "Brainstem"] and len(dvhs.curves) == 4
    assert set(dvhs.failures) == {(label, name) for label in patient.doses for name in ("Empty", "no such ID")}
    assert any("Empty" in w and "empty" in w for w in dvhs.warnings)
    assert any("no such ID" in w for w in dvhs.warnings)
    assert len(dvhs.warnings) == 2


def test_structures_that_leave_the_dose_are_named(patient):
    edge = np.zeros(SHAPE, bool)
    edge[:4, 5:9, 5:9] = True
    patient.add_segment("Cord", edge)
    patient.doses["Elsewhere"] = patient.scene.volume(dose_array(), lps_grid(SPACING, (900.0, 0, 0)), "Elsewhere")
    dvhs = patient.dvhs(["Cord"])
    assert "Cord: reaches the edge of Clinical and Prediction" in " ".join(dvhs.warnings)
    assert "within Elsewhere" in dvhs.failures["Elsewhere", "Cord"]


def test_negative_doses_count_as_zero_and_are_said(patient):
    dose = dose_array()
    dose[4:8] = -3
    slicer.util.updateVolumeFromArray(patient.reference, dose)
    dvhs = patient.dvhs()
    assert dvhs.curves["Reference", "PTV70"].minimum == 0
    assert f"Clinical: {dose[4:8].size} voxels have a negative dose" in " ".join(dvhs.warnings)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(patient.reference), dose)


def test_a_dose_that_is_none_fails_and_leaves_nothing(patient):
    before = patient.scene.node_names()
    patient.doses["Predicted"] = patient.scene.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "Blank")
    with pytest.raises(DeepDoseError, match="Blank"):
        patient.dvhs()
    nan = dose_array()
    nan[3, 4, 5] = np.nan
    patient.doses["Predicted"] = patient.scene.volume(nan, patient.grid, "Broken")
    with pytest.raises(DeepDoseError, match="Broken: the dose has NaN"):
        patient.dvhs()
    assert {name for name in patient.scene.node_names() - before if "Table" in name} == set()
    with pytest.raises(DeepDoseError, match="above 0"):
        patient.dvhs(settings=DvhSettings(start=0))


def test_a_crash_halfway_leaves_no_tables(patient, monkeypatch):
    before = patient.scene.node_names()
    monkeypatch.setattr("DeepDosePredictLib.mrml.dvh.describeTable", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        patient.dvhs()
    assert patient.scene.node_names() == before


def test_saving_and_loading_keeps_tables_and_chart(patient, tmp_path):
    dvhs = patient.dvhs()
    chart = dvhChart(dvhs, "Run")
    saved = {node.GetName(): (node.GetAttributeNames(), curveOf(node)) for node in dvhs.tableNodes}
    path = str(tmp_path / "scene.mrb")
    assert patient.scene.scene.WriteToMRB(path)
    loaded = Scene(str(tmp_path / "cache"))
    assert loaded.scene.ReadFromMRB(path)
    again = loaded.scene.GetFirstNodeByName(chart.GetName())
    assert again.GetNumberOfPlotSeriesNodes() == 4
    for n in range(4):
        node = again.GetNthPlotSeriesNode(n).GetTableNode()
        names, curve = saved[node.GetName()]
        assert node.GetAttributeNames() == names
        np.testing.assert_allclose(curveOf(node), curve, rtol=1e-5)  # Slicer writes six digits
        assert node.GetNodeReference("doseVolumeRef").GetName() in ("Clinical", "Prediction")
    removeRun(again)
    assert not loaded.scene.GetNumberOfNodesByClass("vtkMRMLTableNode")
    assert not loaded.scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode")
    assert not loaded.scene.GetNumberOfNodesByClass("vtkMRMLTableStorageNode")


def test_chart(patient):
    colors = {"PTV70": (1.0, 0.0, 0.0), "Brainstem": (0.0, 0.5, 1.0)}
    for name, color in colors.items():
        patient.segmentation.GetSegmentation().GetSegment(name).SetColor(*color)
    chart = dvhChart(patient.dvhs(), "Run")
    assert (chart.GetTitle(), chart.GetXAxisTitle(), chart.GetYAxisTitle()) == (
        "DVH: reference solid, predicted dashed",
        "Dose [Gy]",
        "Fractional volume [%]",
    )
    assert chart.GetXAxisRange()[1] >= 1.3 * 70
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert [s.GetName() for s in series] == ["PTV70 ref", "PTV70 pred", "Brainstem ref", "Brainstem pred"]
    solid, dash = slicer.vtkMRMLPlotSeriesNode.LineStyleSolid, slicer.vtkMRMLPlotSeriesNode.LineStyleDash
    assert [s.GetLineStyle() for s in series] == [solid, dash] * 2
    for s in series:
        assert s.GetColor() == pytest.approx(colors[s.GetTableNode().GetAttribute("DoseVolumeHistogram.SegmentID")])
        assert (s.GetXColumnName(), s.GetYColumnName()) == ("Dose", "Volume")
        assert s.GetTableNode().GetTable().GetColumnByName("Volume") is not None


def test_a_single_dose_is_solid(patient):
    del patient.doses["Reference"]
    chart = dvhChart(patient.dvhs())
    series = chart.GetNthPlotSeriesNode(0)
    assert (series.GetName(), series.GetLineStyle()) == ("PTV70", slicer.vtkMRMLPlotSeriesNode.LineStyleSolid)


def test_slicerrt_is_used_where_it_is_and_agrees(patient, slicer_rt):
    """Its numbers come from bins of 0.2 Gy; finer bins bring them to our quantiles."""
    patient.segmentation.GetSegmentation().GetSegment("Brainstem").SetName("Hirnstamm")
    theirs, ours = patient.slicer_rt_dvhs(slicer_rt, settings=DvhSettings(0.01, 0.01)), patient.dvhs()
    assert theirs.method.startswith("SlicerRT") and "own DVH" in ours.method
    both = ("PTV70", "Brainstem")
    assert slicer_rt.calls == [("Clinical", both), ("Prediction", both)], "one call for all structures of a dose"
    assert set(theirs.curves) == set(ours.curves) and not theirs.warnings
    for key, curve in theirs.curves.items():
        assert curve.name == ours.curves[key].name
        for quantity in ("volumeCc", "mean", "minimum", "maximum"):
            assert getattr(curve, quantity) == pytest.approx(getattr(ours.curves[key], quantity), rel=1e-5)
        for metric in METRICS:
            assert curve.metrics[metric] == pytest.approx(ours.curves[key].metrics[metric], abs=0.03), (key, metric)


def test_slicerrts_settings_are_restored(patient, slicer_rt):
    slicer_rt.SetStartValue(0.5)
    slicer_rt.SetStepSize(1.5)
    slicer_rt.SetDefaultDoseVolumeOversamplingFactor(4.0)
    dose, percent = curveOf(patient.slicer_rt_dvhs(slicer_rt).curves["Reference", "PTV70"].tableNode)
    assert (dose[1], dose[2] - dose[1]) == pytest.approx((0.1, 0.2)) and percent[0] == 100
    slicer_rt.ComputeVMetrics = lambda node, /: False
    with pytest.raises(DeepDoseError, match="SlicerRT"):
        patient.slicer_rt_dvhs(slicer_rt)
    assert slicer_rt.GetStartValue() == 0.5 and slicer_rt.GetStepSize() == 1.5
    assert slicer_rt.GetDefaultDoseVolumeOversamplingFactor() == 4.0


def test_slicerrt_with_bad_segments(patient, slicer_rt):
    """Empty, missing, outside and negative ones: reported, the others complete, nothing half-made, nothing silent."""
    negative, outside = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    negative[1:3, 2:5, 2:5] = True
    dose = dose_array()
    dose[1:3, 2:5, 2:5] = -1
    slicer.util.updateVolumeFromArray(patient.reference, dose)
    patient.add_segment("Empty", outside)
    patient.add_segment("Negative", negative)
    before = patient.scene.node_names()
    dvhs = patient.slicer_rt_dvhs(slicer_rt, ["Negative", "Empty", "PTV70", "no such ID", "Brainstem"])
    assert set(dvhs.curves) == {(label, name) for label in patient.doses for name in ("PTV70", "Brainstem")} | {
        ("Predicted", "Negative")
    }
    assert "negative dose values" in dvhs.failures["Reference", "Negative"]
    assert not slicer_rt.silent and not dvhs.parameterNode.GetDisableModifiedEvent()
    assert dvhs.parameterNode.GetMetricsTableNode().GetTable().GetNumberOfRows() == 5
    dvhs.removeNodes()
    assert patient.scene.node_names() == before
    assert not patient.segmentation.GetNumberOfNodeReferences(CREATED)


def add_negative(patient, *doses) -> None:
    """A segment with negative doses, which SlicerRT refuses."""
    where = np.s_[1:3, 2:5, 2:5]
    mask = np.zeros(SHAPE, bool)
    mask[where] = True
    patient.add_segment("Negative", mask)
    for node in doses:
        slicer.util.arrayFromVolume(node)[where] = -1
        slicer.util.arrayFromVolumeModified(node)


def test_slicerrt_speaks_again_when_the_last_segment_fails(patient, slicer_rt):
    add_negative(patient, patient.predicted)
    dvhs = patient.slicer_rt_dvhs(slicer_rt, ["PTV70", "Negative"])
    assert "negative dose values" in dvhs.failures["Predicted", "Negative"]
    assert not slicer_rt.silent and not dvhs.parameterNode.GetDisableModifiedEvent()
    assert set(dvhs.curves) == {("Reference", "PTV70"), ("Reference", "Negative"), ("Predicted", "PTV70")}
    assert slicer_rt.errors == [], "no empty roles"


def test_slicerrt_speaks_again_when_all_fail(patient, slicer_rt):
    add_negative(patient, patient.reference, patient.predicted)
    before = patient.scene.node_names()
    dvhs = patient.slicer_rt_dvhs(slicer_rt, ["Negative"])
    assert not dvhs.curves and "SlicerRT gives no DVH" in " ".join(dvhs.warnings)
    assert not slicer_rt.silent and slicer_rt.errors == []
    assert patient.scene.node_names() == before


def test_stopping_between_calls_leaves_nothing(patient, slicer_rt):
    before = patient.scene.node_names()
    built_in = patient.dvhs()
    seen = []

    def stop(done, what):
        seen.append(what)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        slicerRtDvhs(slicer_rt, built_in, METRICS, DvhSettings(), stop)
    assert "2 structures under Clinical" in seen[0]
    built_in.removeNodes()
    assert patient.scene.node_names() == before and not slicer_rt.silent


def test_slicerrt_repeats_what_the_built_in_code_says(patient, slicer_rt):
    """Such as that a structure reaches the edge of the dose, which SlicerRT cuts in silence."""
    cut = np.zeros(SHAPE, bool)
    cut[:4, 5:9, 6:9] = True
    patient.add_segment("Cut", cut)
    dvhs = patient.slicer_rt_dvhs(slicer_rt, ["Cut", "PTV70"])
    assert "Cut: reaches the edge of Clinical and Prediction" in " ".join(dvhs.warnings)


def test_slicerrt_is_not_asked_where_it_is_slow_or_wrong(patient, slicer_rt):
    assert slicerRtProblem(patient.doses, 50) == ""
    slicer.util.updateVolumeFromArray(patient.reference, dose_array().astype(np.int16))
    assert "whole numbers" in slicerRtProblem(patient.doses, 1)
    slicer.util.updateVolumeFromArray(patient.reference, np.zeros((2, 2**10, 2**10), np.float32))
    assert slicerRtProblem(patient.doses, 50) == ""
    assert "take about 49 s for the DVHs of 100 structures" in slicerRtProblem(patient.doses, 100)
    slicer.util.updateVolumeFromArray(patient.reference, np.zeros((12, 2**10, 2**10), np.float32))
    assert "Clinical has 13 million voxels, for which SlicerRT needs 1 GB" in slicerRtProblem(patient.doses, 1)


def test_slicerrt_without_any_good_segment(patient, slicer_rt):
    before = patient.scene.node_names()
    patient.add_segment("Empty", np.zeros(SHAPE, bool))
    dvhs = patient.slicer_rt_dvhs(slicer_rt, ["Empty"])
    assert not dvhs.curves and len(dvhs.warnings) == 1
    assert patient.scene.node_names() == before


def test_slicerrts_zero_for_the_whole_structure_is_not_shown(patient, slicer_rt):
    metrics = tuple(map(Metric.parse, ("D100%", "D500cc")))
    curve = patient.slicer_rt_dvhs(slicer_rt, ["PTV70"], metrics=metrics).curves["Reference", "PTV70"]
    assert curve.metrics[metrics[0]] == curve.metrics[metrics[1]] == curve.minimum > 0


def test_slicerrt_refuses_a_volume_that_is_no_dose(patient, slicer_rt):
    before = patient.scene.node_names()
    patient.predicted.RemoveAttribute("DicomRtImport.DoseVolume")
    with pytest.raises(DeepDoseError, match="Prediction: SlicerRT does not take"):
        patient.slicer_rt_dvhs(slicer_rt)
    assert patient.scene.node_names() == before


def test_slicerrts_chart_shows_the_same(patient, slicer_rt):
    dvhs = patient.slicer_rt_dvhs(slicer_rt)
    chart = dvhChart(dvhs, "Run")
    assert chart is dvhs.parameterNode.GetChartNode()
    own = dvhChart(patient.dvhs(), "Run")
    for n in range(4):
        theirs, ours = chart.GetNthPlotSeriesNode(n), own.GetNthPlotSeriesNode(n)
        assert (theirs.GetName(), theirs.GetLineStyle(), theirs.GetColor()) == (
            ours.GetName(),
            ours.GetLineStyle(),
            ours.GetColor(),
        )
        assert slicer_rt.GetPlotSeriesNodeForTable(chart, theirs.GetTableNode()) is theirs
    metrics = dvhs.parameterNode.GetMetricsTableNode().GetTable()
    assert [metrics.GetValue(row, 0).ToInt() for row in range(4)] == [1] * 4


def test_a_run_is_removed_by_its_chart(patient, slicer_rt):
    before = patient.scene.node_names()
    chart = dvhChart(patient.slicer_rt_dvhs(slicer_rt), "Run")
    assert {node.GetID() for node in runNodes(chart)} == patient.scene.node_names() - before
    removeRun(chart)
    assert patient.scene.node_names() == before
    assert not patient.reference.GetNumberOfNodeReferences(CREATED)


def test_a_run_is_removed_whole_after_slicerrt_took_parts_of_it(patient, slicer_rt):
    """A curve unticked in SlicerRT's table; the parameter node deleted by a user."""
    before = patient.scene.node_names()
    dvhs = patient.slicer_rt_dvhs(slicer_rt)
    chart, metrics = dvhChart(dvhs, "Run"), dvhs.parameterNode.GetMetricsTableNode()
    metrics.GetTable().SetValue(1, 0, slicerrt_standin.vtk.vtkVariant(0))
    metrics.Modified()
    assert chart.GetNumberOfPlotSeriesNodes() == 3
    patient.scene.scene.RemoveNode(dvhs.parameterNode)
    removeRun(chart)
    assert patient.scene.node_names() == before
    assert not patient.reference.GetNumberOfNodeReferences(CREATED)


def test_curves_of_some_structures_and_slicerrts_ticks_agree(patient, slicer_rt):
    dvhs = patient.slicer_rt_dvhs(slicer_rt)
    chart = dvhChart(dvhs, "Run", ["PTV70"])
    metrics = dvhs.parameterNode.GetMetricsTableNode()
    assert structuresOf(chart) == {"PTV70": True, "Brainstem": False}
    metrics.Modified()
    assert chart.GetNumberOfPlotSeriesNodes() == 2 and slicer_rt.layout_changes == 0
    showStructure(chart, "Brainstem", True)
    showStructure(chart, "PTV70", False)
    metrics.Modified()
    assert structuresOf(chart) == {"PTV70": False, "Brainstem": True} and slicer_rt.layout_changes == 0
    removeRun(chart)
    assert not patient.scene.scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode")


def test_a_structure_can_be_highlighted_and_long_names_are_short(patient):
    patient.segmentation.GetSegmentation().GetSegment("Brainstem").SetName("Brainstem plus 3 mm for planning")
    chart = dvhChart(patient.dvhs())
    highlight(chart, "Brainstem")
    series = [chart.GetNthPlotSeriesNode(n) for n in range(4)]
    widths = [s.GetLineWidth() for s in series]
    assert widths[0] == widths[1] < widths[2] == widths[3]
    assert series[3].GetName() == "Brainstem…ning pred"
    highlight(chart, None)
    assert len({s.GetLineWidth() for s in series}) == 1


@pytest.mark.parametrize(
    ("structures", "size"), [(1, (440, 350)), (10, (440, 350)), (10, (900, 500)), (50, (440, 350))]
)
def test_the_legend_never_lies_on_curves(patient, structures, size):
    """Fifty structures with long names: beyond a legend's room the colours in the metrics table must do."""
    names = [f"Submandibular gland {n} WWWW" for n in range(structures)]
    box = np.zeros(SHAPE, bool)
    box[5:8, 6:9, 7:10] = True
    for name in names:
        patient.add_segment(name, box)
    chart = dvhChart(patient.dvhs(names), shown=names[:10])
    for name in names[10:]:
        showStructure(chart, name, True)
    view = PlotView(chart, size)
    if view.legend is None:
        assert structures == 50 and chart.GetXAxisRange()[1] <= 80
        for name in names[1:]:
            showStructure(chart, name, False)
        view = PlotView(chart, size)
    (left, bottom, _, top), area = view.legend, view.plot_area
    assert left > view.x_of(70) and area[1] <= bottom < top <= area[3]
    assert colorsOf(chart).keys() == set(names)


def test_a_table_deleted_by_a_user_spoils_no_chart(patient):
    chart = dvhChart(patient.dvhs())
    patient.scene.scene.RemoveNode(chart.GetNthPlotSeriesNode(0).GetTableNode())
    showStructure(chart, "Brainstem", False)
    assert not structuresOf(chart)["Brainstem"] and chart.GetXAxisRange()[1] > 70


def test_each_run_starts_afresh(patient, slicer_rt):
    """A new parameter node a run: tables of an earlier one are not written again under another dose."""
    first = patient.slicer_rt_dvhs(slicer_rt)
    slicer.util.updateVolumeFromArray(patient.predicted, 2 * dose_array(1))
    second = patient.slicer_rt_dvhs(slicer_rt)
    assert first.parameterNode is not second.parameterNode
    assert not {n.GetID() for n in first.tableNodes} & {n.GetID() for n in second.tableNodes}
    key = "Predicted", "PTV70"
    assert second.curves[key].maximum == pytest.approx(2 * first.curves[key].maximum, rel=1e-5)


@pytest.mark.parametrize(
    ("metric", "whole"), [("D0.1cc", False), ("D0.5cc", True), ("D2cc", True), ("D99%", False), ("D100%", True)]
)
def test_what_asks_for_the_whole_structure_is_its_minimum(metric, whole):
    """Also exactly the whole: 0.5 cc of 0.5 cc."""
    assert _isWhole(Metric.parse(metric), 0.5) == whole and not _isWhole(Metric.parse("mean"), 0.5)
