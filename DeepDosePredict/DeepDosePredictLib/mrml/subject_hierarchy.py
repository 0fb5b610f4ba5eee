"""Doses in the subject hierarchy, marked the way SlicerRT recognises them."""

from __future__ import annotations

import slicer

DOSE_ATTRIBUTE = "DicomRtImport.DoseVolume"
UNIT_NAME, UNIT_VALUE = "DicomRtImport.DoseUnitName", "DicomRtImport.DoseUnitValue"


def fileAsDose(doseNode, besideNode) -> None:
    """Mark a volume as a dose in Gy and file it beside a node, under a study that states the unit.

    A study is made where there is none; one that states another unit is left alone and gets a sibling.
    """
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(doseNode.GetScene())
    beside = itemOf(hierarchy, besideNode)
    study = _study(hierarchy, beside)
    doseItem = itemOf(hierarchy, doseNode)
    hierarchy.SetItemParent(doseItem, study)
    doseNode.SetAttribute(DOSE_ATTRIBUTE, "1")
    if hasattr(slicer, "app"):
        hierarchy.RequestOwnerPluginSearch(doseItem)
    hierarchy.ItemModified(doseItem)


def isDose(volumeNode) -> bool:
    """Whether SlicerRT takes a volume node for a dose, with its unit."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(volumeNode.GetScene())
    item = hierarchy.GetItemByDataNode(volumeNode)
    study = item and hierarchy.GetItemAncestorAtLevel(item, _level("Study"))
    return bool(volumeNode.GetAttribute(DOSE_ATTRIBUTE) and study and hierarchy.GetItemAttribute(study, UNIT_NAME))


def itemOf(hierarchy, node) -> int:
    """The hierarchy item of a node; Slicer has made it already, slicer-core has not."""
    return hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


def _study(hierarchy, item: int) -> int:
    study = hierarchy.GetItemAncestorAtLevel(item, _level("Study"))
    unit = hierarchy.GetItemAttribute(study, UNIT_NAME) if study else ""
    if unit and unit.lower() != "gy":
        study = hierarchy.CreateStudyItem(hierarchy.GetItemParent(study), f"{hierarchy.GetItemName(study)} (Gy)")
        unit = ""
    elif not study:
        parent = hierarchy.GetItemParent(item)
        if parent == hierarchy.GetSceneItemID():
            parent = hierarchy.CreateSubjectItem(parent, "Patient")
        study = hierarchy.CreateStudyItem(parent, "Study")
        hierarchy.SetItemParent(item, study)
    if not unit:
        hierarchy.SetItemAttribute(study, UNIT_NAME, "Gy")
        hierarchy.SetItemAttribute(study, UNIT_VALUE, "1.0")
    return study


def _level(name: str) -> str:
    return getattr(slicer.vtkMRMLSubjectHierarchyConstants, f"GetDICOMLevel{name}")()
