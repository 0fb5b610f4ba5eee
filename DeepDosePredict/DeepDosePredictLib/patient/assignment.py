"""Which contour went in as what, where that comes from, and what was left out and why: the account of a case."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from .rois import prescription

Roles = dict[str, tuple[str, ...]]
"""Role -> IDs of the contours that are united for it. Roles are "PTV70" and the like, OARS, EXTERNAL, DOSE_MASK."""
LEFT_OUT = "left out: "


@dataclass(frozen=True)
class ContourUse:
    """What became of one contour.

    Attributes:
        contour: its name.
        segment: its segment ID or ROI number; its name where it has none.
        role: what it is used as, such as "PTV70" or "Larynx"; "" where it is left out.
        source: where role and, of a target, prescription come from: "name", "user", "RTPLAN dose reference", ...
        note: why it is left out, or what is doubted about it, in words; "" where nothing is to be said.
        doubted: whether the user should confirm how it is used or left out.
    """

    contour: str
    segment: str
    role: str = ""
    source: str = ""
    note: str = ""
    doubted: bool = False

    @property
    def prescription_gy(self) -> float | None:
        return prescription(self.role)


@dataclass(frozen=True)
class Assignment:
    """The account of all contours of a patient: targets from the highest down, organs, then what is left out."""

    uses: tuple[ContourUse, ...] = ()

    @classmethod
    def of_rois(cls, names: Iterable[str], source: str = "file") -> Assignment:
        """The account of a case whose file names its ROIs by their roles."""
        return cls(tuple(ContourUse(name, name, name, source) for name in names)).ordered()

    @property
    def roles(self) -> Roles:
        roles: Roles = {}
        for use in self.used:
            roles[use.role] = (*roles.get(use.role, ()), use.segment)
        return roles

    @property
    def used(self) -> tuple[ContourUse, ...]:
        return tuple(use for use in self.uses if use.role)

    @property
    def left_out(self) -> tuple[ContourUse, ...]:
        return tuple(use for use in self.uses if not use.role)

    @property
    def doubted(self) -> tuple[ContourUse, ...]:
        return tuple(use for use in self.uses if use.doubted)

    def warnings(self) -> tuple[str, ...]:
        """What is doubted, in words, and which contours are united."""
        united = [
            f"{' and '.join(use.contour for use in self.used if use.role == role)} are united to {role}"
            for role, segments in self.roles.items()
            if len(segments) > 1
        ]
        doubts = [f"{use.contour}{':' if use.role else ' was not used:'} {use.note}" for use in self.doubted]
        return (*doubts, *united)

    def without(self, contours: Collection[tuple[str, str]], why: str) -> Assignment:
        """The account after some contours, given as (role, name), turned out to be of no use."""
        uses = (replace(use, role="", note=why) if (use.role, use.contour) in contours else use for use in self.uses)
        return Assignment(tuple(uses)).ordered()

    def ordered(self) -> Assignment:
        key = {use: (not use.role, -(use.prescription_gy or 0)) for use in self.uses}
        return Assignment(tuple(sorted(self.uses, key=key.__getitem__)))

    def left_out_by_reason(self) -> dict[str, list[ContourUse]]:
        """{why: contours} of what is left out, what is doubted first."""
        groups: dict[str, list[ContourUse]] = {}
        for use in sorted(self.left_out, key=lambda use: not use.doubted):
            groups.setdefault(use.note, []).append(use)
        return groups

    def lines(self) -> list[str]:
        """For the console: one line for each contour that is used, one for all that are left out."""
        used = [
            f"{use.contour} -> {use.role} (from {use.source or 'script'})" + f"; {use.note}" * use.doubted
            for use in self.used
        ]
        groups = ((", ".join(use.contour for use in uses), note) for note, uses in self.left_out_by_reason().items())
        left_out = "; ".join(f"{names} ({note})" if note else names for names, note in groups)
        return [*used, f"{LEFT_OUT}{left_out}"] if left_out else used

    def to_json(self) -> list[dict]:
        return [asdict(use) for use in self.uses]

    @classmethod
    def from_json(cls, content: Iterable[Mapping]) -> Assignment:
        """TypeError or ValueError for what `to_json` did not write."""
        uses = tuple(ContourUse(**entry) for entry in content)
        words = (word for use in uses for word in (use.contour, use.segment, use.role, use.source, use.note))
        if not all(isinstance(word, str) for word in words) or not all(isinstance(use.doubted, bool) for use in uses):
            raise ValueError("values of the wrong type")
        return cls(uses)


def summary(lines: Sequence[str], longest: int = 200) -> str:
    """Of the lines of an account: how many contours are used, and the beginning of what is left out."""
    if not lines:
        return ""
    *used, last = lines if lines[-1].startswith(LEFT_OUT) else (*lines, "nothing is left out")
    shown = last if len(last) <= longest else f"{last[: longest - 1].rstrip()}…"
    return f"{len(used)} {'contour is' if len(used) == 1 else 'contours are'} used; {shown}"
