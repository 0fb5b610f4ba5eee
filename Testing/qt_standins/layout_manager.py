"""Slicer's views: three slice views with real nodes and logics, a plot view, and their layout."""

from __future__ import annotations

import types

import slicer
import vtk

SLICE_VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}
FOUR_UP, FOUR_UP_PLOT = 3, 36
"""Numbers of vtkMRMLLayoutNode: slices with 3D, and with a plot in its place."""


class LayoutManager:
    """The part of qSlicerLayoutManager that the module uses; any other name is an AttributeError."""

    def __init__(self, scene, application_logic):
        self._scene = scene
        self._logics = vtk.vtkCollection()
        self._views = {}
        self.layout = FOUR_UP
        for name, orientation in SLICE_VIEWS.items():
            logic = slicer.vtkMRMLSliceLogic()
            logic.SetMRMLApplicationLogic(application_logic)
            logic.SetMRMLScene(scene)
            logic.AddSliceNode(name).SetOrientation(orientation)
            self._logics.AddItem(logic)
            self._views[name] = logic

    def mrmlSliceLogics(self):
        return self._logics

    def sliceViewNames(self) -> tuple[str, ...]:
        return tuple(self._views)

    def sliceWidget(self, name: str):
        logic = self._views[name]
        return types.SimpleNamespace(
            sliceLogic=lambda: logic,
            mrmlSliceNode=logic.GetSliceNode,
            mrmlSliceCompositeNode=logic.GetSliceCompositeNode,
        )

    def resetSliceViews(self) -> None:
        for logic in self._views.values():
            logic.FitSliceToAll()

    # --- what tests look at

    def black_views(self) -> list[str]:
        """Names of the slice views in which nothing of the background volume can be seen."""
        return [name for name in self._views if not self._shows_background(name)]

    def layers(self) -> set[tuple]:
        """(background node, foreground node or None) of the slice views; one pair where all show the same."""
        pairs = set()
        for logic in self._views.values():
            composite = logic.GetSliceCompositeNode()
            foreground = composite.GetForegroundVolumeID() if composite.GetForegroundOpacity() else None
            ids = composite.GetBackgroundVolumeID(), foreground
            pairs.add(tuple(self._scene.GetNodeByID(i) if i else None for i in ids))
        return pairs

    def centre(self) -> tuple[float, float, float]:
        """RAS (mm) where the planes of the three views meet."""
        planes = [self._views[name].GetSliceNode().GetSliceToRAS() for name in ("Yellow", "Green", "Red")]
        return tuple(plane.GetElement(axis, 3) for axis, plane in enumerate(planes))

    def _shows_background(self, name: str) -> bool:
        """Whether the middle of the view, or any of its corners, lies within the background volume."""
        logic = self._views[name]
        volume = self._scene.GetNodeByID(logic.GetSliceCompositeNode().GetBackgroundVolumeID() or "")
        if volume is None:
            return False
        bounds = [0.0] * 6
        volume.GetRASBounds(bounds)
        node = logic.GetSliceNode()
        to_ras, (width, height, _) = node.GetXYToRAS(), node.GetDimensions()
        points = [(width * x, height * y, 0, 1) for x in (0, 0.25, 0.5, 0.75, 1) for y in (0, 0.25, 0.5, 0.75, 1)]
        seen = [to_ras.MultiplyPoint(point)[:3] for point in points]
        return any(
            all(low <= x <= high for x, low, high in zip(p, bounds[::2], bounds[1::2], strict=True)) for p in seen
        )

    def close(self) -> None:
        for logic in self._views.values():
            logic.SetMRMLScene(None)
