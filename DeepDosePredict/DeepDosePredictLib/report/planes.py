"""Axial, sagittal and coronal planes with dose wash, isodoses and contours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from ..patient.case import Case
from ..patient.rois import is_target
from .page import DOSE_END, INK, DrawnDose, DrawnStructure, add_axes, add_text

# Shares of the highest prescription.
ISODOSES = (20 / 70, 35 / 70, 50 / 70, 56 / 70, 63 / 70, 66.5 / 70, 1.0, 73.5 / 70)
WASH_FROM, WASH_FULL, WASH_ALPHA = 5 / 70, 8 / 70, 0.5
DIFFERENCE_STEP, DIFFERENCE_END = 5 / 70, 0.3
CT_WINDOW = (-160, 240)
CROP_MARGIN_MM = 12.0


@dataclass(frozen=True)
class Plane:
    """A slice across array axis `axis`, with the letters of its left, right, upper and lower edge.

    The radiological view: patient's right on the left of an axial or coronal picture, anterior on the left of a
    sagittal one; axial slices are seen from the feet.
    """

    name: str
    axis: int
    letters: str
    index: int = 0

    @property
    def sides(self) -> tuple[int, int]:
        """Array axes drawn downwards or upwards (rows) and to the right (columns)."""
        rows, columns = (axis for axis in range(3) if axis != self.axis)
        return rows, columns

    def cut(self, volume: np.ndarray) -> np.ndarray:
        """The slice of a (K, J, I) volume: (rows, columns)."""
        return volume.take(self.index, self.axis)


LETTER_PLACES = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.97, "center", "top"),
    (0.5, 0.03, "center", "bottom"),
)
PLANES = (Plane("Axial", 0, "RLAP"), Plane("Sagittal", 2, "APSI"), Plane("Coronal", 1, "RLSI"))


@dataclass(frozen=True)
class PlaneRow:
    """A row of pictures: a (K, J, I) volume in Gy, its colours and the value range these span."""

    title: str
    volume: np.ndarray
    colours: Colormap
    limits: tuple[float, float]
    isodoses: Sequence[float] = ()


def target_planes(target: np.ndarray) -> list[Plane]:
    """Planes near the centroid of a (K, J, I) bool mask that cut a good part of it.

    Between two separate targets the centroid itself may lie where there is none.
    """
    planes = []
    for plane in PLANES:
        area = target.sum(plane.sides)
        centroid = np.average(np.arange(area.size), weights=area)
        candidates = np.flatnonzero(area >= area.max() / 2)
        index = int(candidates[np.argmin(abs(candidates - centroid))])
        planes.append(Plane(plane.name, plane.axis, plane.letters, index))
    return planes


def dose_row(case: Case, dose: DrawnDose) -> PlaneRow:
    level = case.prescription
    end = DOSE_END * level
    return PlaneRow(dose.title, dose.volume, _wash(), (0.0, end), [share * level for share in ISODOSES])


def difference_row(case: Case, predicted: np.ndarray, reference: np.ndarray) -> PlaneRow:
    """Prediction - reference; the range holds nearly all voxels, so that one outlier does not bleach the picture."""
    difference = np.asarray(predicted, np.float32) - np.asarray(reference, np.float32)
    spread = np.percentile(abs(difference[case.dose_mask]), 99)
    step = _round_step(DIFFERENCE_STEP * case.prescription)
    limit = step * float(np.clip(np.ceil(spread / step), 1, DIFFERENCE_END * case.prescription // step))
    return PlaneRow("Prediction − Reference", difference, _diverging(), (-limit, limit))


def _round_step(gray: float) -> float:
    """The next lower of 1, 2, 5, 10 and so on."""
    power = 10.0 ** np.floor(np.log10(gray))
    return float(max(power * digit for digit in (1, 2, 5) if power * digit <= gray * (1 + 1e-9)))


def _wash() -> ListedColormap:
    """Dose colours over 0 to DOSE_END, transparent where the CT should show alone."""
    share = np.linspace(0, DOSE_END, 512)
    rgba = colormaps["turbo"](np.linspace(0.08, 0.98, 512))
    rgba[:, 3] = WASH_ALPHA * np.clip((share - WASH_FROM) / (WASH_FULL - WASH_FROM), 0, 1)
    return ListedColormap(rgba)


def _diverging() -> ListedColormap:
    """Blue below 0, red above, more transparent the closer to 0."""
    position = np.linspace(-1, 1, 512)
    rgba = colormaps["coolwarm"]((position + 1) / 2)
    rgba[:, 3] = np.clip(2 * abs(position), 0, 0.8)
    return ListedColormap(rgba)


def _grey() -> ListedColormap:
    """CT colours without pure white: bone must not outshine the dose or pass for a colour of the difference."""
    return ListedColormap(colormaps["gray"](np.linspace(0, 0.78, 256)))


def _opaque(colours: Colormap) -> ListedColormap:
    return ListedColormap(colours(np.linspace(0, 1, 512))[:, :3])


def draw_planes(
    figure: Figure,
    case: Case,
    rows: Sequence[PlaneRow],
    structures: Sequence[DrawnStructure],
    box: tuple[float, float, float, float],
) -> None:
    """One row of three planes for each PlaneRow, with row and column titles and colour bars to the right."""
    left, top, width, height = box
    gap, title, bar = 6, 26, 162
    planes = target_planes(case.rois[case.highest_target])
    panel_width = (width - title - bar) / len(planes) - gap
    row_height = (height - title) / len(rows) - gap
    for p, plane in enumerate(planes):
        x = left + title + p * (panel_width + gap)
        add_text(
            figure,
            x + panel_width / 2,
            top + 11,
            f"{plane.name} · slice {plane.index + 1} of {case.shape[plane.axis]}",
            10,
            ha="center",
        )
        for r, row in enumerate(rows):
            axes = add_axes(figure, x, top + title + r * (row_height + gap), panel_width, row_height)
            _draw_plane(axes, case, row, plane, structures)
            _look_at(axes, plane, *_view(case, plane, panel_width / row_height))
    for r, row in enumerate(rows):
        y = top + title + r * (row_height + gap) + row_height / 2
        add_text(figure, left + 9, y, row.title, 11, weight="bold", rotation=90, ha="center")
    x = left + title + len(planes) * (panel_width + gap)
    n_dose = len([row for row in rows if row.isodoses])
    dose_height = n_dose * (row_height + gap) - gap
    y = top + title + 10  # room for the labels at the ends of the bars
    _draw_dose_bar(figure, (x + 4, y, 18, dose_height - 20), rows[0], case.prescription)
    if n_dose < len(rows):
        _draw_difference_bar(figure, (x + 4, y + dose_height + gap, 18, row_height - 20), rows[-1])


def _view(case: Case, plane: Plane, aspect: float) -> tuple[np.ndarray, np.ndarray]:
    """Centre and size (y, x) in mm of the dose mask's box in the slice with a margin, widened to width / height."""
    mask = plane.cut(case.dose_mask)
    if not mask.any():  # a target outside the dose mask
        mask = np.ones_like(mask)
    used = [np.flatnonzero(mask.any(1 - side)) for side in (0, 1)]
    steps = np.array([case.spacing[side] for side in plane.sides])
    centre = np.array([indices[0] + indices[-1] for indices in used]) / 2 * steps
    height, width = np.array([indices[-1] - indices[0] + 1 for indices in used]) * steps + 2 * CROP_MARGIN_MM
    return centre, np.array((max(height, width / aspect), max(width, height * aspect)))


