"""Segmentations as Slicer saves them (.seg.nrrd), read without Slicer, whose reader ends the process at a damaged one.

A file holds one labelmap or, in four dimensions, several layers of them; each segment says its layer and its label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import CaseError, printable
from ..geometry.shapes import LabelmapShape
from ..patient.grid import Grid
from .nrrd_file import NrrdFile, open_nrrd
from .nrrd_place import place_of

MAX_VALUES = 2**31
"""Voxels times layers that are read at most."""
_ENTRY = re.compile(r"Segment(\d{1,6})_(\w+)")
_NEEDED = ("ID", "Name", "LabelValue", "Layer")
_Piece = tuple[int, int, int, tuple[int, int], np.ndarray]


@dataclass(frozen=True)
class Segment:
    """A segment's entries: its voxels have the value `label` in a layer, and lie within `extent` (K, J, I), if given.

    Attributes:
        extent: (first, last) voxel along K, J and I, which Slicer cuts the segment to.
    """

    id: str
    name: str
    layer: int
    label: int
    extent: tuple[tuple[int, int], ...] | None


@dataclass(frozen=True)
class Segmentation:
    """A segmentation file; its voxels are read once, when the first shape is asked for.

    Attributes:
        segments: {ID: entries}, in the order of the file.
        grid: of its voxels.
    """

    file: NrrdFile
    segments: dict[str, Segment]
    grid: Grid
    layer_axis: bool = field(default=False)

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def names(self) -> dict[str, str]:
        """{segment ID: name}."""
        return {one.id: one.name for one in self.segments.values()}

    def shape(self, segment: str) -> LabelmapShape:
        """CaseError if the file's data is damaged, or voxels and entries contradict each other."""
        return self._shapes[segment]

    @cached_property
    def _shapes(self) -> dict[str, LabelmapShape]:
        pieces: dict[str, list[_Piece]] = {one: [] for one in self.segments}
        for k, layers in self._slices():
            for layer, labels in enumerate(layers):
                for segment, piece in self._found(layer, labels):
                    pieces[segment].append((k, *piece))
        return {one: self._joined(self.segments[one], found) for one, found in pieces.items()}

    def _slices(self) -> Iterator[tuple[int, np.ndarray]]:
        """Index and (layers, J, I) labels of every slice."""
        k = 0
        for slab in self.file.slabs():
            for labels in slab:
                yield k, np.moveaxis(labels, -1, 0) if self.layer_axis else labels[None]
                k += 1

    def _found(self, layer: int, labels: np.ndarray) -> Iterator[tuple[str, tuple]]:
        """Segments with voxels in (J, I) labels, and (first row, first column, shape, packed mask) of these."""
        rows = np.flatnonzero(labels.any(1))
        if not rows.size:
            return
        columns = np.flatnonzero(labels[rows[0] : rows[-1] + 1].any(0))
        part = np.ascontiguousarray(labels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
        left = np.count_nonzero(part)
        for segment in self.segments.values():
            if segment.layer == layer and (n := np.count_nonzero(mask := part == segment.label)):
                left -= n
                yield segment.id, (int(rows[0]), int(columns[0]), mask.shape, np.packbits(mask))
        if left:
            known = [one.label for one in self.segments.values() if one.layer == layer]
            other = int(part[(part != 0) & ~np.isin(part, known)][0])
            raise CaseError(f"{self.path}: voxels have the label {other}, which no segment has; save it again")

    def _joined(self, segment: Segment, pieces: list[_Piece]) -> LabelmapShape:
        if not pieces:
            return LabelmapShape.empty()
        starts = np.array([(k, j, i) for k, j, i, _, _ in pieces])
        ends = np.array([(k + 1, j + shape[0], i + shape[1]) for k, j, i, shape, _ in pieces])
        low, high = starts.min(0), ends.max(0)
        mask = np.zeros(high - low, bool)
        for k, j, i, (rows, columns), bits in pieces:
            part = np.unpackbits(bits, count=rows * columns).reshape(rows, columns).astype(bool)
            mask[k - low[0], j - low[1] : j - low[1] + rows, i - low[2] : i - low[2] + columns] |= part
        shape = LabelmapShape.cropped(mask, self.grid.crop(tuple(map(slice, low.tolist(), high.tolist()))))
        first = np.rint(self.grid.ras_to_ijk @ shape.grid.ijk_to_ras[:, 3])[2::-1].astype(int)
        last = first + shape.mask.shape - 1
        for start, stop, (lowest, highest) in zip(first, last, segment.extent or (), strict=False):
            if start < lowest or stop > highest:
                raise CaseError(f"{self.path}, {segment.name}: it has voxels beyond its Extent; save it again")
        return shape


def open_segmentation(path: Path) -> Segmentation:
    """The segments of a file, without their voxels; CaseError if their entries are missing, damaged or contradict."""
    file = open_nrrd(path, (3, 4), MAX_VALUES)
    if file.dtype.kind not in "ui":
        raise CaseError(f"{path}: a labelmap holds whole numbers, not {file.header['type']}; save it again from Slicer")
    grid, layered = place_of(file)
    n_layers = file.shape[-1] if layered else 1
    entries: dict[int, dict[str, str]] = {}
    for key, value in file.header.items():
        if match := _ENTRY.fullmatch(key):
            entries.setdefault(int(match[1]), {})[match[2]] = str(value)
    segments: dict[str, Segment] = {}
    for number, values in sorted(entries.items()):
        segment = _segment(values, f"{path}, Segment{number}", n_layers, grid.shape)
        if segment.id in segments:
            raise CaseError(f"{path}: two segments have the ID {segment.id!r}; save it again from Slicer")
        same = [one.name for one in segments.values() if (one.layer, one.label) == (segment.layer, segment.label)]
        if same:
            raise CaseError(
                f"{path}: {segment.name} and {same[0]} have the same voxels by layer and label; save it again"
            )
        segments[segment.id] = segment
    return Segmentation(file, segments, grid, layered)


def _segment(values: Mapping[str, str], where: str, n_layers: int, shape: tuple[int, int, int]) -> Segment:
    if missing := [key for key in _NEEDED if not values.get(key, "").strip()]:
        raise CaseError(f"{where}: its entry {missing[0]} is missing; save it again from Slicer")
    layer, label = (_whole(values[key], f"{where}: {key}") for key in ("Layer", "LabelValue"))
    if not 0 <= layer < n_layers or label == 0:
        raise CaseError(f"{where}: layer {layer} of {n_layers} or label {label} cannot be; save it again from Slicer")
    extent = None
    if "Extent" in values:
        ends = [_whole(word, f"{where}: Extent") for word in values["Extent"].split()]
        extent = tuple(zip(ends[4::-2], ends[5::-2], strict=False))
        inside = len(ends) == 6 and all(
            low > high or 0 <= low <= high < n for (low, high), n in zip(extent, shape, strict=True)
        )
        if not inside:
            raise CaseError(f"{where}: its Extent {values['Extent'][:60]!r} is none of this volume; save it again")
    return Segment(printable(values["ID"]), printable(values["Name"]), layer, label, extent)


def _whole(text: str, where: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,10}", text.strip()):
        raise CaseError(f"{where} is {text[:40]!r}, no whole number; save it again from Slicer")
    return int(text)
