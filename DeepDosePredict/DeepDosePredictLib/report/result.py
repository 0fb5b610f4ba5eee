"""What a finished prediction left behind, as result.json in the patient's output folder.

It is written last, so a folder with a readable one is complete. Runs over a cohort know by it what is finished, and
summary and report are built from it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..errors import CaseError
from ..patient.assignment import Assignment
from ..trust.scope import UNLIKE

RESULT, SUMMARY = "result.json", "summary.csv"
"""Of a patient, and of the cohort in the folder above."""


@dataclass(frozen=True)
class MetricValue:
    """A DVH metric of a structure, in `unit`.

    `reference` is None where there is no reference dose, `explored` where nothing was explored; `low` and `high`, the
    ends of the interval, where nothing is known of the model's errors.
    """

    structure: str
    metric: str
    unit: str
    reference: float | None
    predicted: float
    explored: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def difference(self) -> float | None:
        """Predicted - reference."""
        return None if self.reference is None else self.predicted - self.reference

    @property
    def change(self) -> float | None:
        """Explored - predicted."""
        return None if self.explored is None else self.explored - self.predicted


@dataclass(frozen=True)
class Exploration:
    """How an explored dose came about.

    Attributes:
        priorities: {structure: steps}, those found for wanted doses among them.
        wanted: {organ: mean dose in Gy}.
        gantry_angles: of the explored dose, in degrees.
        sentences: what was not reached, and what the curves say.
    """

    priorities: dict[str, float]
    wanted: dict[str, float]
    gantry_angles: Sequence[float]
    sentences: Sequence[str]


@dataclass(frozen=True)
class Result:
    """One prediction, or a dose explored from it.

    Attributes:
        patient: name.
        key: hash of model, inputs and options; two results with one key are the same.
        model: name and version.
        model_sha256: hash of the model file.
        version: of this program.
        finished: date and time, ISO 8601 with time zone.
        seconds: from Case to dose.
        device: where the network ran.
        warnings: what to know before trusting the dose, in words.
        dose_error, dvh_error: of the folder's dose against the reference dose in Gy, None without one.
        metrics: of every structure with voxels.
        files: {name: bytes} of the other files in the folder.
        assignment: which contour was used as what, and what was left out and why.
        explored: None where the folder's dose is the prediction.
        scope: whether the patient is of the kind that the model learnt from, in words.
        intervals: where the intervals of the metrics come from, or why there are none, in words.
        plan_check: a sentence about the reference plan as a whole, then one for each metric outside its interval.
    """

    patient: str
    key: str
    model: str
    model_sha256: str
    version: str
    finished: str
    seconds: float
    device: str
    warnings: Sequence[str]
    dose_error: float | None
    dvh_error: float | None
    metrics: Sequence[MetricValue]
    files: dict[str, int]
    assignment: Assignment = field(default_factory=Assignment)
    explored: Exploration | None = None
    scope: str = ""
    intervals: str = ""
    plan_check: Sequence[str] = ()

    @property
    def is_unlike(self) -> bool:
        """Whether the patient is none of the model's kind."""
        return self.scope.startswith(UNLIKE)

    def to_json(self) -> bytes:
        return json.dumps({**asdict(self), "assignment": self.assignment.to_json()}, indent=1).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Result:
        """ValueError, TypeError or KeyError for what `to_json` did not write."""
        content = json.loads(text)
        result = cls(
            **{
                **content,
                "metrics": tuple(MetricValue(**entry) for entry in content["metrics"]),
                "warnings": tuple(map(str, content["warnings"])),
                "plan_check": tuple(map(str, content.get("plan_check", ()))),
                "assignment": Assignment.from_json(content["assignment"]),
                "explored": Exploration(**explored) if (explored := content.get("explored")) else None,
            }
        )
        words = (
            result.patient,
            result.key,
            result.model,
            result.model_sha256,
            result.version,
            result.finished,
            result.device,
            result.scope,
            result.intervals,
            *(word for m in result.metrics for word in (m.structure, m.metric, m.unit)),
        )
        numbers = (result.seconds, *result.files.values(), *(m.predicted for m in result.metrics))
        optional = (
            result.dose_error,
            result.dvh_error,
            *(m.reference for m in result.metrics),
            *(value for m in result.metrics for value in (m.explored, m.low, m.high)),
        )
        if not (
            all(isinstance(word, str) for word in words)
            and all(isinstance(n, int | float) for n in numbers)
            and all(n is None or isinstance(n, int | float) for n in optional)
        ):
            raise ValueError("values of the wrong type")
        return result


def read_result(folder: str | Path) -> Result:
    """The result in an output folder; CaseError if there is none, or a file that it names is not there in full."""
    path = Path(folder) / RESULT
    try:
        result = Result.from_json(path.read_bytes())
        missing = [name for name, size in result.files.items() if (path.parent / name).stat().st_size != size]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CaseError(f"{path}: not a finished result ({error}); predict again") from error
    if missing:
        raise CaseError(f"{path}: {', '.join(missing)} changed since; predict again")
    return result
