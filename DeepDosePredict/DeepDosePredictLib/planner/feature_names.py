"""What planner and network are told of a voxel, by name. Nothing here needs PyTorch."""

from __future__ import annotations

from ..patient.rois import OAR_KINDS

FEATURES = (
    "far from the targets",
    "far from the highest target",
    "near the targets",
    "near the highest target",
    *OAR_KINDS,
    "low level",
    "middle level",
    "high level",
    "behind the cord",
    "behind the isocentre",
    "beside the isocentre",
    "beyond the targets' slices",
    "dose of open fields",
    "least depth",
    "mean depth",
    "dose mask",
    "slice spacing",
    "pixel spacing",
    "volume of the targets",
    "any middle level",
    "any low level",
    "CT",
)
"""What the planner is told of a voxel; all the same for a patient and the mirrored one."""
PLACES = ("left of the isocentre", "above the isocentre")
"""What else a network may be told: with these it sees on which side of the patient a voxel lies."""
