"""What a prediction is made from: nodes and the roles of their segments, checked without reading voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import DeepDoseError
from ..geometry.dose_level import dose_level
from ..model.contract import read_contract
from ..model.installed import find_model
from ..patient.assignment import Assignment, Roles
from ..patient.rois import is_target
from ..patient.roles import assign
from ..patient.structure_names import Evidence, Match, match_structures
from .geometry import linearToWorld, volumeGrid, volumeOf
from .patients import mixtureWarnings, otherDoseWarnings
from .segments import segmentShape


@dataclass(frozen=True)
class Inputs:
    """Nodes and roles that belong together and can be read.

    Attributes:
        ctNode, segmentationNode: MRML nodes.
        referenceDoseNode: or None.
        assignment: which segment is used as what, at least one as a target.
        mixture: which nodes seem to belong to other patients, in words.
    """

    ctNode: object
    segmentationNode: object
    referenceDoseNode: object | None
    assignment: Assignment
    mixture: tuple[str, ...] = ()

    @property
    def roles(self) -> Roles:
        return self.assignment.roles

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know before predicting, in words."""
        return (*self.mixture, *self.assignment.warnings())

    @property
    def nodes(self) -> list:
        return [node for node in (self.ctNode, self.segmentationNode, self.referenceDoseNode) if node is not None]


@dataclass(frozen=True)
class InputCheck:
    """Whether Predict can run.

    Attributes:
        problem: in words why not, or empty.
        warnings: what to know before.
        account: which contour goes in as what, and what is left out and why.
    """

    problem: str = ""
    warnings: tuple[str, ...] = ()
    account: tuple[str, ...] = ()


def checkInputs(
    ctNode, segmentationNode, referenceDoseNode=None, roles: Mapping | None = None, model: str | None = None
) -> InputCheck:
    """Quick check before Predict, without reading voxels; `roles` as for `predictDose`."""
    try:
        inputs = checkedInputs(ctNode, segmentationNode, referenceDoseNode, roles, model)
        targets = [role for role in inputs.roles if is_target(role)]
        doubts = read_contract(find_model(model)).doubts(targets, inputs.roles)
        return InputCheck("", (*inputs.warnings, *doubts), tuple(inputs.assignment.lines()))
    except DeepDoseError as error:
        return InputCheck(str(error))


def checkedInputs(
    ctNode, segmentationNode, referenceDoseNode=None, roles: Mapping | None = None, model: str | None = None
) -> Inputs:
    """The inputs of a prediction; DeepDoseError that says which of them cannot be used, and what to do."""
    if ctNode is None:
        raise DeepDoseError("Choose the CT.")
    if segmentationNode is None:
        raise DeepDoseError("Choose the segmentation with the contours.")
    find_model(model)
    for node in filter(None, (ctNode, referenceDoseNode)):
        volumeGrid(node)
    if referenceDoseNode is not None and referenceDoseNode == ctNode:
        raise DeepDoseError(f"{ctNode.GetName()} is chosen as CT and as reference dose; choose another for one")
    linearToWorld(segmentationNode)
    mixed = mixtureWarnings(ctNode, filter(None, (segmentationNode, referenceDoseNode)))
    if referenceDoseNode is not None:
        mixed += otherDoseWarnings(ctNode, referenceDoseNode)
    return Inputs(
        ctNode,
        segmentationNode,
        referenceDoseNode,
        assignSegments(segmentationNode, roles, referenceDoseNode),
        tuple(mixed),
    )


def segmentNames(segmentationNode) -> dict[str, str]:
    """{segment ID: name}, in the order of the segmentation."""
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return {segmentId: segmentation.GetSegment(segmentId).GetName() for segmentId in ids}


def matchRoles(segmentationNode) -> list[Match]:
    """Which segment feeds which input of the model, by names; see `patient.structure_names`."""
    return match_structures(segmentNames(segmentationNode))


def assignSegments(segmentationNode, roles: Mapping | None, referenceDoseNode=None) -> Assignment:
    """Which segment is used as what, by names and the roles given; see `patient.roles.assign`.

    The reference dose tells the prescription of a PTV whose name states none.
    """

    def level(segmentId: str) -> float | None:
        if referenceDoseNode is None:
            return None
        return dose_level(segmentShape(segmentationNode, segmentId), volumeOf(referenceDoseNode))

    evidence = Evidence(dose_level=level)
    return assign(segmentNames(segmentationNode), roles, segmentationNode.GetName(), evidence)
