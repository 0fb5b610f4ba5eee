"""What the panel remembers, in the scene: inputs, settings, answers of the user and the results that are shown."""

import enum

import slicer
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import parameterNodeWrapper

from ..mrml import isodose


class Device(enum.Enum):
    """Where the network runs; stored by name."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"

    def label(self) -> str:
        return {"auto": _("Automatic"), "cpu": _("CPU"), "cuda": _("NVIDIA GPU (CUDA)"), "mps": _("Apple GPU (MPS)")}[
            self.value
        ]


class OutputGrid(enum.Enum):
    """Grid of the dose volume; stored by name."""

    model = "model"
    ct = "ct"
    reference = "reference"

    def label(self) -> str:
        return {"model": _("As predicted"), "ct": _("As the CT"), "reference": _("As the reference dose")}[self.value]


class DvhSource(enum.Enum):
    """Whose DVHs are shown in the end; stored by name."""

    slicerrt = "slicerrt"
    builtIn = "built-in"

    def label(self) -> str:
        return {"slicerrt": _("SlicerRT's, where it is installed"), "built-in": _("Built in")}[self.value]


@parameterNodeWrapper
class DeepDosePredictParameterNode:
    """
    Inputs:
        ct, segmentation, referenceDose: nodes.
        model: key of an installed model or path of a model file; "" for the default.
        roles: the user's answers about structures (patient.structure_rows.Edits as JSON), of rolesSegmentation.
    Settings:
        device, singlePass, outputGrid; goals: key of a template or ""; extraMetrics: "D2%, V20Gy";
        dvhSource; isodoseLevels: "95%, 20 Gy"; gantryAngles: "0, 40, 80" in degrees, or "" for those of the model.
    Results:
        dose: the predicted dose that is shown; it refers to the rest (mrml.results).
        showDose, showIsodose, showDifference: what the slice views show.
        followEdits: whether to predict again as soon as an input changed.
    """

    ct: slicer.vtkMRMLScalarVolumeNode
    segmentation: slicer.vtkMRMLSegmentationNode
    referenceDose: slicer.vtkMRMLScalarVolumeNode
    model: str
    roles: str
    rolesSegmentation: slicer.vtkMRMLSegmentationNode

    device: Device = Device.auto
    singlePass: bool = False
    outputGrid: OutputGrid = OutputGrid.model
    goals: str = "head-and-neck"
    extraMetrics: str
    gantryAngles: str
    dvhSource: DvhSource = DvhSource.slicerrt
    isodoseLevels: str = isodose.DEFAULT_LEVELS

    dose: slicer.vtkMRMLScalarVolumeNode
    showDose: bool = True
    showIsodose: bool = False
    showDifference: bool = False
    followEdits: bool = False