def _draw_plane(axes: Axes, case: Case, row: PlaneRow, plane: Plane, structures: Sequence[DrawnStructure]) -> None:
    """CT, colours, isodoses and contours of one slice; coordinates are mm from the first voxel."""
    axes.set(facecolor="black", xticks=(), yticks=())
    axes.spines[:].set_visible(False)
    dy, dx = (case.spacing[side] for side in plane.sides)
    ny, nx = plane.cut(case.ct).shape
    place: dict[str, Any] = {
        "extent": (-dx / 2, (nx - 0.5) * dx, -dy / 2, (ny - 0.5) * dy),
        "origin": "lower",
        "aspect": "auto",
        "interpolation": "bilinear",
        "interpolation_stage": "data",
    }
    axes.imshow(plane.cut(case.ct), cmap=_grey(), vmin=CT_WINDOW[0], vmax=CT_WINDOW[1], **place)
    values = plane.cut(row.volume)
    axes.imshow(values, cmap=row.colours, vmin=row.limits[0], vmax=row.limits[1], **place)
    if row.isodoses:
        _draw_lines(axes, values, row.isodoses, (dy, dx), _isodose_colours(row), 1.0)
    for structure in reversed(structures):  # the highest PTV on top
        width = 2.2 if is_target(structure.name) else 1.3
        _draw_lines(
            axes,
            plane.cut(structure.mask).astype(np.float32),
            (0.5,),
            (dy, dx),
            [structure.colour],
            width,
            path_effects=[withStroke(linewidth=width + 0.9, foreground="black", alpha=0.6)],
        )


