"""Notices that what a prediction was made from has changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import qt
import slicer
import vtk
from slicer.util import VTKObservationMixin

DELAY_MS = 300


class InputWatch(VTKObservationMixin):
    """Observes nodes and calls back once, a moment after the last of a burst of changes (brush strokes, imports)."""

    def __init__(self, on_changed: Callable[[], None]):
        super().__init__()
        self._nodes: list = []
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DELAY_MS)
        self._timer.connect("timeout()", on_changed)

    def watch(self, nodes: Sequence) -> None:
        """Observe these nodes (None left out) in place of those before."""
        nodes = [node for node in dict.fromkeys(nodes) if node is not None]
        if nodes == self._nodes:
            return
        self.removeObservers()
        self._nodes = nodes
        for node in nodes:
            for event in _events(node):
                self.addObserver(node, event, self._on_event)

    def soon(self) -> None:
        """Call back a moment after the last call of this."""
        self._timer.start()

    def stop(self) -> None:
        if self._timer:  # not so while the application quits
            self._timer.stop()
        self.watch([])

    def _on_event(self, caller, event) -> None:
        self.soon()


def _events(node) -> list[int]:
    """Events of a volume or segmentation node that may mean new content.

    Segmentation nodes pass on the events of their vtkSegmentation.
    """
    events = [vtk.vtkCommand.ModifiedEvent, slicer.vtkMRMLTransformableNode.TransformModifiedEvent]
    if node.IsA("vtkMRMLVolumeNode"):
        return [*events, slicer.vtkMRMLVolumeNode.ImageDataModifiedEvent]
    kinds = slicer.vtkSegmentation
    return [
        *events,
        kinds.SourceRepresentationModified,
        kinds.RepresentationModified,
        kinds.SegmentAdded,
        kinds.SegmentRemoved,
        kinds.SegmentModified,
    ]
