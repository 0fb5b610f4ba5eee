"""What a predicted dose rests on, as text that is saved with every result."""

from __future__ import annotations

import datetime

from .. import RESEARCH_USE, __version__
from ..dvh.metrics import OAR_METRICS, TARGET_METRICS, Metric, roi_doses
from ..patient.case import Case
from ..patient.rois import is_target
from ..patient.roles import roles_to_json
from .inputs import Inputs, segmentNames


def intervalLines(case: Case, prediction) -> list[str]:
    """The predicted metrics with their intervals, in words."""
    lines = []
    doses = roi_doses(prediction.dose, case.rois) if prediction.bands else {}
    for roi, band in prediction.bands.items():
        for metric in map(Metric.parse, (TARGET_METRICS if is_target(roi) else OAR_METRICS).values()):
            value = metric.evaluate(doses[roi], case.voxel_volume_mm3)
            low, high = band.interval(metric, value)
            lines.append(f"{roi} {metric} {value:.1f} ({low:.1f} to {high:.1f}) {metric.unit}")
    return lines


def provenanceNotes(inputs: Inputs, case: Case, predictor, prediction) -> dict[str, str]:
    """{key: value} about model, inputs, settings and warnings of a prediction."""
    names = segmentNames(inputs.segmentationNode)
    return {
        "Model": predictor.model.label,
        "ModelSHA256": predictor.model.sha256,
        "Software": f"DeepDosePredict {__version__}",
        "CT": inputs.ctNode.GetName(),
        "Segmentation": inputs.segmentationNode.GetName(),
        "Assignment": "\n".join(case.assignment.lines()),
        "Roles": roles_to_json({role: [names[s] for s in segments] for role, segments in inputs.roles.items()}),
        "Prescription": f"{case.prescription:g} Gy",
        "SinglePass": "yes" if predictor.single_pass else "no",
        "GantryAngles": ", ".join(f"{angle:g}" for angle in predictor.channels.gantry_angles),
        "Device": prediction.device,
        "Created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "Use": RESEARCH_USE,
        "Scope": prediction.scope,
        "Intervals": "\n".join((prediction.intervals, *intervalLines(case, prediction))),
        "Warnings": "\n".join((*inputs.warnings, *prediction.warnings)),
    }
