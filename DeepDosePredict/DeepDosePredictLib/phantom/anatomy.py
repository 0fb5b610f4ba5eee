"""A made-up head-and-neck patient with a nine-field plan, for demonstrations and tests; no patient data went into it.

Anatomy is drawn in mm: x to Left and y to Posterior from the middle of the grid, z to Superior from its lowest slice,
with the sizes of an average adult. The dose comes from `plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..device import one_thread
from ..patient.case import GRID, Case
from ..patient.grid import Box
from ..patient.roi_mask import RoiMask
from ..patient.rois import OARS, PTVS
from .grid import MIDDLE, SPACING, distance
from .plan import planned_dose

MASK_MARGIN_MM = 25.0
SHELL_MM = 8.0  # body parts know their distance this far outside
PTV_SKIN_MM, PTV_CORD_MM = 5.0, 8.0

AIR, LUNG, FAT, BRAIN, MUSCLE, VESSEL, SPONGY, CORTICAL, TOOTH = -1000, -780, -95, 35, 55, 130, 320, 950, 1900

# Axial outlines: z, x and y of the widest point, half-width, extent to the front and to the back, exponent.
NECK = (
    (-10, 0, 44, 85, 78, 74, 2.2),
    (30, 0, 36, 72, 74, 64, 2.2),
    (50, 0, 28, 63, 72, 56, 2.1),
    (70, 0, 20, 60, 71, 54, 2.1),
    (85, 0, 16, 60, 70, 54, 2.1),
    (93, 0, 15, 60, 74, 54, 2.0),
    (98, 0, 15, 61, 92, 53, 1.75),
    (103, 0, 14, 62, 107, 54, 1.6),
    (112, 0, 12, 63, 112, 55, 1.6),
    (125, 0, 10, 66, 108, 57, 1.65),
    (133, 0, 10, 68, 109, 59, 1.7),
    (140, 0, 10, 69, 110, 60, 1.75),
    (147, 0, 10, 70, 109, 62, 1.8),
    (155, 0, 10, 72, 107, 65, 1.85),
    (170, 0, 10, 75, 103, 74, 1.95),
    (190, 0, 10, 77, 101, 83, 2.05),
    (205, 0, 8, 78, 98, 89, 2.15),
    (225, 0, 6, 78, 100, 94, 2.2),
    (240, 0, 4, 77, 98, 97, 2.2),
    (262, 0, 4, 73, 94, 93, 2.1),
)
SHOULDERS = (
    (-10, 0, 46, 214, 78, 74, 2.4),
    (10, 0, 46, 208, 70, 72, 2.4),
    (20, 0, 47, 196, 60, 68, 2.3),
    (30, 0, 48, 175, 50, 62, 2.2),
    (40, 0, 49, 148, 42, 55, 2.2),
    (50, 0, 48, 117, 34, 48, 2.1),
    (60, 0, 46, 90, 27, 41, 2.0),
    (72, 0, 42, 68, 20, 36, 2.0),
    (85, 0, 38, 50, 14, 32, 2.0),
)

# Columns: z, x, y of the centre, half-width, half-depth.
CANAL = ((-10, 0, 79), (28, 0, 60), (50, 0, 46), (80, 0, 33), (115, 0, 25), (150, 0, 23), (184, 0, 20))
BRAINSTEM = (
    (181, 0, 20, 8, 7),
    (192, 0, 17, 10, 9),
    (203, 0, 13, 15, 13),
    (215, 0, 10, 17, 15),
    (227, 0, 9, 15, 12),
    (238, 0, 8, 14, 10),
)
AIRWAY = (
    (-10, 0, 18, 9, 8),
    (30, 0, 4, 9, 9),
    (62, 0, -17, 9, 9),
    (74, 0, -25, 8, 9),
    (82, 0, -28, 5, 10),
    (87, 0, -29, 2.5, 10),
    (92, 0, -29, 6, 10),
    (102, 0, -24, 10, 9),
    (112, 1, -17, 12, 8),
    (124, 5, -15, 9, 7),
    (140, 7, -14, 8, 7),
    (152, 4, -12, 11, 7),
    (164, 0, -11, 13, 8),
    (180, 0, -13, 11, 8),
)
LARYNX = ((69, 0, -25, 15, 16), (76, 0, -27, 17, 18), (88, 0, -29, 19, 19), (98, 0, -28, 19, 18), (104, 0, -26, 16, 14))
ESOPHAGUS = ((-10, 4, 36, 9, 6), (30, 3, 20, 8, 5.5), (50, 3, 8, 8, 5), (68, 0, -4, 8, 5))
NODES = (
    (35, 43, 28, 9, 6),
    (41, 43, 27, 15, 11),
    (52, 42, 24, 17, 14),
    (75, 40, 18, 15, 17),
    (100, 41, 14, 15, 18),
    (130, 43, 12, 14, 17),
    (155, 45, 11, 11, 14),
    (172, 45, 10, 10, 11),
    (178, 45, 10, 5, 6),
)
TUMOUR_NODE = (
    (88, 41, 12, 9, 11),
    (94, 41, 12, 15, 18),
    (106, 40, 11, 18, 21),
    (125, 42, 9, 18, 22),
    (142, 42, 8, 16, 19),
    (152, 42, 8, 13, 15),
    (157, 42, 8, 8, 9),
)

# Tubes: points x, y, z.
MANDIBLE = (
    (-49, -10, 136),
    (-45, -28, 131),
    (-36, -56, 125),
    (-22, -76, 121),
    (0, -84, 119),
    (22, -76, 121),
    (36, -56, 125),
    (45, -28, 131),
    (49, -10, 136),
)
RAMUS = ((49, -12, 137), (51, -10, 160), (53, -6, 180))
NOSE = ((0, -86, 202), (0, -100, 180), (0, -102, 174), (0, -94, 168))
VERTEBRAE_Z = (8, 28, 47, 65, 82, 98, 115, 132, 150)  # T3 up to C2; the atlas has a shape of its own


@dataclass(frozen=True)
class BodyPart:
    """Part of the grid around a body part: its slices and the approximate signed distance in mm, negative inside."""

    box: Box
    depth: np.ndarray

    def mask(self) -> np.ndarray:
        """(K, J, I) bool on the whole grid."""
        full = np.zeros(GRID, bool)
        full[self.box] = self.depth < 0
        return full

    def paint(self, ct: np.ndarray, hu: float, shrink: float = 0.0) -> None:
        """Mix `hu` into a float CT in place, with the partial-volume edge a scanner would show."""
        cover = np.clip(0.5 - (self.depth + shrink) / SPACING[1], 0, 1)
        ct[self.box] += cover * (hu - ct[self.box])


def head_and_neck_phantom() -> Case:
    """The made-up patient: CT, the ten OpenKBP structures, dose mask and reference dose; the same on every call.

    Arrays are (K, J, I) = 128 x 128 x 128 at SPACING (k, j, i) in mm. The patient has an oropharynx tumour on the
    right with an involved node (PTV70), a high-risk margin (PTV63) and the elective neck of both sides (PTV56).
    """
    with one_thread():  # sums depend in their last bits on how many threads share them
        ct, body, oars = _anatomy()
        ptvs = _targets(body, oars["SpinalCord"])
        dose_mask = _dose_mask(body, np.logical_or.reduce(list(ptvs.values())))
        dose = planned_dose(ct, dose_mask, oars, ptvs)
    rois = RoiMask.encode({name: (oars | ptvs)[name] for name in OARS + PTVS})
    return Case("phantom", ct, rois, dose_mask, SPACING, dose)


# Body parts


def _axes(box: Sequence[slice]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """z, y, x in mm of the voxels of a box, ready to broadcast to (K, J, I)."""
    z, y, x = (np.arange(s.start, s.stop, dtype=np.float32) for s in box)
    return z[:, None, None] * SPACING[0], (y[:, None] - MIDDLE) * SPACING[1], (x - MIDDLE) * SPACING[2]


def _box(low: Sequence[float], high: Sequence[float]) -> Box:
    """Slices of the voxels from corner (x, y, z) to corner in mm, with room for a shell around them."""
    return tuple(
        slice(max(0, int((a - SHELL_MM) / step + m)), min(size, int((b + SHELL_MM) / step + m) + 2))
        for a, b, step, m, size in zip(low[::-1], high[::-1], SPACING, (0, MIDDLE, MIDDLE), GRID, strict=True)
    )


def _column(rows: Sequence[Sequence[float]], side: int = 1) -> BodyPart:
    """Stack of axial superellipses, linear between rows (z, x, y, half-width, front[, back, exponent])."""
    table = np.array([(*row, row[4], 2.0) if len(row) == 5 else row for row in rows], np.float32)
    table[:, 1] *= side
    z, cx, cy, width, front, back, _ = table.T
    box = _box(((cx - width).min(), (cy - front).min(), z[0]), ((cx + width).max(), (cy + back).max(), z[-1]))
    zz, yy, xx = _axes(box)
    cx, cy, width, front, back, power = (np.interp(zz, z, column).astype(np.float32) for column in table.T[1:])
    half = np.where(yy < cy, front, back)
    a, b = np.abs(xx - cx) / width, np.abs(yy - cy) / half
    radius = np.maximum((a**power + b**power) ** (1 / power), 1e-3)
    slope = np.hypot((a / radius) ** (power - 1) / width, (b / radius) ** (power - 1) / half)
    return BodyPart(box, np.maximum((radius - 1) / np.maximum(slope, 1e-4), np.maximum(z[0] - zz, zz - z[-1])))


def _ellipsoid(x: float, y: float, z: float, rx: float, ry: float, rz: float) -> BodyPart:
    box = _box((x - rx, y - ry, z - rz), (x + rx, y + ry, z + rz))
    zz, yy, xx = _axes(box)
    a, b, c = (xx - x) / rx, (yy - y) / ry, (zz - z) / rz
    radius = np.sqrt(a * a + b * b + c * c)
    slope = np.sqrt((a / rx) ** 2 + (b / ry) ** 2 + (c / rz) ** 2)
    return BodyPart(box, radius * (radius - 1) / np.maximum(slope, 1e-6))


def _tube(points: Sequence[Sequence[float]], radii: tuple[float, float, float], side: int = 1) -> BodyPart:
    """Ellipsoid with half-axes `radii` (x, y, z) swept along the line through points (x, y, z)."""
    size = np.array(radii, np.float32)
    line = np.array(points, np.float32) * (side, 1, 1)
    box = _box(line.min(0) - size, line.max(0) + size)
    place = np.stack(np.broadcast_arrays(*_axes(box)[::-1]), -1) / size
    nearest = np.float32(np.inf)
    for start, end in zip(line[:-1] / size, line[1:] / size, strict=True):
        along = end - start
        t = np.clip((place - start) @ along / (along @ along), 0, 1)
        nearest = np.minimum(nearest, np.linalg.norm(place - start - t[..., None] * along, axis=-1))
    return BodyPart(box, (nearest - 1) * size.min())


def _union(*parts: BodyPart) -> BodyPart:
    box = tuple(
        slice(min(s.start for s in axis), max(s.stop for s in axis))
        for axis in zip(*(part.box for part in parts), strict=True)
    )
    depth = np.full([s.stop - s.start for s in box], 99, np.float32)
    for part in parts:
        inner = depth[tuple(slice(s.start - b.start, s.stop - b.start) for s, b in zip(part.box, box, strict=True))]
        np.minimum(inner, part.depth, out=inner)
    return BodyPart(box, depth)


# Anatomy


def _anatomy() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """CT in HU (int16), body and the masks of the organs at risk."""
    ct = np.full(GRID, AIR, np.float32)
    outline = _union(
        _column(NECK),
        _column(SHOULDERS),
        _ellipsoid(0, 3, 238, 77, 97, 74),
        _tube(NOSE, (11, 12, 7)),
        *(_ellipsoid(side * 79, 15, 190, 6, 13, 26) for side in (-1, 1)),
    )
    body = outline.mask()
    outline.paint(ct, FAT)
    skin = ct.copy()
    _paint_soft_tissue(ct, body)
    for side in (-1, 1):
        _paint_neck_side(ct, side)
    organs = _organs()
    organs["Larynx"].paint(ct, FAT, shrink=-3)
    for name, hu in (("RightParotid", -15), ("LeftParotid", -15), ("Larynx", 40), ("Esophagus", 45)):
        organs[name].paint(ct, hu)
    _paint_chest(ct)
    _paint_skull(ct)
    _paint_face(ct)
    _paint_spine(ct)
    organs["Brainstem"].paint(ct, BRAIN - 5)
    organs["SpinalCord"].paint(ct, BRAIN + 5)
    organs["Mandible"].paint(ct, CORTICAL)
    organs["Mandible"].paint(ct, SPONGY, shrink=3.5)
    _paint_airway(ct)
    ct[~body] = skin[~body]
    _add_texture(ct, body)
    return np.rint(ct).astype(np.int16), body, {name: organs[name].mask() & body for name in OARS}


def _organs() -> dict[str, BodyPart]:
    """Shapes of the organs at risk; the body clips them."""
    canal = np.array(CANAL, float)
    cord = [(*row, 6.6, 5.6) for row in canal[:-1]] + [(181, *canal[-1, 1:], 7.5, 6.5)]
    parotids = (
        _union(_ellipsoid(side * 63, 4, 168, 9.5, 21, 25), _ellipsoid(side * 55, 11, 164, 10, 10, 18))
        for side in (-1, 1)
    )
    mandible = _union(
        _tube(MANDIBLE, (5.2, 5.2, 11.5)),
        *(_tube(RAMUS, (4.5, 13, 10), side) for side in (-1, 1)),
        *(_tube(((52, 2, 178), (52, 6, 194)), (5, 5, 4), side) for side in (-1, 1)),  # condyles
        *(_tube(((51, -16, 176), (49, -22, 190)), (3.5, 5, 4), side) for side in (-1, 1)),  # coronoid processes
    )
    right, left = parotids
    parts = (_column(BRAINSTEM), _column(cord), right, left, _column(ESOPHAGUS), _column(LARYNX), mandible)
    names = ("Brainstem", "SpinalCord", "RightParotid", "LeftParotid", "Esophagus", "Larynx", "Mandible")
    return dict(zip(names, parts, strict=True))


def _paint_soft_tissue(ct: np.ndarray, body: np.ndarray) -> None:
    """Muscle under a layer of fat, thicker at the shoulders than at the head."""
    under_skin = distance(~body, 16.0)
    z = np.arange(GRID[0]) * SPACING[0]
    fat = np.interp(z, (20, 70, 100, 160, 220), (13, 8, 6.5, 5, 4))[:, None, None]
    muscle = np.clip((under_skin - fat) / SPACING[1] + 0.5, 0, 1)
    ct += muscle * (MUSCLE - ct)


def _paint_neck_side(ct: np.ndarray, side: int) -> None:
    """Fat spaces of one side of the neck and face with the muscles, glands and vessels in them."""
    _column(
        ((20, 48, 36, 26, 14), (60, 42, 24, 17, 17), (100, 41, 16, 14, 20), (135, 42, 13, 12, 18), (168, 42, 8, 9, 13)),
        side,
    ).paint(ct, FAT)
    semispinalis = _tube(((15, 78, 50), (15, 58, 85), (15, 50, 120), (16, 54, 160)), (11, 13, 8), side)
    semispinalis.paint(ct, FAT, shrink=-1.5)
    semispinalis.paint(ct, MUSCLE, shrink=1)
    _tube(((30, 62, 50), (30, 46, 85), (32, 42, 120), (36, 40, 160)), (2, 14, 6), side).paint(ct, FAT)  # splenius
    _tube(((25, -5, 156), (30, -10, 176)), (5, 8, 4), side).paint(ct, FAT)  # parapharyngeal
    _tube(((44, -42, 146), (50, -40, 176)), (6, 12, 6), side).paint(ct, FAT)  # buccal
    _ellipsoid(side * 26, -40, 113, 11, 15, 9).paint(ct, 45)  # submandibular gland
    sternomastoid = ((20, -22, 22), (34, -10, 50), (47, 8, 90), (54, 22, 135), (58, 26, 172))
    for path, radii in ((sternomastoid, (8, 11, 8)), (((62, -6, 136), (61, -22, 170)), (5, 13, 8))):  # and masseter
        muscle = _tube(path, radii, side)
        muscle.paint(ct, FAT, shrink=-2)
        muscle.paint(ct, MUSCLE)
    _column(((36, 16, -8, 5, 6), (48, 17, -10, 8, 11), (62, 17, -14, 8, 12), (78, 17, -18, 4, 8)), side).paint(
        ct, VESSEL - 20
    )  # thyroid gland
    _tube(((16, 8, 10), (21, 4, 50), (25, 2, 100), (29, 3, 140), (29, 4, 176)), (4, 4, 4), side).paint(ct, VESSEL + 30)
    _tube(((30, 0, 16), (32, 4, 50), (35, 8, 100), (37, 10, 140), (34, 12, 176)), (6, 6, 6), side).paint(ct, VESSEL)


def _paint_chest(ct: np.ndarray) -> None:
    """Lung apices, clavicles, first ribs, scapulae and humeral heads."""
    for side in (-1, 1):
        _column(((-10, 54, 44, 38, 44), (12, 50, 45, 33, 37), (24, 45, 45, 25, 28), (36, 40, 45, 12, 14)), side).paint(
            ct, LUNG
        )
        _bone(ct, _tube(((14, -22, 8), (60, -18, 18), (105, 4, 30), (150, 28, 34)), (6, 6, 5.5), side), 700)
        _bone(ct, _tube(((14, 62, 44), (42, 76, 42), (70, 60, 30), (76, 30, 18), (58, -8, 6)), (5, 5, 4), side), 600)
        _bone(ct, _tube(((20, 82, 24), (60, 98, 16), (96, 72, 4)), (5, 5, 4), side), 600)
        _bone(ct, _tube(((98, 92, 2), (128, 78, 18), (152, 58, 28)), (18, 5, 5), side), 600)  # scapula
        _bone(ct, _ellipsoid(side * 166, 42, 2, 24, 24, 24), 500)  # humeral head
    _tube(((0, -20, 0), (0, -20, 10)), (16, 6, 6)).paint(ct, SPONGY)  # manubrium


def _bone(ct: np.ndarray, part: BodyPart, hu: float, marrow: float = 180) -> None:
    part.paint(ct, hu)
    part.paint(ct, marrow, shrink=3.5)


def _paint_skull(ct: np.ndarray) -> None:
    """Brain in a shell of bone, with petrous bones, mastoids and the foramen magnum."""
    brain = _union(
        _above(_ellipsoid(0, 3, 236, 64, 84, 64), 206, -0.15),
        _ellipsoid(0, 38, 202, 48, 40, 26),  # posterior fossa
        *(_ellipsoid(side * 34, -12, 208, 24, 30, 24) for side in (-1, 1)),  # temporal lobes
    )
    brain.paint(ct, CORTICAL, shrink=-6.5)
    brain.paint(ct, BRAIN)
    for side in (-1, 1):
        _tube(((14, -6, 197), (38, 8, 195), (60, 14, 192)), (8, 8, 8), side).paint(ct, CORTICAL + 200)  # petrous bone
        _bone(ct, _tube(((58, 22, 176), (60, 24, 192)), (10, 12, 10), side), 500, -150)  # mastoid and its air cells
        _tube(((64, 12, 191), (86, 12, 189)), (4, 4, 4), side).paint(ct, AIR)  # ear canal
        _ellipsoid(side * 15, 6, 238, 5, 18, 8).paint(ct, 8)  # lateral ventricle
    _tube(((0, -10, 194), (0, -4, 206)), (12, 10, 8)).paint(ct, SPONGY + 150)  # clivus
    _column(((170, 0, 21, 13, 12), (196, 0, 19, 13, 13))).paint(ct, 15)  # foramen magnum


def _above(part: BodyPart, z0: float, tilt: float) -> BodyPart:
    """What of a body part lies above the plane z = z0 + tilt * y."""
    z, y, _ = _axes(part.box)
    return BodyPart(part.box, np.maximum(part.depth, z0 + tilt * y - z))


def _paint_face(ct: np.ndarray) -> None:
    """Orbits, cheekbones, upper jaw, teeth and air sinuses."""
    for side in (-1, 1):
        orbit = _tube(((31, -70, 204), (16, -38, 203)), (17, 17, 17), side)
        orbit.paint(ct, CORTICAL - 250, shrink=-3)
        orbit.paint(ct, FAT)
        _ellipsoid(side * 32, -76, 205, 12.5, 12.5, 12.5).paint(ct, 15)  # eye
        _tube(((30, -64, 204), (14, -34, 203)), (3, 3, 3), side).paint(ct, 40)  # optic nerve
        _bone(ct, _tube(((46, -66, 188), (60, -48, 184), (68, -24, 186), (69, -2, 189)), (4, 4, 5), side), 800)
        sinus = _ellipsoid(side * 28, -58, 174, 15, 18, 15)
        sinus.paint(ct, CORTICAL - 350, shrink=-3.5)
        sinus.paint(ct, AIR)
        _tube(((20, -16, 168), (20, -20, 190)), (3, 8, 3), side).paint(ct, 500)  # pterygoid plates
    _ellipsoid(0, -68, 108, 24, 18, 5).paint(ct, FAT)  # under the chin
    _tube(((0, -64, 118), (0, -46, 142)), (2, 10, 10)).paint(ct, FAT / 2)  # septum of the tongue
    jaw = ((-28, -48, 155), (-22, -70, 155), (0, -83, 155), (22, -70, 155), (28, -48, 155))
    _tube(jaw, (7, 7, 6)).paint(ct, 600)
    _tube(((0, -64, 158), (0, -46, 158)), (18, 8, 2)).paint(ct, 250)  # hard palate
    for along in np.linspace(-1.15, 1.15, 14):
        x, y = 27 * np.sin(along), -48 - 37 * np.cos(along) ** 1.5
        _ellipsoid(x, y + 1, 148, 3.5, 3.5, 6).paint(ct, TOOTH)
        _ellipsoid(x, y + 3, 136, 3.5, 3.5, 6).paint(ct, TOOTH)
    _tube(((0, -86, 200), (0, -94, 188)), (5, 4, 4)).paint(ct, 600)  # nasal bones
    sphenoid = _ellipsoid(0, -26, 200, 14, 12, 9)
    sphenoid.paint(ct, 600, shrink=-3)
    sphenoid.paint(ct, AIR)
    frontal_sinus = _ellipsoid(0, -83, 224, 17, 4, 9)
    frontal_sinus.paint(ct, CORTICAL, shrink=-3)
    frontal_sinus.paint(ct, AIR)


def _paint_spine(ct: np.ndarray) -> None:
    """Vertebrae up to the atlas around a canal of cerebrospinal fluid."""
    for z in VERTEBRAE_Z:
        _paint_vertebra(ct, z)
    _column(((165, 0, 16, 25, 23), (174, 0, 15, 25, 23))).paint(ct, 750)  # atlas
    _column(((160, 0, 17, 15, 17), (180, 0, 16, 15, 17))).paint(ct, 30)
    for side in (-1, 1):
        _ellipsoid(side * 22, 10, 170, 10, 10, 9).paint(ct, 650)  # lateral mass of the atlas
        _ellipsoid(side * 15, 6, 182, 8, 12, 5).paint(ct, 650)  # occipital condyle
    _bone(ct, _tube(((0, 3, 150), (0, 3, 172)), (7, 7, 5)), 700, 350)  # dens
    _column([(z, 0, y, 10, 8.5) for z, _, y in CANAL]).paint(ct, 10)


def _paint_vertebra(ct: np.ndarray, z: float) -> None:
    """One vertebra with its body's middle at height z, sheared along the canal; larger towards the chest."""
    heights, _, middles = zip(*CANAL, strict=True)
    below, y, above = np.interp((z - 7, z, z + 7), heights, middles)
    size = float(np.interp(z, (8, 65, 132), (1.25, 1.1, 1.0)))
    forward = 9 + 9.5 * size  # from the middle of the canal to that of the body
    _column(((z - 7, 0, below, 16, 14), (z + 7, 0, above, 16, 14))).paint(ct, 750)  # arch; the canal comes last
    _bone(
        ct,
        _column(
            ((z - 7.5, 0, below - forward, 13 * size, 9.5 * size), (z + 7.5, 0, above - forward, 13 * size, 9.5 * size))
        ),
        600,
        260,
    )
    for side in (-1, 1):
        _ellipsoid(side * 17, y - 3, z, 8, 8, 7.5).paint(ct, 600)  # articular processes
        if z < 60:
            _tube(((16, y + 4, z), (30, y + 12, z + 3)), (5, 5, 5), side).paint(ct, 550)  # thoracic transverse process
        else:
            _ellipsoid(side * 22, y - 10, z, 6, 6, 4).paint(ct, 500)
    _bone(ct, _tube(((0, y + 12, z - 2), (0, y + 28 * size, z - 12)), (4, 5, 4)), 650, 400)  # spinous process


