"""Comparison table and CSV, difference volume and isodose lines in a real MRML scene."""

from __future__ import annotations

import csv

import numpy as np
import pytest

from mrml_scene import Scene, lps_grid

slicer = pytest.importorskip("slicer", reason="needs slicer-core")

import slicerrt_standin  # noqa: E402
from DeepDosePredictLib.dvh.goals import Goal  # noqa: E402
from DeepDosePredictLib.dvh.metrics import Metric  # noqa: E402
from DeepDosePredictLib.errors import DeepDoseError  # noqa: E402
from DeepDosePredictLib.mrml.comparison import (  # noqa: E402
    comparisonRows,
    comparisonTable,
    exportComparisonCsv,
    metricsOf,
    parseMetrics,
    plannedRows,
    provenanceOf,
)
from DeepDosePredictLib.mrml.difference import (  # noqa: E402
    differenceColors,
    differenceVolume,
    differenceWindow,
    removeDifference,
)
from DeepDosePredictLib.mrml.dvh import computeDvhs  # noqa: E402
from DeepDosePredictLib.mrml.dvh_result import DvhSettings  # noqa: E402
from DeepDosePredictLib.mrml.geometry import volumeGrid  # noqa: E402
from DeepDosePredictLib.mrml.isodose import isodoseLevels, isodoseModel, removeIsodose  # noqa: E402
from DeepDosePredictLib.mrml.slicerrt_dvh import slicerRtDvhs  # noqa: E402

SHAPE, SPACING = (12, 16, 20), (3.0, 2.5, 2.0)
GRID = lps_grid(SPACING, (-12.0, 30.0, 7.0))
ROLES = {"PTV70": ("target",), "Brainstem": ("stem",)}
GOALS = [
    Goal("PTV70", Metric.parse("D95%"), ">=", 60.0),
    Goal("PTV70", Metric.parse("V65Gy"), "<=", 50.0),
    Goal("Brainstem", Metric.parse("mean"), "<=", 21.0),
    Goal("Larynx", Metric.parse("mean"), "<=", 44.0),
    Goal("Brainstem", Metric.parse("D50%")),
]
METRIC = Metric.parse("D95%")
PROVENANCE = {"Model": 'Net "1", final', "Version": "1.2.3", "ModelSHA256": "ab" * 32, "Warnings": "one\ntwo"}


def masks() -> dict[str, np.ndarray]:
    target, stem = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    target[3:8, 4:12, 4:9] = True
    stem[3:8, 4:12, 12:17] = True
    return {"target": target, "stem": stem}


def dose(target: float, stem: float) -> np.ndarray:
    """Uniform in each half, so that every metric is known."""
    array = np.full(SHAPE, stem, np.float32)
    array[..., :10] = target
    return array


class Patient:
    def __init__(self, scene: Scene, two: bool = True):
        self.scene = scene
        self.doses = {"Predicted": scene.volume(dose(61.0, 22.0), GRID, "Prediction")}
        if two:
            self.doses = {"Reference": scene.volume(dose(59.5, 20.0), GRID, "Clinical"), **self.doses}
        self.segmentation = scene.segmentation(masks(), GRID)
        self.segmentation.GetSegmentation().GetSegment("target").SetName("PTV, high")

    def rows(self, metrics="V20Gy"):
        return plannedRows(self.segmentation, ["target", "stem", "gone"], ROLES, GOALS, metrics)

    def table(self, **options):
        rows = self.rows()
        dvhs = computeDvhs(self.segmentation, ["target", "stem"], self.doses, metricsOf(rows))
        return comparisonTable(dvhs, rows, PROVENANCE, **options)


@pytest.fixture
def patient(scene):
    return Patient(scene)


def shown(table_node) -> list[dict[str, str]]:
    table = table_node.GetTable()
    names = [table.GetColumnName(c) for c in range(table.GetNumberOfColumns())]
    return [
        {name: table.GetValue(r, c).ToString() for c, name in enumerate(names)} for r in range(table.GetNumberOfRows())
    ]


