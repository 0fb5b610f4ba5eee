"""Volume and segmentation nodes to a Case on the model grid."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..geometry.clinical_case import check_ct, check_reference_dose, clinical_case
from ..geometry.trained_grid import OPENKBP_GRID, TrainedGrid
from ..patient.assignment import Assignment, Roles
from ..patient.case import Case
from .geometry import volumeOf
from .segments import segmentShape


def caseMaker(
    ctNode,
    segmentationNode,
    roles: Roles,
    referenceDoseNode=None,
    assignment: Assignment | None = None,
    trained: TrainedGrid = OPENKBP_GRID,
) -> Callable[[], Case]:
    """Reads the nodes; what it returns makes the case, see `clinical_case`, and may run beside the scene's thread.

    Args:
        roles: {role: segment IDs}, at least one target among them.
        assignment: the account of all segments, which the case carries; None makes one of the roles.
        trained: see `clinical_case`.

    Raises:
        DeepDoseError: names the node or segment that cannot be used and what to do.
    """
    segmentation = segmentationNode.GetSegmentation()
    checkCt(ctNode)
    structures = {
        role: [
            (
                segmentation.GetSegment(one).GetName() if segmentation.GetSegment(one) else one,
                segmentShape(segmentationNode, one),
            )
            for one in segments
        ]
        for role, segments in roles.items()
    }
    reference = None if referenceDoseNode is None else volumeOf(referenceDoseNode)
    where = segmentationNode.GetName()
    return partial(clinical_case, volumeOf(ctNode), structures, where, reference, assignment, trained)


def checkCt(ctNode) -> None:
    """DeepDoseError if a volume node cannot be a CT."""
    check_ct(volumeOf(ctNode))


def checkReferenceDose(node) -> None:
    """DeepDoseError if a volume node cannot be a dose in Gy."""
    check_reference_dose(volumeOf(node))
