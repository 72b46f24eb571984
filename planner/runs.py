"""Runs that somebody measured, beside what is predicted of them.

A file of runs is JSON: a list of them, or an object with the list under "runs", a "source" in words, and
"configuration" for what all have. Of a run, only "offered" is needed:

    {"name": "three workers", "configuration": {"min_workers": 3, "max_workers": 3, "job": {…}},
     "offered": 500, "seconds": 600, "achieved": 499, "p50_ms": 60, "p99_ms": 300, "workers": 3,
     "replicas": 2, "cost": 0.9}

Rates are in messages a second, latencies from publishing to the result, workers and replicas means of the
run, the cost is of an hour in US dollars. "configuration" has the flags of `plan predict`, such as "profile".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from planner.answer import KEPT_UP, Answer

FIGURES: Mapping[str, str] = {
    "achieved": "messages/s",
    "p50_ms": "ms",
    "p99_ms": "ms",
    "workers": "",
    "replicas": "",
    "cost": "$ an hour",
}
"""What a run may have been measured in, with the unit."""
# Latencies of a run that kept up, as was predicted, and which are further off than this, have a cause that is
# not in the model: workers that came late, unequal load, another service's pause.
_EXPLAINED = 5.0
_DEFAULT_S = 600.0


class RunsError(Exception):
    """A file holds no runs; the message says what is wrong and where."""


class Run(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One run, as the file has it; the module says in which units."""

    offered: float
    name: str = ""
    configuration: dict[str, Any] = {}
    seconds: float = _DEFAULT_S
    achieved: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    workers: float | None = None
    replicas: float | None = None
    cost: float | None = None

    @property
    def measured(self) -> dict[str, float]:
        """What was measured, by name."""
        values = {name: getattr(self, name) for name in FIGURES}
        return {name: value for name, value in values.items() if value is not None}


class Runs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of runs.

    Attributes:
        runs: Each of them.
        source: Whose they are, in words.
        configuration: What all have.
    """

    runs: list[Run]
    source: str = ""
    configuration: dict[str, Any] = {}


@dataclass(frozen=True)
class Compared:
    """A run beside its prediction.

    Attributes:
        run: As measured.
        answer: As predicted.
        predicted: By the names of FIGURES, those that were measured.
    """

    run: Run
    answer: Answer
    predicted: dict[str, float]

    @property
    def errors(self) -> dict[str, float]:
        """Predicted over measured, less 1, of what was measured and is not 0."""
        return {
            name: self.predicted[name] / value - 1
            for name, value in self.run.measured.items()
            if value > 0 and name in self.predicted
        }

    @property
    def unexplained(self) -> str:
        """What was measured that the model has no cause for; empty where there is nothing."""
        run = self.run
        measured_up = run.achieved is None or run.achieved >= KEPT_UP * run.offered
        predicted_up = bool(self.answer.prediction.done_share[0] >= KEPT_UP)
        if measured_up != predicted_up:
            words = {True: "kept up", False: "did not keep up"}
            return f"it {words[measured_up]}, and by the prediction it {words[predicted_up]}"
        if not measured_up:
            return ""
        far = [name for name in ("p50_ms", "p99_ms") if self._factor(name) > _EXPLAINED]
        times = ", ".join(f"{name} is off by a factor of {self._factor(name):.1f}" for name in far)
        return f"it kept up, and {times}: a cause that is not in the model" if far else ""

    def _factor(self, name: str) -> float:
        ratio = 1 + self.errors.get(name, 0.0)
        return max(ratio, 1 / ratio) if ratio > 0 else float("inf")


@dataclass(frozen=True)
class Score:
    """How well one figure is predicted over runs.

    Attributes:
        name: Of FIGURES.
        n: Runs that have it.
        mape: Mean of the errors' magnitudes, as a share.
        signed: Mean of the errors with their sign.
        worst: The run that is furthest off.
        worst_error: Of it, with its sign.
    """

    name: str
    n: int
    mape: float
    signed: float
    worst: str
    worst_error: float


def read_runs(path: Path) -> Runs:
    """Read a file of runs.

    Raises:
        RunsError: It is unreadable, or has something else.
    """
    try:
        content = msgspec.json.decode(path.read_bytes())
        if isinstance(content, list):
            content = {"runs": content}
        found = msgspec.convert(content, Runs)
    except OSError as error:
        raise RunsError(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        names = ", ".join(Run.__struct_fields__)
        raise RunsError(f"{path}: {error}; a run has of {names}, and needs offered") from error
    if not found.runs:
        raise RunsError(f"{path} has no runs")
    for number, run in enumerate(found.runs, start=1):
        if run.offered <= 0 or run.seconds <= 0 or any(value < 0 for value in run.measured.values()):
            raise RunsError(f"{path}: run {number}: offered and seconds must be above 0, none below")
    return found


def compared(run: Run, answer: Answer) -> Compared:
    """Return a run beside its prediction, by the defaults of what is not known."""
    prediction = answer.prediction
    p50, p99 = prediction.latencies.percentiles([50.0, 99.0])[:, 0] * 1e3
    cost = answer.bill.hour.as_json()["usd"]
    values = {
        "achieved": float(prediction.done_share[0]) * run.offered,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "workers": float(prediction.timeline["workers"][:, 0].mean()),
        "cost": float(cost),
    }
    if prediction.job.endpoint:
        values["replicas"] = float(prediction.timeline["replicas"][:, 0].mean())
    return Compared(run, answer, values)


def scores(found: Sequence[Compared]) -> list[Score]:
    """Return how well each figure is predicted; of all runs, those that are not explained with them."""
    result = []
    for name in FIGURES:
        pairs = [(each, each.errors[name]) for each in found if name in each.errors]
        if not pairs:
            continue
        errors = np.array([error for _, error in pairs])
        worst, error = max(pairs, key=lambda pair: abs(pair[1]))
        result.append(
            Score(
                name,
                len(pairs),
                float(np.abs(errors).mean()),
                float(errors.mean()),
                worst.run.name or f"offered {worst.run.offered:g}",
                error,
            )
        )
    return result