@pytest.mark.parametrize(
    ("text", "metrics"),
    [
        ("D2%, V20Gy, D0.03cc", ["D2%", "V20Gy", "D0.03cc"]),
        ("D2% V20Gy;mean", ["D2%", "V20Gy", "mean"]),
        (" D 0.1 cc,, d2%, D2% ", ["D0.1cc", "D2%"]),
        ("", []),
    ],
)
def test_metrics_from_text(text, metrics):
    assert [str(metric) for metric in parseMetrics(text)] == metrics


@pytest.mark.parametrize(("text", "wrong"), [("D2%, V20", "V20"), ("D2%, foo", "foo"), ("D101%", "D101%")])
def test_a_wrong_metric_is_named(text, wrong):
    with pytest.raises(DeepDoseError, match=f"Metrics: .*{wrong}"):
        parseMetrics(text)


def test_rows_are_goals_usual_metrics_and_what_was_asked_for(patient):
    """Goals first, within a structure and among the structures."""
    rows = [(row.structure, row.label or str(row.metric), row.goal is not None) for row in patient.rows("D2%; D95%")]
    assert [row for row in rows if row[0] == "PTV, high"] == [
        ("PTV, high", "D95%", True),
        ("PTV, high", "V65Gy", True),
        ("PTV, high", "V95% (66.5 Gy)", False),
        ("PTV, high", "D99%", False),
        ("PTV, high", "D1%", False),
        ("PTV, high", "Dmax", False),
        ("PTV, high", "D2%", False),
    ]
    assert [row for row in rows if row[0] == "stem"] == [
        ("stem", "mean", True),
        ("stem", "D0.1cc", False),
        ("stem", "Dmax", False),
        ("stem", "D50%", False),
        ("stem", "D2%", False),
        ("stem", "D95%", False),
    ]


def test_structures_with_goals_come_first(patient):
    rows = plannedRows(
        patient.segmentation, ["stem", "target"], {"PTV60": ("target",)}, [Goal("PTV60", METRIC, ">=", 1)]
    )
    assert list(dict.fromkeys(row.structure for row in rows)) == ["PTV, high", "stem"]


def test_values_goals_and_scores(patient):
    table = patient.table(doseScore=2.5, dvhScore=1.25)
    rows = {(row["structure"], row["metric"]): row for row in comparisonRows(table)}
    d95 = rows["PTV, high", "D95%"]
    assert (d95["reference"], d95["predicted"], d95["difference"]) == pytest.approx((59.5, 61.0, 1.5))
    assert (d95["goal"], d95["reference_meets_goal"], d95["predicted_meets_goal"]) == (">= 60", False, True)
    mean = rows["stem", "mean"]
    assert (mean["difference"], mean["reference_meets_goal"], mean["predicted_meets_goal"]) == (2.0, True, False)
    assert rows["PTV, high", "V65Gy"]["predicted_meets_goal"] is True
    assert rows["stem", "D50%"]["goal"] is None and rows["stem", "D50%"]["predicted_meets_goal"] is None
    assert rows["OpenKBP", "dose score"]["difference"] == 2.5 and rows["OpenKBP", "DVH score"]["difference"] == 1.25
    cells = {(row["Structure"], row["Metric"]): list(row.values())[2:] for row in shown(table)}
    assert cells["PTV, high", "D95%"] == ["Gy", "59.50", "61.00", "+1.50", "≥ 60", "NO", "yes"]
    assert cells["PTV, high", "V20Gy"] == ["%", "100", "100", "+0.00", "", "", ""]
    assert cells["OpenKBP", "dose score"] == ["Gy", "", "", "2.50", "", "", ""]
    assert list(shown(table)[0]) == ["Structure", "Metric", "Unit", "Ref", "Pred", "Diff", "Goal", "Ref ok", "Pred ok"]


def test_without_a_reference_there_are_no_reference_columns(scene):
    table = Patient(scene, two=False).table()
    assert list(shown(table)[0]) == ["Structure", "Metric", "Unit", "Pred", "Goal", "Pred ok"]
    assert "Difference" not in provenanceOf(table)


