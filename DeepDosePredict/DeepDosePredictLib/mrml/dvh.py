"""DVHs of segments under dose volumes by the built-in code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import slicer

from ..dvh.metrics import Metric
from ..dvh.oversampled import OVERSAMPLING, OversampledDose, StructureDose
from ..errors import DeepDoseError
from .background import Progress, silently
from .dvh_result import (
    DOSE_REFERENCE,
    PREFIX,
    SEGMENTATION_REFERENCE,
    DvhResult,
    DvhSettings,
    SegmentDvh,
    describeTable,
    fillTable,
    methodOf,
    whyEmpty,
)
from .geometry import volumeGrid
from .segments import segmentShape
from .translation import tr as _

OWN_CODE = "DeepDosePredict's own DVH (exact quantiles)"


def computeDvhs(
    segmentationNode,
    segmentIds: Iterable[str],
    doses: Mapping[str, slicer.vtkMRMLScalarVolumeNode],
    metrics: Iterable[Metric] = (),
    settings: DvhSettings | None = None,
    progress: Progress = silently,
) -> DvhResult:
    """The DVH of every segment under every dose by the built-in code, each in a table node of its own.

    What is wrong with one segment is reported in the result and does not stop the others.

    Args:
        segmentIds: which segments, in the order of the result.
        doses: label -> dose volume in Gy, such as {"Reference": ..., "Predicted": ...}.
        metrics: D- and V-metrics to compute for all segments.
        progress: called before each segment.

    DeepDoseError if a dose cannot be used at all; no node is left then.
    """
    settings = settings or DvhSettings()
    if settings.start <= 0 or settings.step <= 0:
        raise DeepDoseError("DVH: the first dose and the step of the curves must be above 0 Gy")
    if not doses:
        raise DeepDoseError("DVH: no dose volume is given; choose one")
    doseGrids = {label: OversampledDoseNode(node) for label, node in doses.items()}
    result = DvhResult(segmentationNode, dict(doses), methodOf(OWN_CODE, settings))
    segmentIds, metrics = list(dict.fromkeys(segmentIds)), list(dict.fromkeys(metrics))
    for label, dose in doseGrids.items():
        if dose.n_negative:
            result.notes.append(
                f"{doses[label].GetName()}: {dose.n_negative} voxels have a negative dose; they count as 0 in the DVHs,"
                " and SlicerRT refuses structures that contain them"
            )
    try:
        for n, segmentId in enumerate(segmentIds):
            words = _("DVHs of structure {n} of {all}").format(n=n + 1, all=len(segmentIds))
            progress(n / len(segmentIds), words)
            _addSegment(result, segmentId, doseGrids, metrics, settings)
    except BaseException:
        result.removeNodes()
        raise
    return result


class OversampledDoseNode(OversampledDose):
    """A dose volume node, to be read on the twice-oversampled grid; DeepDoseError if it cannot be used as a dose."""

    def __init__(self, node):
        self.grid = volumeGrid(node)
        dose = slicer.util.arrayFromVolume(node)
        if dose.ndim != 3:
            raise DeepDoseError(f"{node.GetName()}: a dose has one number for each voxel; choose a scalar volume")
        try:
            super().__init__(dose, self.grid.voxel_volume)
        except ValueError as error:
            raise DeepDoseError(f"{node.GetName()}: {error}; load or export the dose again") from error
        self.fine = self.grid.refined((OVERSAMPLING,) * 3)


def _addSegment(
    result: DvhResult,
    segmentId: str,
    doses: Mapping[str, OversampledDoseNode],
    metrics: Sequence[Metric],
    settings: DvhSettings,
) -> None:
    try:
        masks = _masks(result.segmentationNode, segmentId, doses)
    except DeepDoseError as error:
        result.failures.update(dict.fromkeys(((label, segmentId) for label in doses), str(error)))
        return
    name, cut = result.segmentationNode.GetSegmentation().GetSegment(segmentId).GetName(), []
    for label, (box, mask) in masks.items():
        samples = doses[label].samples(box, mask)
        if samples is None:
            result.failures[label, segmentId] = (
                f"{name}: no DVH, because the segment has no voxels within {result.doses[label].GetName()};"
                " check that they belong together"
            )
            continue
        if _reachesEdge(box, mask, doses[label].shape):
            cut.append(result.doses[label].GetName())
        points = samples.curve(doses[label].highest, settings.start, settings.step)
        _addDvh(result, (label, segmentId), samples, points, metrics)
    if cut:
        result.notes.append(f"{name}: reaches the edge of {' and '.join(cut)}; what lies beyond is not in its DVH")


def _masks(segmentationNode, segmentId: str, doses: Mapping[str, OversampledDoseNode]) -> dict[str, tuple]:
    """Box and mask of a segment on the oversampled grid of each dose; doses on the same grid share them."""
    shape, masks = segmentShape(segmentationNode, segmentId), {}
    if not len(shape.corners()):
        raise DeepDoseError(whyEmpty(segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()))
    for label, dose in doses.items():
        same = (masks[other] for other in masks if doses[other].fine.same_as(dose.fine))
        masks[label] = next(same, None) or shape.inside(dose.fine)
    return masks


def _reachesEdge(box: tuple, mask, shape: Sequence[int]) -> bool:
    for axis, (part, n) in enumerate(zip(box, shape, strict=True)):
        if (part.start == 0 and mask.take(0, axis).any()) or (part.stop == n and mask.take(-1, axis).any()):
            return True
    return False


def _addDvh(
    result: DvhResult, key: tuple[str, str], samples: StructureDose, points: tuple, metrics: Sequence[Metric]
) -> None:
    """key: (dose label, segment ID); points: doses and percents of the curve."""
    label, segmentId = key
    name = result.segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
    values = {metric: samples.metric(metric) for metric in metrics}
    tableNode = result.segmentationNode.GetScene().AddNewNodeByClass("vtkMRMLTableNode")
    curve = SegmentDvh(
        label, segmentId, name, tableNode, samples.volume_cc, samples.mean, samples.minimum, samples.maximum, values
    )
    result.curves[key] = curve
    fillTable(tableNode, *points)
    for attribute, value in (
        ("DVH", "1"),
        ("SegmentID", segmentId),
        ("DoseVolumeOversamplingFactor", str(OVERSAMPLING)),
        ("Volume (cc)", repr(samples.volume_cc)),
    ):
        tableNode.SetAttribute(PREFIX + attribute, value)
    tableNode.SetNodeReferenceID(DOSE_REFERENCE, result.doses[label].GetID())
    tableNode.SetNodeReferenceID(SEGMENTATION_REFERENCE, result.segmentationNode.GetID())
    describeTable(curve, result.method)
