"""Objectives, such as "p99<250ms", and how far a probe is from them."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from loadtest.search.probes import Breach, Observation
from loadtest.statistics.percentiles import least_samples
from loadtest.statistics.stability import Stability

Comparison = Literal["<", "<=", "=", ">=", ">"]

_COMPARE = {"<": operator.lt, "<=": operator.le, "=": operator.eq, ">=": operator.ge, ">": operator.gt}
_SECONDS = {"ms": 1e-3, "s": 1.0}

LATENCIES = ("p50", "p90", "p95", "p99", "p99.9", "mean")
COUNTS = ("lost", "dead_letters", "duplicates", "errors")

# Metric: the units and the comparisons that it takes. Of those with "", the threshold is a count.
_TAKES: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    **dict.fromkeys(LATENCIES, (("ms", "s"), ("<", "<="))),
    **dict.fromkeys(COUNTS, (("", "%"), ("<", "<=", "="))),
    "achieved": (("%",), (">", ">=")),
    "backlog_slope": (("%",), ("<", "<=")),
}

_AS_WRITTEN: Mapping[str, Comparison] = {"<": "<", "<=": "<=", "=": "=", ">=": ">=", ">": ">"}
# What is true of a figure where the other is not. "=" has no counterpart: lost=0 fails where lost>0.
_TURNED_ROUND: Mapping[str, Comparison] = {"<": ">=", "<=": ">", ">=": "<", ">": "<="}

_OBJECTIVE = re.compile(r"\s*([a-z_]+[0-9.]*)\s*(<=|>=|<|>|=)\s*([0-9]+(?:\.[0-9]+)?)\s*([a-z%]*)\s*")


class ObjectiveError(ValueError):
    """A text is no objective; the message says what is wrong and what would be one."""


@dataclass(frozen=True)
class Figure:
    """One figure of a run.

    Attributes:
        value: Seconds for a latency; a count for lost, dead_letters, duplicates and errors; % of the schedule
            for achieved; % of the rate for backlog_slope.
        standard_error: Of it, in the same unit; NaN where it is not known.
    """

    value: float
    standard_error: float = math.nan


@dataclass(frozen=True)
class Objective:
    """A limit to one figure.

    Attributes:
        metric: Which figure.
        comparison: How it must stand to the threshold.
        threshold: In the unit.
        unit: "ms", "s", "%" (of counts: of the messages), or "" for a count.
    """

    metric: str
    comparison: Comparison
    threshold: float
    unit: str

    def __str__(self) -> str:
        return f"{self.metric}{self.comparison}{self.threshold:g}{self.unit}"

    def met(self, figure: Figure, n: int) -> bool:
        """Return whether a figure of a run of n messages meets the objective."""
        value = figure.value
        if self.metric in COUNTS and self.unit == "%":
            value = 100 * value / n
        return bool(_COMPARE[self.comparison](value, self.limit))

    @property
    def limit(self) -> float:
        """The threshold in the unit of `Figure`; of a count in %, in %."""
        return self.threshold * _SECONDS.get(self.unit, 1.0)


def parse(text: str) -> Objective:
    """Return the objective that a text such as "p99<250ms", "lost=0" or "achieved>=99%" says.

    Raises:
        ObjectiveError: It says none.
    """
    return _read(text, "no objective: write one as p99<250ms, lost=0 or achieved>=99%", _AS_WRITTEN)


def parse_failure(text: str) -> Objective:
    """Return the objective that is missed where what a text such as "p99>250ms" or "lost>0" says is so.

    Raises:
        ObjectiveError: It says nothing of the kind.
    """
    return _read(text, "no failure: write one as p99>250ms, lost>0 or achieved<99%", _TURNED_ROUND)


def _read(text: str, otherwise: str, comparisons: Mapping[str, Comparison]) -> Objective:
    """Return the objective of a text; `comparisons` has the objective's comparison by the one in the text."""
    found = _OBJECTIVE.fullmatch(text)
    if not found:
        raise ObjectiveError(f"{text!r} is {otherwise}")
    metric, written, number, unit = found.groups()
    if metric not in _TAKES:
        raise ObjectiveError(f"{text!r}: {metric} is unknown: choose {', '.join(_TAKES)}")
    units, taken = _TAKES[metric]
    if comparisons.get(written) not in taken:
        allowed = [sign for each in taken for sign, meant in comparisons.items() if meant == each]
        raise ObjectiveError(f"{text!r}: {metric} takes {' or '.join(allowed)}, not {written}")
    if unit not in units:
        known = " or ".join(unit or "a bare number" for unit in units)
        raise ObjectiveError(f"{text!r}: {metric} is in {known}, not {unit or 'a bare number'}")
    if metric in LATENCIES and not float(number):
        raise ObjectiveError(f"{text!r}: a latency cannot be below 0: raise the threshold")
    return Objective(metric, comparisons[written], float(number), unit)


@dataclass(frozen=True)
class Tier:
    """Objectives that must all be met; a search finds the boundary of each tier.

    Attributes:
        objectives: At least one.
    """

    objectives: tuple[Objective, ...]

    @classmethod
    def parse(cls, text: str) -> Tier:
        """Return the tier that a text such as "p99<100ms,lost=0" says.

        Raises:
            ObjectiveError: A part of it is no objective, or there is none.
        """
        return cls(tuple(parse(part) for part in text.split(",")))

    def __str__(self) -> str:
        return ",".join(map(str, self.objectives))

    @property
    def least_messages(self) -> int:
        """Messages under which one of its percentiles is refused."""
        percentiles = [one.metric for one in self.objectives if one.metric.startswith("p")]
        return max((least_samples(float(name[1:]) / 100) for name in percentiles), default=0)

    def observe(
        self, rate: float, figures: Mapping[str, Figure], n: int, stability: Stability
    ) -> Observation:
        """Return how far a probe is from the objectives.

        The margin is ln(figure / threshold) of the latency that is nearest to its threshold or furthest above
        it (-1 where no latency is among the objectives). Where the backlog grows or another objective is
        breached, it is 1 more, and at least 1: a short overload may not have reached the latency yet.

        Args:
            rate: Offered, messages a second.
            figures: By metric; those of the objectives must be there.
            n: Messages of the window.
            stability: Of the window.
        """
        breached = [one for one in self.objectives if not one.met(figures[one.metric], n)]
        latencies = [one for one in self.objectives if one.metric in LATENCIES]
        margin, standard_error = max(
            (_log_margin(figures[one.metric], one.limit) for one in latencies), default=(-1.0, 0.0)
        )
        if not stability.stable or any(one.metric not in LATENCIES for one in breached):
            margin = max(margin, 0.0) + 1
        first = None
        if breached:
            first = Breach(breached[0].metric, str(breached[0]), figures[breached[0].metric].value)
        elif not stability.stable:
            first = Breach("backlog_slope", "stable", 100 * stability.relative)
        return Observation(
            rate, margin, standard_error, first is None, n, stability.stable, stability.relative, first
        )


def _log_margin(figure: Figure, limit: float) -> tuple[float, float]:
    """Return ln(figure / limit) and its standard error, that of the figure over the figure."""
    value = max(figure.value, 1e-9)
    return math.log(value / limit), figure.standard_error / value
