"""Exploring in a scene: nodes of an explored dose, its column and curves, what sparing costs as a plot, objectives."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest

from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.model.contract import DEFAULT_CHANNELS, ChannelSpec
from DeepDosePredictLib.mrml import (
    charts,
    comparison,
    dose_node,
    exploration,
    objectives,
    prediction,
    subject_hierarchy,
)
from DeepDosePredictLib.mrml.results import Results, exploredFrom
from DeepDosePredictLib.mrml.trade_off_chart import SENTENCE
from mrml_scene import lps_grid, slicer
from synthetic import make_case, make_model


@pytest.fixture(scope="module")
def planning_model(tmp_path_factory):
    spec = ChannelSpec(names=(*DEFAULT_CHANNELS, "plan_dose"), gantry_angles=tuple(range(0, 360, 40)))
    return make_model(tmp_path_factory.mktemp("model") / "planning.safetensors", spec=spec)


@pytest.fixture
def predicted(scene, planning_model):
    """A prediction for the made-up patient with a reference dose."""
    case = make_case()
    place = lps_grid(case.spacing, case.origin)
    ct, plan = scene.volume(case.ct, place, "CT"), scene.volume(case.dose, place, "Plan")
    segmentation = scene.segmentation({roi: case.rois[roi] for roi in case.rois.present()}, place)
    return prediction.predictDose(
        ct, segmentation, plan, model=str(planning_model), device="cpu", dvhs=prediction.BUILT_IN
    )


def test_an_explored_dose_stands_beside_the_prediction(predicted):
    result = predicted
    before = slicer.util.arrayFromVolume(result.doseNode).copy()
    found = exploration.exploreDose(result, {"LeftParotid": 2})
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(result.doseNode), before)
    expected = result.basis.explorer.explore({"LeftParotid": 2})
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(found.doseNode), expected.dose)
    assert found.doseNode.GetName() == "CT explored dose (LeftParotid +2)" and found.priorities == {"LeftParotid": 2}
    notes = dose_node.provenanceOf(found.doseNode)
    assert notes["Priorities"] == "LeftParotid +2" and notes["ExploredFrom"] == result.doseNode.GetName()
    assert any("explored, not predicted" in warning for warning in found.warnings)
    assert "explored, not predicted" in Results(found.doseNode).text("DeepDosePredict.Warnings")
    assert subject_hierarchy.isDose(found.doseNode) and subject_hierarchy.folderOf(found.doseNode)
    assert Results(found.doseNode).differenceNode is not None


def test_table_and_chart_hold_three_doses(predicted):
    result = predicted
    plain = comparison.comparisonRows(result.metricsTableNode)
    assert all(row["explored"] is None for row in plain)
    found = exploration.exploreDose(result, {"Mandible": 4})
    rows = [row for row in comparison.comparisonRows(found.metricsTableNode) if row.get("segmentId")]
    earlier = {(row["segmentId"], row["metric"]): row for row in plain if row.get("segmentId")}
    for row in rows:
        assert row["change"] == pytest.approx(row["explored"] - row["predicted"])
        for key in ("reference", "predicted", "difference", "predicted_meets_goal"):
            assert row[key] == earlier[row["segmentId"], row["metric"]][key]
    table = found.metricsTableNode.GetTable()
    titles = [table.GetColumnName(n) for n in range(table.GetNumberOfColumns())]
    assert titles[3:8] == ["Ref", "Pred", "Diff", "Expl", "Change"] and "Expl ok" in titles
    assert "Expl" not in [
        result.metricsTableNode.GetTable().GetColumnName(n) for n in range(result.metricsTableNode.GetNumberOfColumns())
    ]
    chart = found.chartNode
    series = [node for node in charts.runNodes(chart) if node.IsA("vtkMRMLPlotSeriesNode")]
    kind = slicer.vtkMRMLPlotSeriesNode
    styles = {node.GetName().split()[-1]: node.GetLineStyle() for node in series}
    assert styles == {"ref": kind.LineStyleSolid, "pred": kind.LineStyleDash, "expl": kind.LineStyleDot}
    assert chart.GetTitle() == "DVH: reference solid, predicted dashed, explored dotted"


def test_an_exploration_is_marked_with_its_prediction(predicted):
    result = predicted
    found = exploration.exploreDose(result, {"Mandible": 1})
    assert [one.doseNode for one in exploredFrom(result.doseNode)] == [found.doseNode]
    Results(result.doseNode).mark(True)
    assert found.doseNode.GetAttribute("DeepDosePredict.OutOfDate") == "1"
    Results(result.doseNode).mark(False)
    assert found.doseNode.GetAttribute("DeepDosePredict.OutOfDate") is None
    Results(result.doseNode).remove()
    assert found.doseNode.GetScene() is not None and found.doseNode.GetAttribute("DeepDosePredict.OutOfDate") == "1"
    with pytest.raises(DeepDoseError, match="no longer in the scene; predict again"):
        exploration.exploreDose(result, {"Mandible": 1})


def test_what_cannot_be_explored_leaves_the_scene(predicted, scene, monkeypatch):
    result = predicted
    before = scene.scene.GetNumberOfNodes()
    with pytest.raises(DeepDoseError, match="Larynx takes no priority"):
        exploration.exploreDose(result, {"Larynx": 1})
    monkeypatch.setattr("DeepDosePredictLib.mrml.evaluation.comparisonTable", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        exploration.exploreDose(result, {"Mandible": 1})
    assert scene.scene.GetNumberOfNodes() == before


def test_what_sparing_costs_as_a_plot(predicted):
    result = predicted
    curve, chart = exploration.exploreTradeOff(result, "LeftParotid")
    assert chart.GetTitle() == curve.sentence() and curve.judgement() in chart.GetAttribute(SENTENCE)
    series = [chart.GetNthPlotSeriesNode(n) for n in range(chart.GetNumberOfPlotSeriesNodes())]
    assert len(series) == 6  # three targets, and the reference plan of each
    table = series[0].GetTableNode().GetTable()
    column = [table.GetColumnByName("LeftParotid").GetValue(n) for n in range(table.GetNumberOfRows())]
    assert column == pytest.approx(list(curve.values))
    planned = next(one for one in series if one.GetName() == "PTV70 ref")
    assert planned.GetTableNode().GetTable().GetColumnByName("PTV70").GetValue(0) == pytest.approx(
        curve.reference["PTV70"]["D_95"]
    )


def test_objectives_as_files(predicted, tmp_path):
    result = predicted
    found = exploration.exploreDose(result, {"LeftParotid": 2})
    lines = exploration.objectivesOf(found, tmp_path / "o.csv")
    with (tmp_path / "o.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["structure"] for row in rows] == [line.structure for line in lines]
    assert "LeftParotid +2" in rows[0]["model"]
    assert exploration.objectivesOf(result, tmp_path / "o.json") != lines
    assert json.loads((tmp_path / "o.json").read_text())["priorities"] == {}
    with pytest.raises(DeepDoseError, match=r"\.csv or \.json"):
        exploration.objectivesOf(result, tmp_path / "o.txt")


class StandInObjectiveNode(slicer.vtkMRMLScriptedModuleNode):
    """SlicerRT's objective node as its header declares it: segments are refused before the node is in a scene."""

    def SetSegmentationAndSegmentID(self, node, segmentId, /):
        assert self.GetScene() is not None and node.GetSegmentation().GetSegment(segmentId) is not None
        self.segment = (node, segmentId)