def test_a_structure_under_one_dose_only_keeps_its_row(patient):
    patient.doses["Reference"] = patient.scene.volume(dose(50, 10), lps_grid(SPACING, (900.0, 0, 0)), "Elsewhere")
    table = patient.table()
    row = next(row for row in comparisonRows(table) if row["goal"])
    assert row["reference"] is None and row["difference"] is None and row["reference_meets_goal"] is None
    assert row["predicted"] == pytest.approx(61.0)
    assert "no voxels within Elsewhere" in provenanceOf(table)["DvhWarnings"]


def test_table_says_what_it_rests_on(patient):
    notes = provenanceOf(patient.table(doseScore=1.0))
    assert list(notes)[:3] == ["Model", "Version", "ModelSHA256"]
    assert notes["Model"] == PROVENANCE["Model"] and notes["DoseUnit"] == "Gy"
    assert notes["Method"].startswith("DeepDosePredict's own DVH")
    assert "samples at half the dose grid" in notes["Method"]
    assert "steps of 0.2 Gy" in notes["Method"]
    assert notes["ReferenceDoseGrid"] == "2 x 2.5 x 3 mm"
    assert "not for clinical use" in notes["Use"]
    assert "whole voxels of the model grid" in notes["Scores"]


def test_slicerrts_numbers_are_called_so(patient):
    logic = slicerrt_standin.install(patient.scene)
    slicerrt_standin.mark_as_dose(patient.scene, *patient.doses.values())
    rows = patient.rows()
    built_in = computeDvhs(patient.segmentation, ["target", "stem"], patient.doses, metricsOf(rows))
    dvhs = slicerRtDvhs(logic, built_in, metricsOf(rows), DvhSettings())
    assert provenanceOf(comparisonTable(dvhs, rows, PROVENANCE))["Method"].startswith("SlicerRT;")
    for row in comparisonRows(comparisonTable(dvhs, rows, PROVENANCE)):
        assert None not in (row["reference"], row["predicted"]), row


def test_csv(patient, tmp_path):
    table = patient.table(doseScore=2.5)
    path = tmp_path / "new folder" / "comparison.csv"
    exportComparisonCsv(table, path)
    with path.open(newline="", encoding="utf-8") as file:
        cells = list(csv.reader(file))
    n = next(n for n, row in enumerate(cells) if not row[0].startswith("#"))
    header = dict(cells[:n])
    assert header["# Model"] == PROVENANCE["Model"] and header["# DoseUnit"] == "Gy"
    assert header["# Warnings"] == "one; two"
    assert all(line.startswith("# ") for line in path.read_text(encoding="utf-8").splitlines()[:n])
    assert cells[n] == [
        "structure",
        "metric",
        "unit",
        "reference",
        "predicted",
        "difference",
        "goal",
        "reference_meets_goal",
        "predicted_meets_goal",
    ]
    for written, row in zip(cells[n + 1 :], comparisonRows(table), strict=True):
        for text, value in zip(written, (row[key] for key in cells[n]), strict=True):
            expected = {None: "", True: "yes", False: "no"}.get(value) if value in (None, True, False) else value
            assert text == expected or float(text) == value
    assert [p.name for p in path.parent.iterdir()] == ["comparison.csv"]


def test_csv_errors(patient, tmp_path):
    (tmp_path / "file").write_text("")
    table = patient.table()
    with pytest.raises(DeepDoseError, match="cannot be written"):
        exportComparisonCsv(table, tmp_path / "file" / "x.csv")
    for node in (None, patient.scene.scene.AddNewNodeByClass("vtkMRMLTableNode", "Other")):
        with pytest.raises(DeepDoseError, match="no comparison table"):
            exportComparisonCsv(node, tmp_path / "x.csv")
    assert not (tmp_path / "x.csv").exists()