def _paint_airway(ct: np.ndarray) -> None:
    """Laryngeal framework, then air from the nostrils to the trachea."""
    for side in (-1, 1):
        _tube(((0, -45, 90), (17, -22, 92)), (3, 3, 9), side).paint(ct, 220)  # thyroid cartilage
        _tube(((0, -38, 110), (13, -34, 110), (22, -18, 113)), (3, 3, 3.5), side).paint(ct, 500)  # hyoid
        _ellipsoid(side * 5, -19, 82, 3, 3, 5).paint(ct, 200)  # arytenoid cartilage
        _tube(((6, -74, 172), (8, -60, 173), (6, -26, 171)), (3.5, 5, 8), side).paint(ct, AIR)  # nasal cavity
        _tube(((5, -96, 164), (6, -78, 170)), (2.5, 3, 3), side).paint(ct, AIR)  # nostril
        _tube(((5, -74, 188), (5, -40, 190)), (3.5, 6, 7), side).paint(ct, AIR)  # ethmoid cells
        _tube(((9, -66, 166), (9, -42, 166)), (2.5, 6, 3), side).paint(ct, MUSCLE)  # inferior turbinate
    _column(((70, 0, -25, 12, 13), (76, 0, -26, 12, 13))).paint(ct, 220)  # cricoid cartilage
    _column(AIRWAY).paint(ct, AIR)
    _column(((102, 0, -31, 7, 2), (114, 1, -26, 9, 2.5))).paint(ct, MUSCLE)  # epiglottis
    _tube(((0, -58, 151), (0, -42, 152)), (8, 3, 2)).paint(ct, -400)  # air over the tongue


