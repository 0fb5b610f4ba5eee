"""CT, segmentation and dose files as Slicer saves them, read with slicer-core into a scene of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import slicer

from ..errors import CaseError, DeepDoseError
from ..geometry.trained_grid import OPENKBP_GRID, TrainedGrid
from ..io.nrrd_case import CT, DOSE, SEGMENTATION
from ..io.nrrd_file import read_nrrd
from ..patient.case import Case, folder_name
from .case_from_nodes import caseFromNodes
from .inputs import assignSegments

MAX_VALUES = 2**31
"""Voxels times layers that are read at most."""


def readCaseFolder(
    folder: str | Path,
    roles: Mapping | None = None,
    dosePath: Path | None = None,
    trained: TrainedGrid = OPENKBP_GRID,
) -> Case:
    """The Case of a folder with ct.nrrd, segmentation.seg.nrrd and, optionally, dose.nrrd (Gy); named by the folder.

    Args:
        roles: {role: segment name, ID or a list of these}; None matches by names.
        dosePath: reference dose instead of the folder's own.
        trained: see `clinical_case`.

    Raises:
        DeepDoseError: names the file and what is wrong.
    """
    folder = Path(folder)
    scene = slicer.vtkMRMLScene()
    logic = slicer.vtkSlicerSegmentationsModuleLogic()
    logic.SetMRMLScene(scene)  # registers the conversions between labelmaps and surfaces
    ct = _read(scene, folder / CT, "vtkMRMLScalarVolumeNode", slicer.vtkMRMLVolumeArchetypeStorageNode())
    segmentation = _read(
        scene, folder / SEGMENTATION, "vtkMRMLSegmentationNode", slicer.vtkMRMLSegmentationStorageNode()
    )
    dose = None
    if dosePath or (folder / DOSE).exists():
        dose = _read(
            scene, dosePath or folder / DOSE, "vtkMRMLScalarVolumeNode", slicer.vtkMRMLVolumeArchetypeStorageNode()
        )
    try:
        assignment = assignSegments(segmentation, roles, dose)
        case = caseFromNodes(ct, segmentation, assignment.roles, dose, assignment, trained)
    except DeepDoseError as error:
        raise CaseError(str(error) if str(folder) in str(error) else f"{folder}: {error}") from error
    return replace(case, name=folder_name(folder), notes=(*assignment.warnings(), *case.notes))


def _read(scene, path: Path, nodeClass: str, storage):
    """A node read from a file, with the path as its name, so that messages name the file."""
    # Slicer's segmentation reader aborts the process on a damaged file.
    read_nrrd(path, (3, 4), MAX_VALUES)
    node = scene.AddNewNodeByClass(nodeClass, str(path))
    scene.AddNode(storage)
    storage.SetFileName(str(path))
    if nodeClass == "vtkMRMLScalarVolumeNode":
        storage.SetSingleFile(True)
    if not storage.ReadData(node):
        raise CaseError(f"{path}: cannot be read; it is damaged or of another kind. Save it again from Slicer")
    node.SetName(str(path))
    return node
