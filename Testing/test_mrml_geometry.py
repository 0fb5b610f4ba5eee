"""Grids, sampling and segments of every representation, in any orientation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical import rotation
from DeepDosePredictLib.errors import DeepDoseError
from DeepDosePredictLib.geometry.model_grid import lps_grid as centred_grid
from DeepDosePredictLib.geometry.model_grid import model_grid
from DeepDosePredictLib.geometry.trained_grid import TrainedGrid
from DeepDosePredictLib.geometry.volume import averaged
from DeepDosePredictLib.mrml.contours import contoursToLabelmap
from DeepDosePredictLib.mrml.geometry import sample, sampleVolume, volumeGrid, volumeOf
from DeepDosePredictLib.mrml.segments import segmentShape
from DeepDosePredictLib.patient.grid import Grid, transformed
from mrml_scene import lps_grid, oriented_image, slicer, vtk
from synthetic import ball

TRAINED = TrainedGrid()
MODEL = centred_grid(TRAINED.shape, TRAINED.spacing, np.zeros(3))


def random_grid(seed: int, shape=(48, 60, 52)) -> Grid:
    """A grid around the origin with any orientation (mirrored axes included) and spacing."""
    rng = np.random.default_rng(seed)
    axis = rng.normal(size=3)
    matrix = rotation(rng.uniform(0, 180), tuple(axis)) @ np.diag([*rng.choice([-1, 1], 3), 1.0])
    matrix[:3, :3] *= rng.uniform(1.5, 4.0, 3)
    matrix[:3, 3] = rng.uniform(-20, 20, 3) - matrix[:3, :3] @ (np.array(shape[::-1]) - 1) / 2
    return Grid(shape, matrix)


def centroid(mask: np.ndarray, grid: Grid) -> np.ndarray:
    return transformed(grid.ijk_to_ras, np.argwhere(mask)[:, ::-1].mean(0)[None])[0]


def painted(point: np.ndarray, grid: Grid, radius_mm: float = 25.0) -> np.ndarray:
    """Mask of the voxels within a distance of a world point."""
    k, j, i = np.indices(grid.shape).reshape(3, -1)
    distance = np.linalg.norm(transformed(grid.ijk_to_ras, np.stack((i, j, k), 1)) - point, axis=1)
    return (distance <= radius_mm).reshape(grid.shape)


@pytest.mark.parametrize("seed", range(10))
def test_what_is_painted_in_a_place_is_found_there(scene, seed):
    """Random orientation, spacing and parent transform: volume and segment agree on the model grid, to half a voxel."""
    rng = np.random.default_rng(100 + seed)
    grid = random_grid(seed)
    transform = rotation(rng.uniform(0, 30), tuple(rng.normal(size=3)))
    transform[:3, 3] = rng.uniform(-15, 15, 3)
    local = Grid(grid.shape, np.linalg.inv(transform) @ grid.ijk_to_ras)
    point = rng.uniform(-8, 8, 3)
    mask = painted(point, grid)
    volume = scene.volume((60 * mask).astype(np.float32), local.ijk_to_ras)
    segmentation = scene.segmentation({"ball": mask}, local.ijk_to_ras)
    node = scene.transform(transform)
    for transformable in (volume, segmentation):
        transformable.SetAndObserveTransformNodeID(node.GetID())
    dose = sampleVolume(volume, MODEL)
    box, coverage = segmentShape(segmentation, "ball").coverage(MODEL)
    structure = np.zeros(MODEL.shape, bool)
    structure[box] = coverage >= 0.5
    for found in (centroid(dose >= 30, MODEL), centroid(structure, MODEL)):
        assert np.abs((found - point) / MODEL.spacing[::-1]).max() < 0.5
    assert structure.sum() * MODEL.voxel_volume == pytest.approx(4 / 3 * np.pi * 25**3, rel=0.06)
    assert (structure & (dose >= 30)).sum() > 0.93 * max(structure.sum(), (dose >= 30).sum())


def test_grid_that_coincides_is_copied_exactly(scene):
    grid = Grid((20, 30, 40), lps_grid((2.5, 1.3, 1.7), (3, 4, 5)))
    array = np.random.default_rng(0).integers(-1000, 2000, grid.shape).astype(np.int16)
    assert (sampleVolume(scene.volume(array, grid.ijk_to_ras), grid) == array).all()


def test_outside_is_background(scene):
    grid = Grid((4, 4, 4), lps_grid((2, 2, 2)))
    volume = scene.volume(np.full(grid.shape, 7, np.float32), grid.ijk_to_ras)
    far = Grid((3, 3, 3), lps_grid((2, 2, 2), (500, 0, 0)))
    assert (sampleVolume(volume, far, -3) == -3).all()
    assert (sampleVolume(volume, centred_grid((8, 8, 8), (2, 2, 2), grid.corners().mean(0)), -3) == 7).sum() == 64


@given(st.tuples(*[st.integers(1, 4)] * 3), st.tuples(*[st.integers(3, 9)] * 3))
@settings(max_examples=30, deadline=None)
def test_averaging_keeps_the_mean_and_the_place(factors, shape):
    whole = tuple(n * f for n, f in zip(shape, factors, strict=True))
    array = np.random.default_rng(1).normal(size=whole)
    grid = Grid(whole, lps_grid((1.0, 2.0, 3.0), (4, 5, 6)))
    coarse, place = averaged(array, grid, factors)
    assert coarse.shape == shape and coarse.mean() == pytest.approx(array.mean(), abs=1e-5)
    assert np.allclose(place.corners(), grid.corners())
    assert np.allclose(place.refined(factors).ijk_to_ras, grid.ijk_to_ras)


def test_fine_detail_does_not_alias(scene):
    """Stripes finer than the grid average out instead of turning into coarse stripes."""
    fine = Grid((8, 128, 128), lps_grid((2.5, 1, 1)))
    stripes = np.broadcast_to(np.where(np.arange(128) % 2, 1000, 0), fine.shape).astype(np.int16)
    coarse = centred_grid((4, 20, 20), (5.0, 3.9, 3.9), fine.corners().mean(0))
    smooth = sampleVolume(scene.volume(stripes, fine.ijk_to_ras), coarse, smooth=True)
    plain = sampleVolume(scene.volume(stripes, fine.ijk_to_ras), coarse)
    assert np.abs(smooth - 500).max() < 200 < np.abs(plain - 500).max()


def sphere_surface(radius: float = 30.0, centre=(10.0, 20.0, 30.0)) -> vtk.vtkPolyData:
    source = vtk.vtkSphereSource()
    source.SetRadius(radius)
    source.SetCenter(*centre)
    source.SetThetaResolution(80)
    source.SetPhiResolution(80)
    source.Update()
    return source.GetOutput()


def sphere_contours(frame: np.ndarray, centre=(10.0, 20.0, 30.0), radius=30.0, hole=10.0, skip=()) -> vtk.vtkPolyData:
    """Contours every 2 mm along the third column of `frame`, with a hole wherever the sphere is wide."""
    points, cells = vtk.vtkPoints(), vtk.vtkCellArray()
    for height in np.arange(-29, 30, 2.0):
        wide = np.sqrt(radius**2 - height**2)
        for r in () if height in skip else (wide, hole) if wide > 1.5 * hole else (wide,):
            angles = np.linspace(0, 2 * np.pi, 90, endpoint=False)
            circle = np.stack((r * np.cos(angles), r * np.sin(angles), np.full(90, height)), 1) @ frame.T + centre
            ids = [points.InsertNextPoint(p) for p in circle]
            cells.InsertNextCell(91)
            for point in (*ids, ids[0]):
                cells.InsertCellPoint(point)
    contours = vtk.vtkPolyData()
    contours.SetPoints(points)
    contours.SetLines(cells)
    return contours


def segmentation_of(scene, representation: str, data):
    node = scene.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "S")
    node.GetSegmentation().SetSourceRepresentationName(representation)
    segment = slicer.vtkSegment()
    segment.SetName("sphere")
    segment.AddRepresentation(representation, data)
    node.GetSegmentation().AddSegment(segment, "sphere")
    return node


@pytest.mark.parametrize("degrees", [0, 17])
def test_closed_surfaces(scene, degrees):
    grid = Grid(MODEL.shape, rotation(degrees) @ MODEL.ijk_to_ras)
    box, coverage = segmentShape(segmentation_of(scene, "Closed surface", sphere_surface()), "sphere").coverage(grid)
    assert coverage.sum(dtype=float) * grid.voxel_volume == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.01)
    mask = np.zeros(grid.shape, bool)
    mask[box] = coverage >= 0.5
    assert np.abs(centroid(mask, grid) - (10, 20, 30)).max() < 0.3


@pytest.mark.parametrize(
    "frame",
    [np.eye(3), np.eye(3)[[1, 2, 0]], np.eye(3)[[2, 0, 1]], rotation(20)[:3, :3]],
    ids=["axial", "sagittal", "coronal", "oblique"],
)
def test_planar_contours_on_planes_of_any_orientation(scene, frame):
    contours = sphere_contours(frame)
    heights = np.arange(-29, 30, 2.0)
    wide = np.pi * (900 - heights**2)
    expected = 2 * (wide - np.where(900 - heights**2 > 225, np.pi * 100, 0)).sum()
    box, coverage = segmentShape(segmentation_of(scene, "Planar contour", contours), "sphere").coverage(MODEL)
    assert coverage.sum(dtype=float) * MODEL.voxel_volume == pytest.approx(expected, rel=0.01)
    mask = np.zeros(MODEL.shape, bool)
    mask[box] = coverage >= 0.5
    assert np.abs(centroid(mask, MODEL) - (10, 20, 30)).max() < 0.5


def test_planes_left_out_repeat_their_neighbours():
    full, _ = contoursToLabelmap(sphere_contours(np.eye(3)), "s")
    gaps, _ = contoursToLabelmap(sphere_contours(np.eye(3), skip=(-9.0, 5.0, 7.0)), "s")
    assert full.shape == gaps.shape and gaps.any((1, 2)).all()
    assert gaps.sum() == pytest.approx(full.sum(), rel=0.02)


def test_contours_that_are_no_planes_are_refused():
    twisted = sphere_contours(np.eye(3))
    points = twisted.GetPoints()
    for n in range(0, points.GetNumberOfPoints(), 3):
        x, y, z = points.GetPoint(n)
        points.SetPoint(n, x, y, z + 9)
    with pytest.raises(DeepDoseError, match="parallel planes"):
        contoursToLabelmap(twisted, "node, segment")


def test_segments_in_one_layer_and_in_layers_of_their_own(scene):
    grid = Grid((20, 30, 40), lps_grid((2, 2, 2)))
    first, second = ball(grid.shape, (10, 15, 12), 5), ball(grid.shape, (10, 15, 28), 6)
    shared = oriented_image(first + 2 * second.astype(np.uint8), grid.ijk_to_ras)
    node = scene.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "shared")
    for value, name in ((1, "a"), (2, "b")):
        segment = slicer.vtkSegment()
        segment.SetName(name)
        segment.SetLabelValue(value)
        segment.AddRepresentation("Binary labelmap", shared)
        node.GetSegmentation().AddSegment(segment, name)
    apart = scene.segmentation({"a": first, "b": second, "both": first | second}, grid.ijk_to_ras)
    for name, mask in (("a", first), ("b", second)):
        for segmentation in (node, apart):
            box, inside = segmentShape(segmentation, name).inside(grid)
            found = np.zeros(grid.shape, bool)
            found[box] = inside
            assert (found == mask).all()
    assert segmentShape(apart, "both").inside(grid)[1].sum() == (first | second).sum()


def test_empty_missing_and_shapeless_segments(scene):
    grid = Grid((8, 8, 8), lps_grid((2, 2, 2)))
    node = scene.segmentation({"empty": np.zeros(grid.shape, bool)}, grid.ijk_to_ras)
    shape = segmentShape(node, "empty")
    assert not len(shape.corners()) and not shape.coverage(MODEL)[1].size and not shape.inside(MODEL)[1].size
    with pytest.raises(DeepDoseError, match="no segment 'other'"):
        segmentShape(node, "other")
    segment = slicer.vtkSegment()
    segment.SetName("bare")
    node.GetSegmentation().AddSegment(segment, "bare")
    segment.RemoveAllRepresentations()
    with pytest.raises(DeepDoseError, match="bare"):
        segmentShape(node, "bare")


def test_non_linear_transforms_are_refused_with_words(scene):
    grid = Grid((8, 8, 8), lps_grid((2, 2, 2)))
    volume = scene.volume(np.zeros(grid.shape, np.int16), grid.ijk_to_ras, "CT")
    warp = scene.scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Warp")
    spline = vtk.vtkThinPlateSplineTransform()
    landmarks = [vtk.vtkPoints(), vtk.vtkPoints()]
    for point in np.random.default_rng(0).normal(size=(6, 3)) * 30:
        landmarks[0].InsertNextPoint(point)
        landmarks[1].InsertNextPoint(point**2 / 30)
    spline.SetSourceLandmarks(landmarks[0])
    spline.SetTargetLandmarks(landmarks[1])
    warp.SetAndObserveTransformToParent(spline)
    volume.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(DeepDoseError, match=r"CT: .*non-linear transform Warp"):
        volumeGrid(volume)


def test_volume_without_voxels_is_refused(scene):
    with pytest.raises(DeepDoseError, match="hollow: this volume has no voxels"):
        volumeGrid(scene.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "hollow"))


def test_model_grid_of_an_openkbp_volume_is_its_own_whatever_its_axes(scene):
    spacing = (2.5, 4.1, 4.1)
    own = Grid((128, 128, 128), lps_grid(spacing, (-100, -90, 30)))
    target = [segmentShape(scene.segmentation({"t": ball(own.shape, (60, 60, 60), 5)}, own.ijk_to_ras), "t")]
    assert model_grid(volumeOf(scene.volume(np.zeros(own.shape, np.int16), own.ijk_to_ras)), target, TRAINED).same_as(
        own
    )
    flipped = own.ijk_to_ras @ np.array([[0, 0, -1, 127], [0, -1, 0, 127], [1, 0, 0, 0], [0, 0, 0, 1.0]])
    assert model_grid(volumeOf(scene.volume(np.zeros(own.shape, np.int16), flipped)), target, TRAINED).same_as(own)


def test_sampling_an_array_with_its_own_grid_is_the_identity():
    grid = random_grid(3, (9, 8, 7))
    array = np.random.default_rng(2).normal(size=grid.shape).astype(np.float32)
    assert np.allclose(sample(array, grid, grid), array, atol=1e-6)
