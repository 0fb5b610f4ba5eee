"""Objectives in a scene: as nodes of SlicerRT's external beam planning."""

from __future__ import annotations

from collections.abc import Sequence

import slicer

from ..errors import DeepDoseError
from ..explore.objectives import DoseObjective, pyradplan_terms
from ..patient.assignment import Roles
from ..patient.rois import is_target

NODE_CLASS = "vtkMRMLRTObjectiveNode"
TARGET_OVERLAP, ORGAN_OVERLAP = "0", "5"
"""What SlicerRT's optimiser does where structures overlap: the lower number has the voxel."""


def objectiveNodes(segmentationNode, objectives: Sequence[DoseObjective], roles: Roles) -> list:
    """A node for every objective of every segment; rings around targets are no segments and have none.

    The node's name is that of the objective function; penalty, priority of overlaps and parameters are attributes, as
    SlicerRT's table of objectives writes them. In that table choose the optimiser "pyRadPlan".

    Raises:
        DeepDoseError: SlicerRT's external beam planning is not installed, or is an older one without such nodes.
    """
    kind = getattr(slicer, NODE_CLASS, None)
    if kind is None or not hasattr(kind, "SetSegmentationAndSegmentID"):
        raise DeepDoseError(
            "objectives as nodes need SlicerRT with External Beam Planning of 2025 or later; install it in the"
            " Extensions Manager, or export them as CSV or JSON"
        )
    scene, nodes = segmentationNode.GetScene(), []
    for objective in objectives:
        name, parameters = pyradplan_terms(objective)
        attributes = {
            "overlapPriority": TARGET_OVERLAP if is_target(objective.structure) else ORGAN_OVERLAP,
            "penalty": f"{objective.weight:g}",
            **{key: value if isinstance(value, str) else f"{value:g}" for key, value in parameters.items()},
        }
        for segmentId in roles.get(objective.structure, ()):
            node = scene.AddNode(kind())
            node.SetName(name)
            node.SetSegmentationAndSegmentID(segmentationNode, segmentId)
            for key, value in attributes.items():
                node.SetAttribute(key, value)
            nodes.append(node)
    return nodes