def _draw_lines(
    axes: Axes,
    values: np.ndarray,
    levels: Sequence[float],
    steps: tuple[float, float],
    colours: Sequence,
    width: float,
    **keywords: Any,
) -> None:
    """Contour lines of those levels that occur, closed at the edge of the grid."""
    n_levels = np.searchsorted(levels, values.max())
    if n_levels:
        y, x = (np.arange(-1, n + 1) * step for n, step in zip(values.shape, steps, strict=True))
        axes.contour(
            x, y, np.pad(values, 1), levels[:n_levels], colors=colours[:n_levels], linewidths=width, **keywords
        )


def _isodose_colours(row: PlaneRow) -> list:
    return [row.colours(level / row.limits[1])[:3] for level in row.isodoses]


def _look_at(axes: Axes, plane: Plane, centre: np.ndarray, size: np.ndarray) -> None:
    """Show `size` (y, x) mm around the centre, with the letters of the patient's directions and a scale."""
    (y, x), (height, width) = centre, size
    up = -1 if plane.axis == 0 else 1  # posterior is at the bottom of an axial slice, superior at the top of others
    axes.set(xlim=(x - width / 2, x + width / 2), ylim=(y - up * height / 2, y + up * height / 2))
    halo = [withStroke(linewidth=2, foreground="black")]
    for letter, (a, b, ha, va) in zip(plane.letters, LETTER_PLACES, strict=True):
        axes.text(
            a,
            b,
            letter,
            transform=axes.transAxes,
            color="#ffd84d",
            size=10,
            weight="bold",
            path_effects=halo,
            ha=ha,
            va=va,
        )
    axes.plot(
        (0.03, 0.03 + 50 / width),
        (0.045, 0.045),
        transform=axes.transAxes,
        color="white",
        lw=2,
        path_effects=[withStroke(linewidth=3.5, foreground="black")],
    )
    axes.text(0.03, 0.055, "5 cm", transform=axes.transAxes, color="white", size=8, path_effects=halo, va="bottom")


def _draw_bar(figure: Figure, box: tuple[float, float, float, float], row: PlaneRow) -> Axes:
    axes = add_axes(figure, *box, xticks=())
    axes.imshow(
        np.linspace(*row.limits, 512)[:, None],
        cmap=_opaque(row.colours),
        origin="lower",
        aspect="auto",
        extent=(0, 1, *row.limits),
    )
    axes.yaxis.tick_right()
    axes.tick_params(labelsize=9, colors=INK, length=4)
    return axes


def _draw_dose_bar(figure: Figure, box: tuple[float, float, float, float], row: PlaneRow, level: float) -> None:
    """The colour bar is also the legend of the isodose lines."""
    axes = _draw_bar(figure, box, row)
    axes.set_yticks(
        [0, *row.isodoses], ["0 Gy"] + [f"{dose:.1f} Gy · {100 * dose / level:.0f} %" for dose in row.isodoses]
    )


def _draw_difference_bar(figure: Figure, box: tuple[float, float, float, float], row: PlaneRow) -> None:
    axes = _draw_bar(figure, box, row)
    limit = row.limits[1]
    axes.set_yticks(
        np.linspace(-limit, limit, 5),
        [f"≤ {-limit:+g} Gy", f"{-limit / 2:+g} Gy", "0 Gy", f"{limit / 2:+g} Gy", f"≥ {limit:+g} Gy"],
    )