def _add_texture(ct: np.ndarray, body: np.ndarray) -> None:
    """Slow waves and scanner noise, from a fixed generator."""
    z, y, x = _axes([slice(0, size) for size in GRID])
    waves = 6 * np.sin(x / 17 + y / 29) + 6 * np.sin(y / 13 - z / 31) + 5 * np.sin(z / 11 + x / 23)
    noise = np.random.default_rng(2021).normal(0, 9, GRID).astype(np.float32)
    ct += np.where(body & (ct > -500), waves + noise, 0)
    np.clip(ct, AIR, 3000, out=ct)


# Targets


def _targets(body: np.ndarray, cord: np.ndarray) -> dict[str, np.ndarray]:
    """The three PTVs, pairwise disjoint: the highest level wins."""
    allowed = (distance(~body, PTV_SKIN_MM + 1) > PTV_SKIN_MM) & (distance(cord, PTV_CORD_MM + 1) > PTV_CORD_MM)
    tumour = _union(  # tonsil, base of the tongue, lymph node
        _ellipsoid(-20, -18, 138, 23, 25, 31),
        _ellipsoid(-12, -32, 128, 24, 25, 21),
        _column(TUMOUR_NODE, side=-1),
    ).mask()
    margin = distance(tumour, 8.0) < 8.0
    margin |= _column([(z, x, y, rx + 2, ry + 2) for z, x, y, rx, ry in NODES if 75 <= z <= 160], side=-1).mask()
    neck = _column(NODES, side=-1).mask() | _column(NODES, side=1).mask()
    ptvs, taken = {}, ~allowed
    for name, mask in zip(PTVS[::-1], (tumour, margin, neck), strict=True):
        ptvs[name] = mask & ~taken
        taken = taken | mask
    return ptvs


def _dose_mask(body: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Body within MASK_MARGIN_MM above and below the targets, like OpenKBP's possible_dose_mask."""
    used = np.flatnonzero(target.any((1, 2)))
    near = np.clip(np.arange(GRID[0]), used[0], used[-1])
    return body & (abs(np.arange(GRID[0]) - near) * SPACING[0] <= MASK_MARGIN_MM)[:, None, None]
