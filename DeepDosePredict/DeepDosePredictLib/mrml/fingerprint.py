"""A short text that changes when anything changes that a prediction depends on."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy

from ..errors import DeepDoseError
from ..patient.assignment import Roles
from ..patient.roles import REFERENCE_DOSE, roles_to_json
from .geometry import linearToWorld, volumeGrid
from .segments import LabelmapShape, SurfaceShape, segmentShape

_known: dict[tuple, str] = {}
_MOST_KNOWN = 2000


def inputFingerprint(
    ctNode, segmentationNode, referenceDoseNode=None, roles: Roles | None = None, model: str | None = None
) -> str:
    """Content of CT, segments, reference dose, their places in the world, roles and model.

    Results that were made under another fingerprint are out of date.

    It stays the same after saving and loading a scene, whatever layers the segments are then stored in. What was seen
    before and has not been modified since is not read again.
    """
    nodes = [volumeFingerprint(ctNode), _segmentation(segmentationNode), volumeFingerprint(referenceDoseNode)]
    said = {role: segments for role, segments in (roles or {}).items() if role != REFERENCE_DOSE}  # is among the nodes
    parts = [*nodes, roles_to_json(said), model or ""]
    return f"{zlib.crc32(repr(parts).encode()):08x}"


def volumeFingerprint(node) -> str:
    """Place and content of a volume node's voxels; "" for None and for a volume without voxels."""
    if node is None or node.GetImageData() is None or node.GetImageData().GetPointData().GetScalars() is None:
        return ""
    try:
        place = _numbers(volumeGrid(node).ijk_to_ras)
    except DeepDoseError as error:
        place = str(error)
    content = _once(node.GetImageData(), 0, lambda: _crc(slicer.util.arrayFromVolume(node)))
    return f"{place} {node.GetImageData().GetDimensions()} {content}"


def _segmentation(node) -> list[str]:
    if node is None:
        return []
    segmentation = node.GetSegmentation()
    try:
        parts = [_numbers(linearToWorld(node))]
    except DeepDoseError as error:
        return [str(error)]
    for n in range(segmentation.GetNumberOfSegments()):
        segmentId, segment = segmentation.GetNthSegmentID(n), segmentation.GetNthSegment(n)
        parts.append(f"{segmentId} {segment.GetName()} {_contentOf(node, segmentId)}")
    return parts


def segmentFingerprint(segmentationNode, segmentId: str) -> str:
    """Place in the world and content of a segment; DeepDoseError under a non-linear transform."""
    return f"{_numbers(linearToWorld(segmentationNode))} {_contentOf(segmentationNode, segmentId)}"


def _contentOf(segmentationNode, segmentId: str) -> str:
    segmentation = segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(segmentId)
    source = segment.GetRepresentation(segmentation.GetSourceRepresentationName())
    return _once(source, segment.GetLabelValue(), lambda: _segment(segmentationNode, segmentId)) if source else ""


def _segment(segmentationNode, segmentId: str) -> str:
    """Voxels with their place in the segmentation, or points."""
    try:
        shape = segmentShape(segmentationNode, segmentId)
    except DeepDoseError as error:
        return str(error)
    if isinstance(shape, LabelmapShape):
        place = np.linalg.inv(linearToWorld(segmentationNode)) @ shape.grid.ijk_to_ras
        return f"{_numbers(place)} {shape.mask.shape} {_crc(shape.mask)}" if shape.mask.size else ""
    assert isinstance(shape, SurfaceShape)
    points = shape.surface.GetPoints()
    return f"{shape.surface.GetNumberOfCells()} {_crc(vtk_to_numpy(points.GetData())) if points else 0}"


def _once(data, label: int, content: Callable[[], object]) -> str:
    """The content of a VTK data object, read again only if the object was modified."""
    scalars = data.GetPointData().GetScalars()
    key = (data.GetAddressAsString(""), data.GetMTime(), scalars.GetMTime() if scalars else 0, label)
    if key not in _known:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[key] = str(content())
    return _known[key]


def _numbers(matrix: np.ndarray) -> str:
    return " ".join(f"{x:.3f}" for x in np.ravel(matrix) + 0.0)


def _crc(array: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).view(np.uint8))
