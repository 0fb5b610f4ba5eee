"""A learned inverse planner: a dose that the beams can deliver, as an input channel of the dose network.

A network would have to learn beam geometry and inverse planning from a few hundred patients; both are known. What is
not known is what planners trade for what. So a small network looks at the patient and says, for every voxel, which
dose to aim at and how much it matters; then the beams' fluences are fitted to that (`beams`). Weights, aims and beam
model are trained through the fit, with the reference doses of the training patients (Training/train.py planner).
Untrained, it aims at the prescriptions in the targets and at little elsewhere. Method and features are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from ..device import autocast_dtype, in_threads, one_thread
from .beams import Beams, DoseMatrix, Physics, Rays
from .bixel_factors import BeamPreference, Views, make_views

ORGANS = ("Brainstem", "SpinalCord", "Parotid", "Esophagus", "Larynx", "Mandible")
"""Kinds of organs at risk; left and right ones are of one kind."""
FEATURES = 27
TISSUE_HU = -300
POOL = (2, 4, 4)
"""Voxels (k, j, i) of a cell that the context network sees as one."""
MANY_TARGET_VOXELS = 15000
ORGAN_STEP, TISSUE_STEP = 2, 12
"""One of so many voxels takes part in the fit."""
LOWEST_WEIGHT, HIGHEST_WEIGHT = -9.0, 4.0


@dataclass(frozen=True)
class Patient:
    """What is planned for.

    Attributes:
        ct: (K, J, I) HU, an LPS grid.
        level: (K, J, I) float32 prescription in units of the highest one, 0 outside the PTVs.
        organ: (K, J, I) kind of organ at risk, 1 + its place in `ORGANS`, or 0.
        dose_mask: (K, J, I) bool, voxels where dose can be.
        spacing: (k, j, i) in mm.
    """

    ct: np.ndarray
    level: np.ndarray
    organ: np.ndarray
    dose_mask: np.ndarray
    spacing: Sequence[float]

    @property
    def region(self) -> np.ndarray:
        """Voxels that get dose: more than the dose mask, so that the plan hardly depends on where the mask ends."""
        return self.dose_mask | (self.ct > TISSUE_HU)

    @property
    def plannable(self) -> bool:
        """Whether any PTV lies in the dose mask."""
        return bool((self.dose_mask & (self.level > 0)).any())


@dataclass(frozen=True)
class Problem:
    """The fit's N voxels and what the planner knows of them.

    Attributes:
        voxels: (N,) each: k, j, i.
        rays: how they see the beams.
        share: (N,) how many voxels each stands for.
        level: (N,) prescription; top: (N,) bool, of the highest.
        organ: (N,) bool, in an organ at risk.
        features: (N, FEATURES); coarse: (FEATURES, K', J', I') the same, averaged over cells.
        place: (N, 3) x, y, z from -1 to 1 between the grid's outer faces.
        fluence: first guess.
        views: what the beams see.
    """

    voxels: tuple[Tensor, Tensor, Tensor]
    rays: Rays
    share: Tensor
    level: Tensor
    top: Tensor
    organ: Tensor
    features: Tensor
    coarse: Tensor
    place: Tensor
    fluence: Tensor
    views: Views


@dataclass(frozen=True)
class Fit:
    """Fluence that is fitted to aims.

    Attributes:
        matrix: dose of the fit's voxels.
        weight, aim: (N,) what was fitted to.
        fluence: (slices, beams, bixels); dose: (N,) what it gives.
        views: what the beams see of patient and fit; None where no preference looks at them.
    """

    matrix: DoseMatrix
    weight: Tensor
    aim: Tensor
    fluence: Tensor
    dose: Tensor
    views: Views | None


class _ContextBlock(nn.Module):
    def __init__(self, channels: int, dilation: int, dropout: float):
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.first_norm = nn.GroupNorm(4, channels)
        self.second = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.second_norm = nn.GroupNorm(4, channels)
        self.dropout = nn.Dropout3d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.dropout(F.silu(self.first_norm(self.first(x))))
        return x + self.second_norm(self.second(inner))


class Planner(nn.Module):
    """Aims and weights for every voxel of a `Problem`, factors for every bixel, and the beam model.

    Args:
        preferences: how many networks, trained independently, give factors; their mean counts.
        partners: for every further planner, trained independently, how many such networks it has; the mean of all
            planners' plans counts.
    """

    def __init__(
        self,
        channels: int = 32,
        hidden: int = 48,
        context: int = 16,
        dropout: float = 0.1,
        preferences: int = 0,
        partners: Sequence[int] = (),
    ):
        super().__init__()
        self.stem = nn.Conv3d(FEATURES, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(_ContextBlock(channels, dilation, dropout) for dilation in (1, 2, 4, 1)))
        self.context = nn.Conv3d(channels, context, 1)
        self.judge = nn.Sequential(
            nn.Linear(FEATURES + context, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), nn.Linear(hidden, 2)
        )
        nn.init.zeros_(self.judge[-1].weight)
        nn.init.zeros_(self.judge[-1].bias)
        # Logarithm of the weight and logit of the aim, to begin with; in the targets 0 and the prescription.
        self.tissue = nn.Parameter(torch.tensor([math.log(0.015), -3.0]))
        self.organs = nn.Parameter(torch.tensor([math.log(0.2), -3.0]))
        self.logarithms = nn.Parameter(torch.tensor([0.0045, 4.0, 6.0, 6.0, 20.0]).log())
        self.logits = nn.Parameter(torch.tensor([0.6, 0.03]).logit())
        self.smoothness = nn.Parameter(torch.tensor(-7.0))
        self.preferences = nn.ModuleList(BeamPreference(dropout=dropout) for _ in range(preferences))
        self.partners = nn.ModuleList(Planner(channels, hidden, context, dropout, n) for n in partners)

    def physics(self) -> Physics:
        attenuation, build_up_mm, penumbra_k, penumbra, scatter_mm = self.logarithms.exp()
        build_up, scatter = self.logits.sigmoid()
        return Physics(
            attenuation, build_up, build_up_mm, penumbra_k, penumbra, scatter, scatter_mm, 100 * self.smoothness.exp()
        )

    def objective(self, problem: Problem, flipped: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """(weight, aim) of the fit's voxels; on the axes `flipped` (-1: I, -3: K) the context is seen mirrored."""
        device = self.stem.weight.device
        dtype = autocast_dtype(device)
        coarse, place = problem.coarse[None], problem.place
        if flipped:
            coarse = coarse.flip(tuple(flipped))
            place = place * torch.tensor([-1.0 if axis in flipped else 1.0 for axis in (-1, -2, -3)])
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            context = self.context(self.blocks(self.stem(coarse.contiguous(memory_format=torch.channels_last_3d))))
        context = F.grid_sample(context.float(), place[None, None, None], padding_mode="border", align_corners=False)
        judged = self.judge(torch.cat((problem.features, context[0, :, 0, 0].T), 1))
        target = problem.level > 0
        base = torch.where(problem.organ[:, None], self.organs, self.tissue)
        weight = torch.where(target, 0, base[:, 0]) + 2 * judged[:, 0]
        aim = torch.where(
            target, problem.level * (1 + 0.2 * torch.tanh(judged[:, 1])), torch.sigmoid(base[:, 1] + 2 * judged[:, 1])
        )
        return weight.clamp(LOWEST_WEIGHT, HIGHEST_WEIGHT).exp() * problem.share, aim

    def forward(self, problem: Problem, flipped: Sequence[int] = ()) -> tuple[Tensor, Tensor]:
        """(fluence, dose of the fit's voxels in units of the mean dose in the highest target), without partners."""
        return self.delivered(problem, self.fit(problem, flipped), self.preferences, flipped)

    def fit(self, problem: Problem, flipped: Sequence[int] = (), *, views: bool | None = None) -> Fit:
        """The fit to the aims; `views`: whether the beams look at it, by default where there is a preference."""
        physics = self.physics()
        matrix = DoseMatrix(problem.rays, physics, problem.views.window)
        weight, aim = self.objective(problem, flipped)
        fluence = matrix.fit(weight, aim, problem.fluence, physics.smoothness)
        dose = matrix.dose(fluence)
        seen = None
        if self.preferences if views is None else views:
            with torch.no_grad():
                seen = problem.views.with_fit(
                    matrix,
                    problem.rays,
                    problem.share,
                    problem.level,
                    problem.organ,
                    weight,
                    aim,
                    dose / dose[problem.top].mean(),
                )
        return Fit(matrix, weight, aim, fluence, dose, seen)

    def delivered(
        self, problem: Problem, fit: Fit, preferences: Sequence[BeamPreference], flipped: Sequence[int] = ()
    ) -> tuple[Tensor, Tensor]:
        """As `forward`, for a fit: with the factors of its bixels, after which the fit is mended.

        Every second preference sees the patient mirrored: what several learned by chance cancels, that of the sides,
        too.
        """
        fluence, dose = fit.fluence, fit.dose
        if len(preferences):
            logarithms = [
                preference(fit.views, fluence, set(flipped) ^ ({-1} if n % 2 else set()))
                for n, preference in enumerate(preferences)
            ]
            changed = fluence * torch.stack(logarithms).mean(0).exp()
            changed = changed * (dose[problem.top].mean() / fit.matrix.dose(changed)[problem.top].mean())
            fluence = fit.matrix.refit(fit.weight, fit.aim, changed, self.physics().smoothness)
            dose = fit.matrix.dose(fluence)
        unit = dose[problem.top].mean()
        return fluence / unit, dose / unit

    def plan(self, patient: Patient, gantry_angles: Sequence[float]) -> np.ndarray:
        """Dose of the plan.

        Args:
            patient: what is planned for.
            gantry_angles: IEC 61217 in degrees, patient head first supine: 0 from anterior, 90 from the patient's left.
                The isocentre is the PTVs' centroid.

        Returns:
            (K, J, I) float32 in units of the highest prescription, which is the mean in its PTV; 0 outside the
            patient's region. All 0 where no PTV lies in the dose mask.
        """
        if not patient.plannable:
            return np.zeros(patient.ct.shape, np.float32)
        return Delivery(self, patient, gantry_angles).planned


def untrained_planner() -> Planner:
    """Prescriptions in the targets, little elsewhere; the same weights on every call."""
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(0)
        return Planner().eval().requires_grad_(False)


class Delivery:
    """What the beams can deliver to a plannable patient.

    Args:
        partners: whether the planner's partners plan, too; each adds a fit of its own.

    Attributes:
        planned: (K, J, I) float32, the plan as `Planner.plan` gives it.
    """

    @one_thread()
    @torch.inference_mode()
    def __init__(self, planner: Planner, patient: Patient, gantry_angles: Sequence[float], *, partners: bool = True):
        self.patient, self._planner = patient, planner
        self.problem, self._everywhere = make_problem(patient, gantry_angles)
        plans = in_threads(self._plan, [planner, *(planner.partners if partners else ())])
        self._matrix, self._all, self._fluence, _ = plans[0]
        self.planned = np.mean([dose for *_, dose in plans], 0)

    def _plan(self, planner: Planner) -> tuple[DoseMatrix, DoseMatrix, Tensor, np.ndarray]:
        """One planner's: dose of the fit's voxels and of all, fluence, and the plan's dose (K, J, I)."""
        fit = planner.fit(self.problem)
        fluence, _ = planner.delivered(self.problem, fit, planner.preferences)
        everywhere = DoseMatrix(self._everywhere, planner.physics(), self.problem.views.window)
        return fit.matrix, everywhere, fluence, self._dose(everywhere, fluence)

    def _dose(self, matrix: DoseMatrix, fluence: Tensor) -> np.ndarray:
        result = np.zeros(self.patient.ct.shape, np.float32)
        result[self.patient.region] = matrix.dose(fluence).numpy()
        return result

    @one_thread()
    @torch.inference_mode()
    def nearest(self, dose: np.ndarray) -> np.ndarray:
        """A deliverable dose (K, J, I) near any dose (K, J, I), both in units of the highest prescription.

        From the planner's plan on, a few steps towards the least squares in the dose mask: what little the fit is
        allowed to change keeps it near both.
        """
        wanted = torch.from_numpy(dose)[self.problem.voxels]
        weight = self.problem.share * torch.from_numpy(self.patient.dose_mask)[self.problem.voxels]
        smoothness = self._planner.physics().smoothness
        return self._dose(self._all, self._matrix.fit(weight, wanted, self._fluence, smoothness))

    def blended(self, dose: np.ndarray, nearest: float, planned: float = 0.0) -> np.ndarray:
        """A predicted dose (K, J, I), mixed with deliverable doses outside PTVs and organs at risk.

        Networks err where beams cannot go, so there the mean of the doses errs less than any. In the structures, whose
        DVHs the networks were trained for, the simple beam model costs more than it gives.

        Args:
            nearest, planned: shares of the deliverable dose nearest to the predicted one, and of the plan.
        """
        mixed = (1 - nearest - planned) * dose + planned * self.planned
        if nearest:
            mixed += nearest * self.nearest(dose)
        tissue = self.patient.dose_mask & (self.patient.level == 0) & (self.patient.organ == 0)
        return np.where(tissue, mixed, dose).astype(np.float32)


def make_problem(patient: Patient, gantry_angles: Sequence[float]) -> tuple[Problem, Rays]:
    """The fit for a plannable patient, and how all voxels of the patient's region see the beams."""
    region, spacing = patient.region, patient.spacing
    level = patient.level * patient.dose_mask
    target = level > 0
    top = level == level.max()
    organ = patient.organ * ~target
    step = 1 if np.count_nonzero(target) < MANY_TARGET_VOXELS else 2
    centre = [float(index.mean()) for index in np.nonzero(target)]
    beams = Beams(patient.ct, centre, spacing, gantry_angles)
    parts = [
        voxels_of(mask, n)
        for mask, n in (
            (target, step),
            (region & (organ > 0), ORGAN_STEP),
            (region & (organ == 0) & ~target, TISSUE_STEP),
        )
    ]
    share = torch.tensor([step, ORGAN_STEP, TISSUE_STEP]).repeat_interleave(torch.tensor([len(p[0]) for p in parts]))
    voxels = tuple(map(torch.cat, zip(*parts, strict=True)))
    rays = beams.rays(voxels)
    at = tuple(v.numpy() for v in voxels)
    of_level, of_top = torch.from_numpy(level[at]), torch.from_numpy(top[at])
    open_fields = DoseMatrix(rays, Physics())
    fluence = open_fields.open_fields(of_level)
    share = share.float()
    organs = torch.from_numpy(organ[at]).long()
    views = make_views(open_fields, rays, share, of_level, organs, len(ORGANS), fluence, gantry_angles, centre[0])
    open_dose = np.zeros(patient.ct.shape, np.float32)
    everywhere = beams.rays(voxels_of(region))
    open_dose[region] = DoseMatrix(everywhere, Physics(), views.window).dose(fluence)
    open_dose /= open_dose[top].mean()
    features = [
        torch.as_tensor(value).float().expand(region.shape)
        for value in _features(patient, level, organ, top, beams, open_dose)
    ]
    place = (2 * torch.stack(voxels, 1) + 1) / torch.tensor(patient.ct.shape) - 1
    return Problem(
        voxels,
        rays,
        share,
        of_level,
        of_top,
        organs > 0,
        torch.stack([feature[voxels] for feature in features], 1),
        torch.cat([F.avg_pool3d(feature[None], POOL) for feature in features]),
        place.flip(1),
        fluence,
        views,
    ), everywhere


def _features(
    patient: Patient, level: np.ndarray, organ: np.ndarray, top: np.ndarray, beams: Beams, open_dose: np.ndarray
) -> tuple:
    """FEATURES volumes, or what broadcasts to them; all the same for a patient and the mirrored one."""
    k, j, i = (
        torch.arange(n).view([-1 if axis == a else 1 for a in range(3)]) for axis, n in enumerate(patient.ct.shape)
    )
    target, spacing, centre = level > 0, patient.spacing, beams.centre
    to_target, to_top = (distance_mm(torch.from_numpy(mask), spacing) for mask in (target, top))
    slices = np.nonzero(target.any((1, 2)))[0]
    beyond = torch.maximum(slices[0] - k, k - slices[-1]).clamp(min=0) * spacing[0]
    behind_cord = (j - torch.from_numpy(_cord(organ, centre[1] + 30 / spacing[1]))[:, None, None]) * spacing[1]
    levels = torch.from_numpy(level)
    middle, low = (levels > 0.85) & (levels <= 0.95), (levels > 0) & (levels <= 0.85)
    volume = math.log(target.sum() * math.prod(spacing) / 4e5)
    return (
        torch.log1p(to_target) / 3,
        torch.log1p(to_top) / 3,
        torch.exp(-to_target / 15),
        torch.exp(-to_top / 15),
        *(torch.from_numpy(organ == n + 1) for n in range(len(ORGANS))),
        low,
        middle,
        levels > 0.95,
        torch.tanh(behind_cord / 30),
        (j - centre[1]) * spacing[1] / 100,
        ((i - centre[2]) * spacing[2] / 100).abs(),
        beyond / 50,
        torch.from_numpy(open_dose),
        beams.depth.amin(0) / 100,
        beams.depth.mean(0) / 200,
        torch.from_numpy(patient.dose_mask),
        spacing[0] / 4,
        spacing[1] / 4,
        volume,
        bool(middle.any()),
        bool(low.any()),
        torch.from_numpy(patient.ct.clip(-1000, 1000)) / 1000,
    )


def _cord(organ: np.ndarray, otherwise: float) -> np.ndarray:
    """(K,) the most posterior j of spinal cord and brainstem in every slice, interpolated where there is none."""
    cord = ((organ == 1) | (organ == 2)).any(2)
    slices = np.nonzero(cord.any(1))[0]
    if not len(slices):
        return np.full(len(organ), otherwise)
    last = cord.shape[1] - 1 - cord[slices, ::-1].argmax(1)
    return np.interp(np.arange(len(organ)), slices, last)


def distance_mm(mask: Tensor, spacing: Sequence[float]) -> Tensor:
    """(K, J, I) distance to the voxels of a mask, 0 inside; to a voxel exact. Computed on pairs of voxels in plane."""
    share = F.avg_pool3d(mask[None].float(), (1, 2, 2))[0]
    cells = share >= min(0.5, float(share.max()))
    square = (_slices_to(cells) * spacing[0]).square()
    for axis, step in ((1, 2 * spacing[1]), (2, 2 * spacing[2])):
        line = square.movedim(axis, 0)
        squares = ((torch.arange(len(line))[:, None] - torch.arange(len(line))) * step).square().float()
        nearest = torch.full_like(line, math.inf)
        for other, offset in zip(line, squares.view(len(line), len(line), 1, 1), strict=True):
            torch.minimum(nearest, other + offset, out=nearest)
        square = nearest.movedim(0, axis)
    distance = F.interpolate(square.sqrt()[None, None], size=mask.shape, mode="trilinear", align_corners=False)[0, 0]
    return distance * ~mask


def _slices_to(mask: Tensor) -> Tensor:
    """(K, J, I) how many slices away the nearest voxel of a mask is in the same column, infinite where none is."""
    k = torch.arange(float(len(mask)))[:, None, None]
    below = k - torch.where(mask, k, -math.inf).cummax(0).values
    above = torch.where(mask, k, math.inf).flip(0).cummin(0).values.flip(0) - k
    return torch.minimum(below, above)


def voxels_of(mask: np.ndarray, step: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(torch.from_numpy(index[::step]) for index in np.nonzero(mask))
