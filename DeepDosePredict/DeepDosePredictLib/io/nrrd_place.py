"""Where the voxels of an NRRD lie in the world, whatever the directions of its axes."""

from __future__ import annotations

import numpy as np

from ..errors import CaseError
from ..patient.grid import LPS_TO_RAS, Grid
from .nrrd_file import NrrdFile

SPACES = {"left-posterior-superior": True, "lps": True, "right-anterior-superior": False, "ras": False}
"""Whether the names of the spaces that are read mean LPS; else RAS."""


def place_of(file: NrrdFile) -> tuple[Grid, bool]:
    """The grid of a volume, and whether a fourth axis, the fastest, holds several volumes."""
    header = file.header
    space = str(header.get("space", "")).lower()
    if space not in SPACES or "space directions" not in header or "space origin" not in header:
        raise CaseError(f"{file.path}: no usable geometry (space {space!r}); save it again from Slicer")
    directions = np.asarray(header["space directions"], float)
    layered = len(directions) == 4
    if layered and np.isfinite(directions[0]).any():
        raise CaseError(f"{file.path}: its fourth axis is not the first one; save it again from Slicer")
    place = np.eye(4)
    place[:3, :3] = directions[-3:].T
    place[:3, 3] = np.asarray(header["space origin"], float)
    k, j, i = file.shape[:3]
    return Grid((k, j, i), LPS_TO_RAS @ place if SPACES[space] else place), layered
