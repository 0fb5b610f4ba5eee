"""Whether Predict can be pressed, and what the user should know before."""

from __future__ import annotations

from slicer.i18n import tr as _

from ..errors import DeepDoseError
from ..mrml.comparison import parseMetrics
from ..mrml.inputs import InputCheck, checkInputs, withSelectedDose
from ..mrml.isodose import isodoseLevels
from ..planner.gantry_angles import parse_gantry_angles
from .parameter_node import OutputGrid


def readiness(parameters, structures, model: str) -> InputCheck:
    """Why a prediction is not possible, or what to know before it, in words.

    Args:
        parameters: the parameter node, or None while the scene closes.
        structures: the StructureTable.
        model: key of the chosen model.
    """
    if parameters is None or parameters.ct is None:
        return InputCheck(_("Select a CT volume."))
    if parameters.segmentation is None:
        return InputCheck(_("Select the segmentation with the contours."))
    if structures.unanswered:
        question = _("Please confirm in the table of structures: {names}.")
        return InputCheck(question.format(names=", ".join(structures.unanswered)))
    if parameters.outputGrid is OutputGrid.reference and parameters.referenceDose is None:
        return InputCheck(_("Select a reference dose, or another dose grid under Advanced."))
    try:
        parseMetrics(parameters.extraMetrics)
        parse_gantry_angles(parameters.gantryAngles)
        isodoseLevels(1.0, parameters.isodoseLevels)
    except DeepDoseError as error:
        return InputCheck(str(error))
    answers = withSelectedDose(structures.answers, parameters.referenceDose)
    return checkInputs(parameters.ct, parameters.segmentation, parameters.referenceDose, answers, model or None)
