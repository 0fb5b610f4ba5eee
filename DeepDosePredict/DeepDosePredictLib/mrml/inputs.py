"""What a prediction is made from: nodes and the roles of their segments, checked without reading voxels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..errors import DeepDoseError
from ..geometry.dose_level import dose_level
from ..model.contract import read_contract
from ..model.installed import find_model
from ..patient.assignment import Assignment, Roles
from ..patient.rois import is_target, prescription
from ..patient.roles import REFERENCE_DOSE, assign, dose_answer
from ..patient.site_names import read_site_names
from ..patient.structure_names import Evidence, Match, match_structures, read_name
from .dicom_evidence import bodyPartDoubts, dicomEvidence
from .fingerprint import segmentFingerprint, volumeFingerprint
from .geometry import linearToWorld, volumeGrid, volumeOf
from .patients import dosesOf, dosesToChooseFrom, mixtureWarnings, volumesOf
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
        doses: nodes of which the user must say which is the reference, () where that is no question. The answer goes
            among the roles, as {REFERENCE_DOSE: name or ID}.
    """

    problem: str = ""
    warnings: tuple[str, ...] = ()
    account: tuple[str, ...] = ()
    doses: tuple = ()


def checkInputs(
    ctNode, segmentationNode, referenceDoseNode=None, roles: Mapping | None = None, model: str | None = None
) -> InputCheck:
    """Quick check before Predict, without reading voxels; `roles` as for `predictDose`."""
    try:
        inputs = checkedInputs(ctNode, segmentationNode, referenceDoseNode, roles, model)
        targets = [role for role in inputs.roles if is_target(role)]
        doubts = read_contract(find_model(model)).doubts(targets, inputs.roles)
        return InputCheck("", (*inputs.warnings, *doubts), tuple(inputs.assignment.lines()))
    except DoseQuestion as question:
        return InputCheck(str(question), doses=question.doses)
    except DeepDoseError as error:
        return InputCheck(str(error))


class DoseQuestion(DeepDoseError):
    """Several doses can be the reference; `doses` are their nodes."""

    def __init__(self, words: str, doses: Sequence):
        super().__init__(words)
        self.doses = tuple(doses)


def referenceOf(ctNode, referenceDoseNode, roles: Mapping | None):
    """The reference dose that the user means, or None for none.

    DeepDoseError if an answer among the roles names no dose or contradicts the node; DoseQuestion if a node was given
    that is one of several doses of the patient, and no answer confirms it.
    """
    answer = dose_answer(roles)
    doses = dosesToChooseFrom(ctNode, referenceDoseNode)
    if answer is None:
        if referenceDoseNode is not None and doses:
            names = ", ".join(node.GetName() for node in doses)
            raise DoseQuestion(
                f"{referenceDoseNode.GetName()} is one of several doses here ({names}); say which is the whole"
                " treatment's (of phases, their sum), for instance"
                f" roles={json.dumps({REFERENCE_DOSE: doses[-1].GetName()}, ensure_ascii=False)}",
                doses,
            )
        return referenceDoseNode
    known = {node.GetID(): node for node in (*dosesOf(ctNode.GetScene()), *volumesOf(ctNode.GetScene()))}
    meant = [node for node in known.values() if answer.text in (node.GetID(), node.GetName())]
    if len(meant) > 1 and referenceDoseNode in meant:
        meant = [referenceDoseNode]
    if len(meant) != 1:
        listed = ", ".join(node.GetName() for node in doses or dosesOf(ctNode.GetScene())) or "none"
        what = "there are several volumes" if meant else "there is no volume"
        raise DeepDoseError(f"{REFERENCE_DOSE}: {what} {answer.text!r}; the doses here are {listed}")
    if referenceDoseNode not in (None, meant[0]):
        raise DeepDoseError(
            f"{referenceDoseNode.GetName()} is chosen as reference dose, but {REFERENCE_DOSE} says {answer.text}; give"
            " one of both"
        )
    return meant[0]


def withSelectedDose(roles: Mapping, referenceDoseNode) -> dict:
    """Answers by which a dose that the user selected by hand is the reference, however many there are.

    Args:
        roles: the other answers.
        referenceDoseNode: or None. It must be the user's own choice, see `patients.dosesToChooseFrom`.
    """
    return {**roles, REFERENCE_DOSE: () if referenceDoseNode is None else (referenceDoseNode.GetID(),)}


