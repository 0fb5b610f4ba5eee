"""The prescription that a plan's dose suggests for a target."""

from __future__ import annotations

import numpy as np

from ..patient.stated_levels import likely_level
from .shapes import Shape
from .volume import Volume


def dose_level(shape: Shape, dose: Volume) -> float | None:
    """Prescription in Gy that the D95 of a shape suggests, or None: no voxel of the dose, or no usual prescription."""
    box, inside = shape.inside(dose.grid)
    values = dose.array[box][inside]
    return likely_level(float(np.percentile(values, 5))) if values.size else None
