"""What arrives: a rate over time, in the words of the load lab's schedules.

Written as `SHAPE RATE [TO_RATE] [DURATION] [NAME=VALUE …]`, or `trace FILE`:

    constant 800
    ramp 100 2000 30m
    burst 100 1000 1h period=10m width=1m
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.schedule.curve import Floats
from loadtest.schedule.shapes import SHAPES, Schedule
from loadtest.schedule.trace import Trace, TraceError, read_trace

DEFAULT_DURATION_S = 3_600.0

_UNITS: Mapping[str, float] = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_USAGE = "write SHAPE RATE [TO_RATE] [DURATION], as in 'constant 800' or 'ramp 100 2000 30m', or 'trace FILE'"


class WorkloadError(Exception):
    """The text describes no workload.

    Attributes:
        problems: One sentence for each reason.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Workload:
    """Messages over time.

    Attributes:
        schedule: When they are due. Of "poisson" it is the mean that counts here: the kernel of a worker
            draws its own arrivals.
        text: As it was written.
    """

    schedule: Schedule
    text: str

    @property
    def duration_s(self) -> float:
        """How long messages arrive, in seconds."""
        return self.schedule.seconds

    def arrived(self, times: Floats) -> Floats:
        """Return how many messages have arrived until each of [n] seconds after the start."""
        return self.schedule.due_at(times)

    def rates(self, step_s: float) -> Floats:
        """Return the mean rate of each step of so many seconds, [steps] messages a second.

        The last step may reach beyond the end.
        """
        return np.asarray(np.diff(self.arrived(edges(self.duration_s, step_s))) / step_s)

    def peak(self) -> float:
        """Return the highest mean rate of any second."""
        return float(self.rates(1.0).max())


def edges(duration_s: float, step_s: float) -> Floats:
    """Return the ends of the steps that cover a duration, [steps + 1] seconds from 0."""
    count = math.ceil(duration_s / step_s - 1e-9)
    return np.arange(count + 1, dtype=np.float64) * step_s


def parse_workload(text: str) -> Workload:
    """Return the workload that a text describes.

    Raises:
        WorkloadError: It describes none.
    """
    words = text.split()
    if not words or words[0] not in SHAPES:
        shape = f"{words[0]!r} is no shape: choose one of {', '.join(SHAPES)}" if words else "it is empty"
        raise WorkloadError([f"{shape}; {_USAGE}"])
    if words[0] == "trace":
        return _traced(text)
    shape, *rest = words
    named = dict(word.split("=", 1) for word in rest if "=" in word)
    plain = [word for word in rest if "=" not in word]
    wanted = ["rate"] + (["to_rate"] if "to_rate" in SHAPES[shape] else [])
    if not len(wanted) <= len(plain) <= len(wanted) + 1:
        names = " ".join(name.upper() for name in wanted)
        raise WorkloadError([f"{text!r}: write {shape} {names} [DURATION] [NAME=VALUE …]"])
    problems: list[str] = []
    values = {
        name: _value(name, word, _rate, problems) for name, word in zip(wanted, plain, strict=False)
    } | {name: _named(shape, name, word, problems) for name, word in named.items()}
    duration = DEFAULT_DURATION_S
    if len(plain) > len(wanted):
        duration = _value("duration", plain[-1], seconds, problems)
    if problems:
        raise WorkloadError(problems)
    schedule = Schedule(
        shape,
        values["rate"],
        duration,
        to_rate=values.get("to_rate"),
        steps=int(values["steps"]) if "steps" in values else None,
        period=values.get("period"),
        width=values.get("width"),
    )
    return _checked(schedule, text)


def from_trace(trace: Trace, text: str) -> Workload:
    """Return the workload of a recorded trace."""
    return _checked(Schedule("trace", trace.rate, trace.duration, trace=trace), text)


def seconds(text: str) -> float:
    """Return the seconds of a duration such as 90, 90s, 30m, 1.5h or 7d.

    Raises:
        ValueError: It is none above 0.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", text)
    if not found or float(found[1]) <= 0:
        raise ValueError(f"{text!r} is no duration above 0, such as 90s, 30m or 1.5h")
    return float(found[1]) * _UNITS[found[2]]


def _traced(text: str) -> Workload:
    path = text.split(maxsplit=1)[1].strip() if len(text.split(maxsplit=1)) == 2 else ""
    if not path:
        raise WorkloadError(["trace: give the file to replay, as in 'trace requests.jsonl'"])
    try:
        return from_trace(read_trace(Path(path)), text)
    except TraceError as error:
        raise WorkloadError(error.problems) from error


def _checked(schedule: Schedule, text: str) -> Workload:
    problems = schedule.problems()
    if not math.isfinite(schedule.rate) or schedule.rate <= 0:
        problems.append(f"rate={schedule.rate:g} must be a number above 0")
    if problems:
        raise WorkloadError([problem.replace("--", "") for problem in problems])
    return Workload(schedule, text)


def _rate(text: str) -> float:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        raise ValueError(f"{text!r} is no number of messages a second") from None


def _levels(text: str) -> float:
    if not text.isdigit():
        raise ValueError(f"{text!r} is no whole number")
    return float(text)


_NAMED: Mapping[str, Callable[[str], float]] = {"steps": _levels, "period": seconds, "width": seconds}


def _named(shape: str, name: str, word: str, problems: list[str]) -> float:
    if name not in _NAMED or name not in SHAPES[shape]:
        takes = ", ".join(sorted(SHAPES[shape] & set(_NAMED))) or "none"
        problems.append(f"{name}={word} has no part in {shape}: it takes {takes} by name")
        return math.nan
    return _value(name, word, _NAMED[name], problems)


def _value(name: str, word: str, convert: Callable[[str], float], problems: list[str]) -> float:
    try:
        return convert(word)
    except ValueError as error:
        problems.append(f"{name}: {error}")
        return math.nan