def checkedInputs(
    ctNode, segmentationNode, referenceDoseNode=None, roles: Mapping | None = None, model: str | None = None
) -> Inputs:
    """The inputs of a prediction; DeepDoseError that says which of them cannot be used, and what to do."""
    if ctNode is None:
        raise DeepDoseError("Choose the CT.")
    if segmentationNode is None:
        raise DeepDoseError("Choose the segmentation with the contours.")
    find_model(model)
    referenceDoseNode = referenceOf(ctNode, referenceDoseNode, roles)
    for node in filter(None, (ctNode, referenceDoseNode)):
        volumeGrid(node)
    if referenceDoseNode is not None and referenceDoseNode == ctNode:
        raise DeepDoseError(f"{ctNode.GetName()} is chosen as CT and as reference dose; choose another for one")
    linearToWorld(segmentationNode)
    mixed = mixtureWarnings(ctNode, filter(None, (segmentationNode, referenceDoseNode)))
    if referenceDoseNode is None and (doses := dosesToChooseFrom(ctNode)):
        names = ", ".join(node.GetName() for node in doses)
        mixed.append(
            f"not compared with any of the doses here ({names}): choose the whole treatment's as reference dose"
        )
    assignment = assignSegments(segmentationNode, roles, referenceDoseNode)
    known = dicomEvidence(segmentationNode)
    levels = (level for level in map(prescription, assignment.roles) if level is not None)
    mixed += [*bodyPartDoubts(ctNode), *known.notes, *known.plans.without_target(levels)]
    return Inputs(ctNode, segmentationNode, referenceDoseNode, assignment, tuple(mixed))


def segmentNames(segmentationNode) -> dict[str, str]:
    """{segment ID: name}, in the order of the segmentation."""
    segmentation = segmentationNode.GetSegmentation()
    ids = [segmentation.GetNthSegmentID(n) for n in range(segmentation.GetNumberOfSegments())]
    return {segmentId: segmentation.GetSegment(segmentId).GetName() for segmentId in ids}


def matchRoles(segmentationNode, referenceDoseNode=None) -> list[Match]:
    """Which segment feeds which input of the model, by names and DICOM; see `patient.structure_names`.

    For a target that is asked about, the reference dose suggests the prescription that its name leaves open.
    """
    names, known = segmentNames(segmentationNode), dicomEvidence(segmentationNode)

    def level(segmentId: str) -> float | None:
        """To contradict a plan with; what the dose alone tells is asked."""
        return _levelOfDose(segmentationNode, segmentId, referenceDoseNode) if segmentId in known.planned else None

    evidence = Evidence(known.types, known.planned, level, known.plans.sites)
    return [
        _suggesting(match, names, segmentationNode, referenceDoseNode)
        if referenceDoseNode is not None and is_target(match.role) and len(match.candidates) == 1
        else match
        for match in match_structures(names, evidence)
    ]


def _suggesting(match: Match, names: Mapping[str, str], segmentationNode, referenceDoseNode) -> Match:
    """A question about a target with the prescription that the dose suggests."""
    (segment,) = match.candidates
    level = _levelOfDose(segmentationNode, segment, referenceDoseNode)
    if level is None:
        return match
    stated = read_name(names[segment], read_site_names()).levels
    role = f"PTV{level:g}" if not stated or level in stated else match.role
    return replace(match, role=role, note=f"{match.note}; the reference dose suggests {level:g} Gy")


def _levelOfDose(segmentationNode, segmentId: str, doseNode) -> float | None:
    """See `_doseLevel`; None, too, without a dose or where one cannot be read, which is told before Predict."""
    try:
        return None if doseNode is None else _doseLevel(segmentationNode, segmentId, doseNode)
    except DeepDoseError:
        return None


def _doseLevel(segmentationNode, segmentId: str, doseNode) -> float | None:
    """See `dose_level`; computed once for the same segment and dose."""
    key = segmentFingerprint(segmentationNode, segmentId), volumeFingerprint(doseNode)
    if key not in _doseLevels:
        _doseLevels[key] = dose_level(segmentShape(segmentationNode, segmentId), volumeOf(doseNode))
    return _doseLevels[key]


_doseLevels: dict[tuple[str, str], float | None] = {}


def assignSegments(segmentationNode, roles: Mapping | None, referenceDoseNode=None) -> Assignment:
    """Which segment is used as what, by names and the roles given; see `patient.roles.assign`.

    Plans, and the reference dose, tell the prescription of a PTV whose name states none.
    """

    def level(segmentId: str) -> float | None:
        return None if referenceDoseNode is None else _doseLevel(segmentationNode, segmentId, referenceDoseNode)

    known = dicomEvidence(segmentationNode)
    evidence = Evidence(known.types, known.planned, level, known.plans.sites)
    return assign(segmentNames(segmentationNode), roles, segmentationNode.GetName(), evidence)
