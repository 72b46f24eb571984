"""The shapes of a schedule, and when each message of one is due, computed before the first one is sent.

An open loop: the times depend on the parameters only, never on how the system under test responds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from loadtest.schedule import curve
from loadtest.schedule.curve import Curve, Floats
from loadtest.schedule.trace import NO_TRACE, Trace

STEPS = 5
BURSTS = 5  # in the duration, where no period is given

# A burst lasts this part of its period, a spike of the duration, where no width is given.
WIDTH = 0.1

MAX_STEPS = 1_000

SHAPES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "constant": frozenset(),
        "poisson": frozenset(),
        "ramp": frozenset({"to_rate"}),
        "step": frozenset({"to_rate", "steps"}),
        "burst": frozenset({"to_rate", "period", "width"}),
        "spike": frozenset({"to_rate", "width"}),
        "sine": frozenset({"to_rate", "period"}),
        "trace": frozenset({"trace"}),
    }
)
"""Each shape, and the parameters that it takes beside rate and duration; a trace has its own of these."""


@dataclass(frozen=True)
class Schedule:
    """What decides when each message is due. Nothing is checked on construction: ask `problems()`.

    Attributes:
        shape: One of SHAPES. "constant" sends message k at k / rate. "poisson" is a Poisson process:
            exponential gaps of mean 1 / rate. "ramp" goes from `rate` straight to `to_rate`. "step" has
            `steps` levels of equal length and distance, from `rate` to `to_rate`. "burst" is at `to_rate` in
            the last `width` seconds of each `period`, else at `rate`. "spike" is at `to_rate` for the `width`
            seconds in the middle, else at `rate`. "sine" swings from `rate` to `to_rate` and back in each
            `period`. "trace" replays `trace`.
        rate: Messages a second; without effect on a trace.
        duration: Seconds after the warm-up; without effect on a trace.
        warmup: Seconds beforehand, at `rate`.
        seed: Of NumPy's default generator; it decides the arrivals of "poisson" alone.
        to_rate: Messages a second.
        steps: Levels; None for 5.
        period: Seconds; None for a fifth of the duration ("burst") or all of it ("sine").
        width: Seconds; None for a tenth of the period ("burst") or of the duration ("spike").
        trace: What is replayed.
    """

    shape: str
    rate: float
    duration: float
    warmup: float = 0.0
    seed: int = 1
    to_rate: float | None = None
    steps: int | None = None
    period: float | None = None
    width: float | None = None
    trace: Trace = NO_TRACE

    def __str__(self) -> str:
        """Return the shape and its parameters, spelt as flags."""
        if self.shape == "trace":
            return f"trace of {len(self.trace.offsets):,} messages"
        parameters = {"to_rate": self.to_rate, "steps": self._levels} | self._swing()
        return " ".join(
            [f"{self.shape} --rate={self.rate:g}"]
            + [f"--{name}={value:g}" for name, value in parameters.items() if name in SHAPES[self.shape]]
        )

    @property
    def seconds(self) -> float:
        """How long it lasts, the warm-up included."""
        return self.trace.duration if self.shape == "trace" else self.warmup + self.duration

    def due(self) -> float:
        """Return how many messages there are: the integral of the rate; expected, for "poisson"."""
        if self.shape == "trace":
            return len(self.trace.offsets)
        return self.rate * self.warmup + self._curve().due(self.duration)

    def due_at(self, seconds: Floats) -> Floats:
        """Return how many messages are due until each of [n] times after the start; expected, for "poisson".

        Beyond the end no more are due.
        """
        times = np.minimum(seconds, self.seconds)
        if self.shape == "trace":
            return np.searchsorted(self.trace.offsets, times).astype(np.float64)
        beforehand = self.rate * np.minimum(times, self.warmup)
        return beforehand + self._curve().due_at(np.maximum(times - self.warmup, 0.0))

    def offsets(self) -> Floats:
        """Return when each message is due, [n] seconds after the start, ascending, all in [0, seconds)."""
        if self.shape == "trace":
            return self.trace.offsets
        if self.shape == "poisson":
            return _poisson(self.rate, self.seconds, self.seed)
        if self.shape == "constant":
            return self._curve().offsets(self.seconds)
        beforehand = curve.level(self.rate).offsets(self.warmup)
        return np.concatenate([beforehand, self.warmup + self._curve().offsets(self.duration)])

    def problems(self) -> list[str]:
        """Return one line for each thing that is wrong, naming the flag and what to give."""
        if self.shape not in SHAPES:
            return [f"--schedule={self.shape} is unknown: choose one of {', '.join(SHAPES)}"]
        takes = SHAPES[self.shape]
        found = []
        for name, value in (("to_rate", self.to_rate), ("steps", self.steps), ("period", self.period),
                            ("width", self.width)):  # fmt: skip
            if value is None:
                continue
            if name not in takes:
                found.append(f"--{name} has no part in --schedule={self.shape}: leave it out")
            elif not math.isfinite(value) or value <= 0:
                found.append(f"--{name}={value:g} must be a number above 0")
        if "to_rate" in takes and self.to_rate is None:
            found.append(f"--to_rate is missing: give the messages a second that {self.shape} goes to")
        if "steps" in takes and not found and not 2 <= self._levels <= MAX_STEPS:
            found.append(f"--steps={self._levels} must be from 2 to {MAX_STEPS:,}")
        if "width" in takes and not found:
            whole, text = self._whole()
            if self._swing()["width"] >= whole:
                found.append(f"--width={self.width:g} must be below {text} ({whole:g})")
        return found + self._trace_problems()

    def _trace_problems(self) -> list[str]:
        if self.shape != "trace":
            return ["--trace: give --schedule=trace with it"] if len(self.trace.offsets) else []
        found = [] if len(self.trace.offsets) else ["--trace is missing: give the file to replay"]
        if self.warmup:
            found.append("--warmup does not go with --schedule=trace, which is replayed as it is")
        return found

    @property
    def _levels(self) -> int:
        return STEPS if self.steps is None else self.steps

    def _whole(self) -> tuple[float, str]:
        """Return the seconds in which a width lies, and the flag that says so."""
        if self.shape == "burst":
            return self._swing()["period"], "--period"
        return self.duration, "--duration"

    def _swing(self) -> dict[str, float]:
        """Return period and width."""
        period = self.period
        if period is None:
            period = self.duration / BURSTS if self.shape == "burst" else self.duration
        whole = period if self.shape == "burst" else self.duration
        return {"period": period, "width": WIDTH * whole if self.width is None else self.width}

    def _curve(self) -> Curve:
        rate, to_rate, duration = self.rate, self.to_rate or self.rate, self.duration
        period, width = self._swing().values()
        match self.shape:
            case "constant" | "poisson":
                return curve.level(rate)
            case "ramp":
                return curve.ramp(rate, to_rate, duration)
            case "step":
                rates = np.linspace(rate, to_rate, self._levels)
                return curve.levels(np.full(len(rates), duration / len(rates)), rates)
            case "burst":
                return curve.levels([period - width, width], [rate, to_rate])
            case "spike":
                around = (duration - width) / 2
                return curve.levels([around, width, around], [rate, to_rate, rate])
            case "sine":
                return curve.sine(rate, to_rate, period)
        raise ValueError(f"unknown schedule {self.shape!r}: choose one of {', '.join(SHAPES)}")


def _poisson(rate: float, duration: float, seed: int) -> Floats:
    generator = np.random.default_rng(seed)
    expected = rate * duration
    chunk = int(expected + 5 * np.sqrt(expected)) + 10
    offsets = np.cumsum(generator.exponential(1 / rate, chunk))
    while offsets[-1] < duration:
        more = offsets[-1] + np.cumsum(generator.exponential(1 / rate, chunk))
        offsets = np.concatenate([offsets, more])
    return offsets[offsets < duration]