def test_everything_survives_saving(patient, tmp_path):
    table = patient.table(doseScore=2.5, name="Run 1")
    isodose = isodoseModel(patient.doses["Predicted"], (20, 60))
    difference = differenceVolume(*patient.doses.values())
    path = str(tmp_path / "scene.mrb")
    assert patient.scene.scene.WriteToMRB(path)
    loaded = Scene(str(tmp_path / "cache"))
    assert loaded.scene.ReadFromMRB(path)
    again = loaded.scene.GetFirstNodeByName("Run 1")
    assert comparisonRows(again) == comparisonRows(table)
    kept = {key: value for key, value in provenanceOf(table).items() if key != "Warnings"}
    assert kept.items() <= provenanceOf(again).items()
    assert shown(again) == shown(table)
    colors = loaded.scene.GetFirstNodeByName(isodose.GetName()).GetDisplayNode().GetColorNode()
    assert [colors.GetColorName(n) for n in range(colors.GetNumberOfColors())] == ["20 Gy", "60 Gy"]
    color_node = loaded.scene.GetFirstNodeByName(difference.GetName()).GetDisplayNode().GetColorNode()
    assert differenceColors(loaded.scene) is color_node and color_node.GetNumberOfColors() == 256


def test_difference_on_the_reference_grid(patient):
    node = differenceVolume(*patient.doses.values())
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), dose(61.0, 22.0) - dose(59.5, 20.0))
    assert volumeGrid(node).same_as(volumeGrid(patient.doses["Reference"]))
    assert slicer.util.arrayFromVolume(node).dtype == np.float32
    display = node.GetDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (4.0, 0.0)


def test_difference_of_doses_on_different_grids(patient):
    """A linear dose is the same on any grid; outside its grid the prediction counts as 0."""
    tilt = np.array([[0.8, -0.6, 0, 4], [0.6, 0.8, 0, -7], [0, 0, 1, 3], [0, 0, 0, 1]])
    moved = patient.scene.transform(tilt)
    reference = patient.scene.volume(np.full(SHAPE, 10, np.float32), GRID, "R")
    reference.SetAndObserveTransformNodeID(moved.GetID())
    grid = volumeGrid(reference)
    points = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE[::-1]), indexing="ij"), -1).reshape(-1, 3)
    world = points @ grid.ijk_to_ras[:3, :3].T + grid.ijk_to_ras[:3, 3]
    around = lps_grid((3.0, 3.0, 3.0), (-100.0, -100.0, -100.0))
    k, j, i = np.indices((70, 70, 70))
    ramp = 20 + 0.05 * (np.stack([i, j, k], -1) @ around[:3, :3].T + around[:3, 3]).sum(-1)
    node = differenceVolume(reference, patient.scene.volume(ramp.astype(np.float32), around, "P"))
    expected = (10 + 0.05 * world.sum(-1)).reshape(SHAPE[::-1]).transpose(2, 1, 0)
    np.testing.assert_allclose(slicer.util.arrayFromVolume(node), expected, atol=1e-3)
    assert volumeGrid(node).same_as(grid)
    far = patient.scene.volume(np.full(SHAPE, 99, np.float32), lps_grid(SPACING, (900.0, 0, 0)), "Far")
    assert (slicer.util.arrayFromVolume(differenceVolume(reference, far)) == -10).all()


def test_difference_colours_diverge_and_are_made_once(patient):
    colors = differenceColors(patient.scene.scene)
    differenceVolume(*patient.doses.values())
    assert differenceColors(patient.scene.scene) is colors
    rgba = np.zeros((256, 4))
    for n in range(256):
        colors.GetColor(n, rgba[n])
    assert (rgba[122:134, 3] == 0).all() and (rgba[:121, 3] == 1).all() and (rgba[135:, 3] == 1).all()
    assert rgba[0, 2] > rgba[0, 0] and rgba[-1, 0] > rgba[-1, 2]
    assert rgba[127, :3].min() > 0.9
    assert (np.diff(rgba[:127, 0]) >= 0).all() and (np.diff(rgba[129:, 2]) <= 0).all()


def test_difference_window_is_whole_and_spares_outliers():
    values = np.zeros(100_000, np.float32)
    assert differenceWindow(values) == 1
    values[:10_000] = np.linspace(-7.5, 7.5, 10_000)
    values[0] = 500
    assert differenceWindow(values) == 8