def test_objectives_as_slicerrts_nodes(predicted, monkeypatch):
    result = predicted
    with pytest.raises(DeepDoseError, match="need SlicerRT"):
        exploration.objectivesOf(result, nodes=True)
    monkeypatch.setattr(slicer, objectives.NODE_CLASS, StandInObjectiveNode, raising=False)
    lines, inputs = exploration.objectivesOf(result), result.evaluator.inputs
    made = objectives.objectiveNodes(inputs.segmentationNode, lines, inputs.roles)
    assert len(made) == sum(" ring " not in line.structure for line in lines)
    ofTarget = [node for node in made if node.segment[1] == "PTV70"]
    assert [node.GetName() for node in ofTarget] == ["Squared Underdosing", "Min DVH", "Squared Overdosing"]
    assert ofTarget[1].GetAttribute("v_min") == "95" and ofTarget[0].GetAttribute("overlapPriority") == "0"
    d95 = next(line for line in lines if line.structure == "PTV70" and line.volume_percent == 95)
    assert float(ofTarget[1].GetAttribute("d")) == pytest.approx(d95.dose, rel=1e-4)
    assert float(ofTarget[1].GetAttribute("penalty")) == pytest.approx(d95.weight)
    ofOrgan = [node for node in made if node.segment[1] == "Mandible"]
    assert {node.GetAttribute("overlapPriority") for node in ofOrgan} == {"5"}
    assert {"Mean Dose", "Max DVH"} <= {node.GetName() for node in ofOrgan}
