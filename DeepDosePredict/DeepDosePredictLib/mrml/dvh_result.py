"""DVHs as SlicerRT keeps them: one table node for each structure under each dose, with its names of attributes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from ..dvh.metrics import Metric
from ..dvh.oversampled import METHOD, START_GY, STEP_GY

PREFIX = "DoseVolumeHistogram."
DOSE_REFERENCE, SEGMENTATION_REFERENCE = "doseVolumeRef", "segmentationRef"
SERIES_REFERENCE, CREATED_REFERENCE = PREFIX + "dvhPlotSeries", PREFIX + "createdDvhArrayRef"
OWN_PREFIX = "DeepDosePredict."
EXPLORED = "Explored"
"""Label of an explored dose, beside that of the prediction from which it goes out."""


@dataclass(frozen=True)
class DvhSettings:
    """Points of the curves: the first dose above 0 and the step, in Gy (SlicerRT's defaults)."""

    start: float = START_GY
    step: float = STEP_GY


@dataclass(frozen=True)
class SegmentDvh:
    """The DVH of one segment under one dose.

    Attributes:
        dose: label of the dose, as given to `computeDvhs`.
        segmentId, name: of the segment.
        tableNode: columns "Dose" (Gy) and "Volume" (percent that receives at least this dose).
        volumeCc: volume of the segment in the dose grid.
        mean, minimum, maximum: Gy.
        metrics: values of the metrics asked for, in their units.
    """

    dose: str
    segmentId: str
    name: str
    tableNode: slicer.vtkMRMLTableNode
    volumeCc: float
    mean: float
    minimum: float
    maximum: float
    metrics: Mapping[Metric, float]

    def value(self, metric: Metric) -> float:
        plain = {"mean": self.mean, "max": self.maximum}
        return plain[metric.kind] if metric.kind in plain else self.metrics[metric]


@dataclass
class DvhResult:
    """The DVHs of a run.

    Attributes:
        segmentationNode: the structures.
        doses: label -> dose volume node.
        method: how the numbers were made, in words.
        curves: (dose label, segment ID) -> DVH, for all that could be computed.
        failures: (dose label, segment ID) -> why there is none.
        notes: other words for the user.
        parameterNode: SlicerRT's, or None.
    """

    segmentationNode: slicer.vtkMRMLSegmentationNode
    doses: Mapping[str, slicer.vtkMRMLScalarVolumeNode]
    method: str
    curves: dict[tuple[str, str], SegmentDvh] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    parameterNode: object = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything the user should know, failures included; what holds for several doses is said once."""
        return tuple(dict.fromkeys([*self.failures.values(), *self.notes]))

    @property
    def tableNodes(self) -> list:
        return [curve.tableNode for curve in self.curves.values()]

    @property
    def nodes(self) -> list:
        """Every node that the run made, SlicerRT's parameter node with its metrics table and chart included."""
        node = self.parameterNode
        ofSlicerRt = [] if node is None else [node.GetMetricsTableNode(), node.GetChartNode(), node]
        return [*ofSlicerRt, *self.tableNodes]

    def removeNodes(self) -> None:
        """Take the run's nodes out of the scene, and what SlicerRT noted about them on its inputs."""
        removeNodes(self.nodes, [self.segmentationNode, *self.doses.values()])
        self.curves.clear()
        self.parameterNode = None

    def segmentIds(self) -> list[str]:
        """Segments with at least one curve, in the order in which they were asked for."""
        return list(dict.fromkeys(segmentId for _, segmentId in self.curves))


def removeNodes(nodes: Iterable, referencing: Iterable = ()) -> None:
    """Take nodes out of their scene with what belongs to them, and SlicerRT's references to them off other nodes."""
    nodes = [node for node in nodes if node is not None and node.GetScene() is not None]
    ids = {node.GetID() for node in nodes}
    for node in referencing:
        for n in reversed(range(node.GetNumberOfNodeReferences(CREATED_REFERENCE))):
            if node.GetNthNodeReferenceID(CREATED_REFERENCE, n) in ids:
                node.RemoveNthNodeReferenceID(CREATED_REFERENCE, n)
    for node in nodes:
        parts = [node]
        if node.IsA("vtkMRMLStorableNode"):
            parts.append(node.GetStorageNode())
        if node.IsA("vtkMRMLDisplayableNode"):
            parts += [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
        for part in parts:
            # Slicer takes display nodes out with their node: removing one twice is an error there.
            if part is not None and part.GetScene() is not None:
                part.GetScene().RemoveNode(part)


def fillTable(tableNode, doses: np.ndarray, percents: np.ndarray) -> None:
    """Columns "Dose" and "Volume", float64, as SlicerRT names them."""
    table = vtk.vtkTable()
    for name, values in (("Dose", doses), ("Volume", percents)):
        column = numpy_to_vtk(np.asarray(values, np.float64), deep=True, array_type=vtk.VTK_DOUBLE)
        column.SetName(name)
        table.AddColumn(column)
    tableNode.SetAndObserveTable(table)


def curveOf(tableNode) -> tuple[np.ndarray, np.ndarray]:
    """Doses in Gy and percents of volume of a DVH table node."""
    table = tableNode.GetTable()
    return tuple(vtk_to_numpy(table.GetColumnByName(name)).copy() for name in ("Dose", "Volume"))


def describeTable(curve: SegmentDvh, method: str) -> None:
    """Name and attributes that say what a table holds; SlicerRT's own attributes are left as they are."""
    node = curve.tableNode
    node.SetName(f"{curve.segmentId}_{curve.dose}_DvhTable")
    for key, value in {
        "Dose": curve.dose,
        "Structure": curve.name,
        "DoseUnit": "Gy",
        "VolumeUnit": "%",
        "Method": method,
        "VolumeCc": repr(curve.volumeCc),
        "MeanGy": repr(curve.mean),
        "MinimumGy": repr(curve.minimum),
        "MaximumGy": repr(curve.maximum),
    }.items():
        node.SetAttribute(OWN_PREFIX + key, value)


def whyEmpty(name: str) -> str:
    return f"{name}: no DVH, because the segment is empty; contour it or leave it out"


def methodOf(code: str, settings: DvhSettings) -> str:
    return f"{code}; on {METHOD}; curve in steps of {settings.step:g} Gy from {settings.start:g} Gy"
