"""Doses in the subject hierarchy, marked the way SlicerRT recognises them, and the folder of a run."""

from __future__ import annotations

from collections.abc import Iterable

import slicer
import vtk

DOSE_ATTRIBUTE = "DicomRtImport.DoseVolume"
UNIT_NAME, UNIT_VALUE = "DicomRtImport.DoseUnitName", "DicomRtImport.DoseUnitValue"
SIBLING = "DeepDosePredict.SiblingStudy"
"""Marks a study that was made beside another because that states its doses in another unit."""


def fileAsDose(doseNode, besideNode) -> None:
    """Mark a volume as a dose in Gy and file it beside a node, under a study that states the unit.

    A study is made where there is none; one that states another unit is left alone and gets a sibling.
    """
    hierarchy = hierarchyOf(doseNode)
    study = _study(hierarchy, besideNode)
    doseItem = itemOf(hierarchy, doseNode)
    hierarchy.SetItemParent(doseItem, study)
    doseNode.SetAttribute(DOSE_ATTRIBUTE, "1")
    if hasattr(slicer, "app"):
        hierarchy.RequestOwnerPluginSearch(doseItem)
    hierarchy.ItemModified(doseItem)


def isDose(volumeNode) -> bool:
    """Whether SlicerRT takes a volume node for a dose, with its unit."""
    study = ancestorOf(volumeNode, "Study")
    unit = study and hierarchyOf(volumeNode).GetItemAttribute(study, UNIT_NAME)
    return bool(volumeNode.GetAttribute(DOSE_ATTRIBUTE) and unit)


def fileUnfiled(node, besideNode) -> None:
    """File a node that is under no patient beside another one."""
    if not ancestorOf(node, "Patient"):
        hierarchy = hierarchyOf(node)
        hierarchy.SetItemParent(itemOf(hierarchy, node), hierarchy.GetItemParent(itemOf(hierarchy, besideNode)))


def createFolder(doseNode, name: str) -> int:
    """A folder in the study of a dose, which moves into it: all of a run, to be hidden or deleted as one."""
    hierarchy = hierarchyOf(doseNode)
    item = itemOf(hierarchy, doseNode)
    folder = hierarchy.CreateFolderItem(hierarchy.GetItemParent(item), name)
    hierarchy.SetItemParent(item, folder)
    return folder


def folderOf(doseNode) -> int:
    """The folder of a dose's run, 0 where a user moved the dose out of it."""
    hierarchy = hierarchyOf(doseNode)
    parent = hierarchy.GetItemParent(itemOf(hierarchy, doseNode))
    folder = slicer.vtkMRMLSubjectHierarchyConstants.GetSubjectHierarchyLevelFolder()
    return parent if hierarchy.GetItemLevel(parent) == folder else 0


def fileInFolder(folder: int, nodes: Iterable) -> None:
    """Move nodes into a folder; 0 leaves them where they are."""
    for node in nodes:
        hierarchy = hierarchyOf(node)
        if folder:
            hierarchy.SetItemParent(itemOf(hierarchy, node), folder)


def removeEmptyFolder(scene, folder: int) -> None:
    """Remove a folder, 0 for none, that no node lies in any more; slicer-core keeps the items of removed nodes."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    children = vtk.vtkIdList()
    if folder:
        hierarchy.GetItemChildren(folder, children, True)
        nodes = [hierarchy.GetItemDataNode(children.GetId(n)) for n in range(children.GetNumberOfIds())]
        if not any(node is not None and node.GetScene() is not None for node in nodes):
            hierarchy.RemoveItem(folder, False, True)


def hierarchyOf(node):
    """The subject hierarchy of a node's scene."""
    return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())


def ancestorOf(node, level: str) -> int:
    """The "Patient" or "Study" item that a node is filed under, 0 for none."""
    hierarchy = hierarchyOf(node)
    item = hierarchy.GetItemByDataNode(node)
    return hierarchy.GetItemAncestorAtLevel(item, _level(level)) if item else 0


def itemOf(hierarchy, node) -> int:
    """The hierarchy item of a node; Slicer has made it already, slicer-core has not."""
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _study(hierarchy, node) -> int:
    """The study of a node, in Gy; made, with a patient named after the node, where there is none."""
    item, study = itemOf(hierarchy, node), ancestorOf(node, "Study")
    unit = hierarchy.GetItemAttribute(study, UNIT_NAME) if study else ""
    if unit and unit.lower() != "gy":
        study = _siblingInGy(hierarchy, study)
        unit = ""
    elif not study:
        parent = hierarchy.GetItemParent(item)
        if parent == hierarchy.GetSceneItemID():
            parent = hierarchy.CreateSubjectItem(parent, f"Patient of {node.GetName()}")
        study = hierarchy.CreateStudyItem(parent, "Study")
        hierarchy.SetItemParent(item, study)
    if not unit:
        hierarchy.SetItemAttribute(study, UNIT_NAME, "Gy")
        hierarchy.SetItemAttribute(study, UNIT_VALUE, "1.0")
    return study


def _siblingInGy(hierarchy, study: int) -> int:
    """The study beside one that states another unit; made where there is none yet."""
    patient, name = hierarchy.GetItemParent(study), f"{hierarchy.GetItemName(study)} (Gy)"
    siblings = vtk.vtkIdList()
    hierarchy.GetItemChildren(patient, siblings)
    for item in map(siblings.GetId, range(siblings.GetNumberOfIds())):
        if hierarchy.GetItemAttribute(item, SIBLING) and hierarchy.GetItemName(item) == name:
            return item
    sibling = hierarchy.CreateStudyItem(patient, name)
    hierarchy.SetItemAttribute(sibling, SIBLING, "1")
    return sibling


def _level(name: str) -> str:
    return getattr(slicer.vtkMRMLSubjectHierarchyConstants, f"GetDICOMLevel{name}")()
