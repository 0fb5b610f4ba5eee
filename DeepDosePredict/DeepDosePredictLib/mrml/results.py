"""The results in a scene: a dose node refers to all that was made with it, so that it is found and removed as one."""

from __future__ import annotations

from dataclasses import dataclass

from . import charts, isodose
from .dvh_result import OWN_PREFIX, removeNodes
from .subject_hierarchy import fileInFolder, folderOf, removeEmptyFolder

CT, SEGMENTATION, REFERENCE_DOSE = (OWN_PREFIX + name for name in ("CT", "Segmentation", "ReferenceDose"))
TABLE, CHART, DIFFERENCE, ISODOSE = (OWN_PREFIX + name for name in ("MetricsTable", "Chart", "Difference", "Isodose"))
PREDICTED_DOSE = OWN_PREFIX + "PredictedDose"
"""Role by which an explored dose refers to the prediction that it goes out from."""
PRESCRIPTION, ACCOUNT = OWN_PREFIX + "Prescription", OWN_PREFIX + "Assignment"
FINGERPRINT, SCORES, WARNINGS, OUT_OF_DATE = (
    OWN_PREFIX + name for name in ("Fingerprint", "Scores", "Warnings", "OutOfDate")
)


@dataclass(frozen=True)
class Results:
    """What was made with a predicted dose.

    Attributes:
        doseNode: volume node, which refers to the rest.
    """

    doseNode: object

    @property
    def ctNode(self):
        return self.doseNode.GetNodeReference(CT)

    @property
    def metricsTableNode(self):
        return self.doseNode.GetNodeReference(TABLE)

    @property
    def chartNode(self):
        return self.doseNode.GetNodeReference(CHART)

    @property
    def differenceNode(self):
        """None without a reference dose."""
        return self.doseNode.GetNodeReference(DIFFERENCE)

    @property
    def isodoseNode(self):
        """None until isodose lines are asked for."""
        return self.doseNode.GetNodeReference(ISODOSE)

    @property
    def nodes(self) -> list:
        found = [self.metricsTableNode, self.chartNode, self.differenceNode, self.isodoseNode]
        return [self.doseNode, *(node for node in found if node is not None)]

    @property
    def prescription(self) -> float:
        """Highest prescription in Gy."""
        return float(self.doseNode.GetAttribute(PRESCRIPTION).partition(" ")[0])

    def text(self, name: str) -> str:
        """One of FINGERPRINT, SCORES, WARNINGS and ACCOUNT; "" where it was not noted."""
        return self.doseNode.GetAttribute(name) or ""

    def note(self, name: str, text: str) -> None:
        self.doseNode.SetAttribute(name, text)

    def refer(self, role: str, node) -> None:
        """Take a node, or None, as a part, and file it in the folder of the run."""
        self.doseNode.SetNodeReferenceID(role, node.GetID() if node is not None else None)
        if node is not None:
            if role == DIFFERENCE:
                node.SetNodeReferenceID(CT, self.doseNode.GetNodeReferenceID(CT))
            fileInFolder(folderOf(self.doseNode), [node])

    def mark(self, outOfDate: bool) -> None:
        """Note on the nodes themselves whether they are out of date, so that saved scenes tell it too."""
        value = "1" if outOfDate else None
        explored = [node for one in exploredFrom(self.doseNode) for node in one.nodes]
        for node in [*self.nodes, *explored]:
            if node.GetAttribute(OUT_OF_DATE) != value:
                node.SetAttribute(OUT_OF_DATE, value)

    def remove(self) -> None:
        """Take all out of the scene, with what belongs to it."""
        scene, folder = self.doseNode.GetScene(), folderOf(self.doseNode)
        for one in exploredFrom(self.doseNode):  # what was kept stays, and tells that its prediction is gone
            one.mark(True)
        if self.chartNode is not None:
            charts.removeRun(self.chartNode)
        if self.isodoseNode is not None:
            isodose.removeIsodose(self.isodoseNode)
        removeNodes(self.nodes)
        removeEmptyFolder(scene, folder)


def exploredFrom(doseNode) -> list[Results]:
    """What was explored from a predicted dose and is kept in the scene."""
    return [
        Results(node) for node in _volumes(doseNode.GetScene()) if node.GetNodeReference(PREDICTED_DOSE) is doseNode
    ]


def resultsOfCt(ctNode) -> list[Results]:
    """The results that a user made for a CT, the earliest first."""
    nodes = _volumes(ctNode.GetScene())
    return [Results(n) for n in nodes if n.GetAttribute(FINGERPRINT) and n.GetNodeReference(CT) is ctNode]


def _volumes(scene) -> list:
    kind = "vtkMRMLScalarVolumeNode"
    return [scene.GetNthNodeByClass(n, kind) for n in range(scene.GetNumberOfNodesByClass(kind))]
