"""Which nodes belong to the same patient, by the subject hierarchy; what is loaded is paired by it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum

import slicer

from .subject_hierarchy import DOSE_ATTRIBUTE, SIBLING, ancestorOf

OWN_PREFIX = "DeepDosePredict."


class Kinship(IntEnum):
    """How two nodes belong together."""

    OTHER_PATIENT = 0
    UNKNOWN = 1
    """One of them is not filed under a patient."""
    BOTH_UNFILED = 2
    SAME_PATIENT = 3
    SAME_STUDY = 4


def kinship(one, other) -> Kinship:
    """How two nodes of a scene belong together."""
    patients = [ancestorOf(node, "Patient") for node in (one, other)]
    studies = [ancestorOf(node, "Study") for node in (one, other)]
    if not any(patients) and not any(studies):
        return Kinship.BOTH_UNFILED
    if studies[0] and studies[0] == studies[1]:
        return Kinship.SAME_STUDY
    if not all(patients):
        return Kinship.UNKNOWN
    return Kinship.SAME_PATIENT if patients[0] == patients[1] else Kinship.OTHER_PATIENT


def mixtureWarnings(ctNode, others: Iterable) -> list[str]:
    """In words, which nodes are filed under another patient or another study than the CT."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(ctNode.GetScene())
    warnings = []
    for node in others:
        level = {Kinship.OTHER_PATIENT: "Patient", Kinship.SAME_PATIENT: "Study"}.get(kinship(ctNode, node))
        if level is None:
            continue
        items = [ancestorOf(one, level) for one in (ctNode, node)]
        if any(item and hierarchy.GetItemAttribute(item, SIBLING) for item in items):
            continue
        names = [hierarchy.GetItemName(item) if item else "none" for item in items]
        what = "another patient" if level == "Patient" else "another study"
        warnings.append(
            f"{node.GetName()} is of {what} ({names[1]}) than {ctNode.GetName()} ({names[0]}):"
            " check that they belong together"
        )
    return warnings


def dosesToChooseFrom(ctNode, doseNode=None) -> list:
    """The doses of a CT's patient among which nobody but the user can choose the reference, as phases and their sum.

    They belong to the CT as closely as the given one, or, without one, as the closest do. [] for fewer than two.
    """
    doses = dosesOf(ctNode.GetScene())
    near = max((kinship(ctNode, node) for node in ([doseNode] if doseNode is not None else doses)), default=None)
    if near is None or near is Kinship.OTHER_PATIENT:
        return []
    same = [node for node in doses if node != doseNode and kinship(ctNode, node) >= near]
    same = same if doseNode is None else [doseNode, *same]
    return same if len(same) > 1 else []


def volumesOf(scene) -> list:
    """Scalar volumes that a user can choose, without this program's own results."""
    nodes = _nodes(scene, "vtkMRMLScalarVolumeNode")
    shown = [n for n in nodes if n.GetClassName() == "vtkMRMLScalarVolumeNode" and not n.GetHideFromEditors()]
    return [node for node in shown if not isOwn(node)]


def isOwn(node) -> bool:
    """Whether this program made a node."""
    return any(name.startswith(OWN_PREFIX) and name != f"{OWN_PREFIX}OutOfDate" for name in node.GetAttributeNames())


def defaultInputs(scene) -> tuple:
    """(CT, segmentation, reference dose) that belong together, the first found; None for what there is not.

    No dose where there are several to choose from.
    """
    cts = [node for node in volumesOf(scene) if node.GetAttribute(DOSE_ATTRIBUTE) is None]
    segmentations = _nodes(scene, "vtkMRMLSegmentationNode")
    if not cts:
        return None, (segmentations or [None])[0], None
    ct = max(cts, key=lambda ct: max((kinship(ct, other) for other in segmentations), default=Kinship.UNKNOWN))
    return ct, closest(ct, segmentations), _onlyDose(ct, dosesOf(scene))


def completed(chosen: Sequence, added: Iterable) -> tuple:
    """(CT, segmentation, reference dose) with what is None filled from nodes that came, where they belong together.

    A dose that came beside one that was there leaves none chosen: the user must say which is the reference.
    """
    ct, segmentation, dose = chosen
    added = [node for node in added if node.GetScene() is not None and not isOwn(node)]
    volumes = [node for node in added if node.GetClassName() == "vtkMRMLScalarVolumeNode"]
    if ct is None:
        cts = [node for node in volumes if node.GetAttribute(DOSE_ATTRIBUTE) is None]
        ct = (cts or [None])[0] if segmentation is None else closest(segmentation, cts)
    if ct is not None and segmentation is None:
        segmentation = closest(ct, [node for node in added if node.IsA("vtkMRMLSegmentationNode")])
    doses = [node for node in volumes if node.GetAttribute(DOSE_ATTRIBUTE) is not None]
    if ct is not None and dose is None:
        dose = _onlyDose(ct, doses)
    elif ct is not None and set(doses) & set(dosesToChooseFrom(ct, dose)) - {dose}:
        dose = None
    return ct, segmentation, dose


def fitting(ctNode, segmentationNode, doseNode) -> tuple:
    """(segmentation, reference dose) for a CT: those given, or its own patient's where one is another patient's."""
    given = [node for node in (segmentationNode, doseNode) if node is not None]
    if all(kinship(ctNode, node) is not Kinship.OTHER_PATIENT for node in given):
        return segmentationNode, doseNode
    scene = ctNode.GetScene()
    return closest(ctNode, _nodes(scene, "vtkMRMLSegmentationNode")), _onlyDose(ctNode, dosesOf(scene))


def _onlyDose(ctNode, doses: Sequence):
    """The dose that belongs to a CT best; None where there are several to choose from, or none."""
    dose = closest(ctNode, doses)
    return None if dose is None or dosesToChooseFrom(ctNode, dose) else dose


def dosesOf(scene) -> list:
    return [node for node in volumesOf(scene) if node.GetAttribute(DOSE_ATTRIBUTE) is not None]


def closest(ctNode, candidates: Sequence):
    """The node that belongs to a CT best, the first of equals; None where all are of other patients."""
    best = max(candidates, key=lambda node: kinship(ctNode, node), default=None)
    return None if best is None or kinship(ctNode, best) is Kinship.OTHER_PATIENT else best


def _nodes(scene, className: str) -> list:
    return [scene.GetNthNodeByClass(n, className) for n in range(scene.GetNumberOfNodesByClass(className))]