def test_difference_leaves_nothing_on_failure(patient, monkeypatch):
    differenceColors(patient.scene.scene)
    before = patient.scene.node_names()
    with pytest.raises(DeepDoseError, match="reference dose"):
        differenceVolume(None, patient.doses["Predicted"])
    monkeypatch.setattr("DeepDosePredictLib.mrml.difference.differenceWindow", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        differenceVolume(*patient.doses.values())
    assert patient.scene.node_names() == before
    monkeypatch.undo()
    removeDifference(differenceVolume(*patient.doses.values()))
    assert patient.scene.node_names() == before


def ball_dose(scene, ijk_to_ras: np.ndarray):
    """60 Gy in the middle of the grid, 2 Gy less for each mm away from it."""
    k, j, i = np.indices((30, 30, 30)) - 14.5
    array = np.clip(60 - 2 * 2.0 * np.sqrt(k**2 + j**2 + i**2), 0, None).astype(np.float32)
    return scene.volume(array, ijk_to_ras, "Ball")


def test_isodose_surfaces_lie_where_the_dose_is(scene):
    """In the world, for an oblique volume under a transform."""
    a = np.deg2rad(25)
    turn = np.array([[np.cos(a), -np.sin(a), 0, 0], [np.sin(a), np.cos(a), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    node = ball_dose(scene, turn @ lps_grid((2.0, 2.0, 2.0), (11.0, -5.0, 40.0)))
    node.SetAndObserveTransformNodeID(scene.transform(turn @ turn).GetID())
    centre = (volumeGrid(node).ijk_to_ras @ [14.5, 14.5, 14.5, 1])[:3]
    model = isodoseModel(node, (20, 40))
    points = slicer.util.arrayFromModelPoints(model)
    levels = slicer.util.arrayFromModelPointData(model, "isolevels")
    numbers = slicer.util.arrayFromModelPointData(model, "isodoseNumber")
    assert set(levels) == {20, 40} and set(numbers) == {0, 1}
    radii = np.linalg.norm(points - centre, axis=1)
    for level, radius in ((20, 20), (40, 10)):
        np.testing.assert_allclose(radii[levels == level], radius, atol=0.3)


def test_isodose_display(scene):
    model = isodoseModel(ball_dose(scene, lps_grid((2.0, 2.0, 2.0))), (40, 57.5, 20, 40))
    display = model.GetDisplayNode()
    assert display.GetVisibility2D() and not display.GetVisibility3D() and display.GetScalarVisibility()
    colors = display.GetColorNode()
    assert [colors.GetColorName(n) for n in range(colors.GetNumberOfColors())] == ["20 Gy", "40 Gy", "57.5 Gy"]
    table = colors.GetLookupTable()
    low, high = display.GetScalarRange()
    shown_colors = []
    for number in range(3):  # as VTK maps a value of the range to the table
        index = int((number - low) * 3 / (high - low))
        rgba = np.zeros(4)
        colors.GetColor(index, rgba)
        assert index == number and rgba[3] == 1
        shown_colors.append(tuple(rgba))
    assert table.GetNumberOfTableValues() == 3 and len(set(shown_colors)) == 3


def test_isodose_at_the_edge_of_the_grid_is_closed(scene):
    model = isodoseModel(scene.volume(np.full((6, 6, 6), 50, np.float32), np.eye(4), "Full"), [25.0])
    np.testing.assert_allclose(model.GetPolyData().GetBounds(), (-0.5, 5.5) * 3, atol=1e-5)


def test_isodose_errors_and_removal(scene):
    node = ball_dose(scene, lps_grid((2.0, 2.0, 2.0)))
    before = scene.node_names()
    for levels in ((), (0, 20), (float("nan"),)):
        with pytest.raises(DeepDoseError, match="above 0 Gy"):
            isodoseModel(node, levels)
    with pytest.raises(DeepDoseError, match="Ball: the dose reaches none"):
        isodoseModel(node, (70,))
    assert scene.node_names() == before
    removeIsodose(isodoseModel(node, (20, 90)))
    assert scene.node_names() == before


def test_isodose_levels_of_a_prescription():
    assert isodoseLevels(70, "100%, 95 %; 107%, 20 Gy,70gy") == (20.0, 66.5, 70.0, 74.9)
    for wrong in ("95", "0%", "-5 Gy", "95%, many"):
        with pytest.raises(DeepDoseError, match=r"Isodose levels: .* is none"):
            isodoseLevels(70, wrong)
    assert len(isodoseLevels(54)) == 6
