"""All or nothing: what a failed step added to a scene or filed elsewhere in the subject hierarchy is taken back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import slicer
import vtk


@contextmanager
def sceneTransaction(scene, touched: Sequence = ()) -> Iterator[None]:
    """Undo everything on an exception: nodes and hierarchy items added inside the block are removed.

    Args:
        touched: existing nodes that the block may mark or file elsewhere; their attributes, references and
            parents in the hierarchy are restored.
    """
    nodes = _nodeIds(scene)
    hadHierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode") is not None
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = _itemIds(hierarchy)
    states = [(node, _attributes(node), _references(node), _parent(hierarchy, node)) for node in touched]
    nodes.add(hierarchy.GetID())
    try:
        yield
    except BaseException:
        for node, attributes, references, parent in states:
            if node.GetScene() is None:  # the scene was closed meanwhile
                continue
            _restore(hierarchy, node, attributes, references, parent)
        for nodeId in _nodeIds(scene) - nodes:
            if node := scene.GetNodeByID(nodeId):
                scene.RemoveNode(node)
        for item in sorted(_itemIds(hierarchy) - items, reverse=True):
            hierarchy.RemoveItem(item, False, False)
        if not hadHierarchy and hierarchy.GetScene() is not None:
            scene.RemoveNode(hierarchy)
        raise


def _nodeIds(scene) -> set[str]:
    return {scene.GetNthNode(n).GetID() for n in range(scene.GetNumberOfNodes())}


def _itemIds(hierarchy) -> set[int]:
    ids = vtk.vtkIdList()
    hierarchy.GetItemChildren(hierarchy.GetSceneItemID(), ids, True)
    return {ids.GetId(n) for n in range(ids.GetNumberOfIds())}


def _attributes(node) -> dict[str, str]:
    return {name: node.GetAttribute(name) for name in node.GetAttributeNames()}


def _references(node) -> dict[str, int]:
    """{role: number of references}."""
    roles = [node.GetNthNodeReferenceRole(n) for n in range(node.GetNumberOfNodeReferenceRoles())]
    return {role: node.GetNumberOfNodeReferences(role) for role in roles if role}


def _parent(hierarchy, node) -> int:
    item = hierarchy.GetItemByDataNode(node)
    return hierarchy.GetItemParent(item) if item else 0


def _restore(hierarchy, node, attributes: dict[str, str], references: dict[str, int], parent: int) -> None:
    for name in set(node.GetAttributeNames()) - set(attributes):
        node.RemoveAttribute(name)
    for name, value in attributes.items():
        node.SetAttribute(name, value)
    for role, count in _references(node).items():
        for n in range(count - 1, references.get(role, 0) - 1, -1):
            node.RemoveNthNodeReferenceID(role, n)
    item = hierarchy.GetItemByDataNode(node)
    if item and parent and hierarchy.GetItemParent(item) != parent:
        hierarchy.SetItemParent(item, parent)
