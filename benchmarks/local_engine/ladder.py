"""What a row of `benchmarks.local_engine` has measured, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.local_engine.usage import Usage
from loadtest.summary import Summary

SLOPE_LIMIT = 0.01  # of the rate: a backlog that grows faster is not sustained
COMPARED_AT = 100.0  # msg/s at which latencies are compared: a load that every row should carry
SUSTAINABLE_GOAL = 15.0  # ours / stock, at least
P50_GOAL = 0.2  # ours / stock at COMPARED_AT, at most


@dataclass(frozen=True)
class Step:
    """One rung of a row's ladder.

    Attributes:
        rate: In msg/s.
        schedule_missed: Whether the driver was late. Then its latencies are too high, and the rate was not
            offered.
    """

    rate: float
    summary: Summary
    usage: Usage
    sustained: bool
    schedule_missed: bool


@dataclass
class Row:
    """One job's climb, lowest rate first.

    Attributes:
        key: Of the side.
        error: What ended the climb before a step was measured.
    """

    key: str
    title: str
    ladder: Sequence[float]
    steps: list[Step] = field(default_factory=list)
    error: str | None = None

    @property
    def sustained(self) -> Step | None:
        """The highest step sustained."""
        return next((step for step in reversed(self.steps) if step.sustained), None)

    @property
    def reached_the_top(self) -> bool:
        """Whether no step failed, so that the sustainable rate may be higher than the ladder."""
        return bool(self.steps) and self.steps[-1].sustained and self.steps[-1].rate == self.ladder[-1]

    def step_at(self, rate: float) -> Step | None:
        """Return the step of that rate, the second one where it was tried twice; None if not measured."""
        return next((step for step in reversed(self.steps) if step.rate == rate), None)


@dataclass(frozen=True)
class Ratios:
    """Ours over stock; None where either was not measured."""

    sustainable: float | None
    p50: float | None


def is_sustained(rate: float, summary: Summary) -> bool:
    """Return whether a job has carried `rate` msg/s: all requests have results, and no backlog grew."""
    complete = not summary.failures() and not summary.dead_lettered
    slope = summary.backlog_slope
    return complete and slope is not None and slope < SLOPE_LIMIT * rate


def ratios(rows: Sequence[Row]) -> Ratios:
    """Compare the rows `c` and `a`, where both were run."""
    by_key = {row.key: row for row in rows}
    if not {"a", "c"} <= by_key.keys():
        return Ratios(None, None)
    stock, ours = by_key["a"], by_key["c"]
    return Ratios(
        sustainable=_over(_rate(ours.sustained), _rate(stock.sustained)),
        p50=_over(_p50(ours.step_at(COMPARED_AT)), _p50(stock.step_at(COMPARED_AT))),
    )


def _rate(step: Step | None) -> float | None:
    return step.rate if step else None


def _p50(step: Step | None) -> float | None:
    # Of a step that was not sustained, the latency says how long the run was.
    return step.summary.latency_ms["p50"] if step and step.sustained else None


def _over(ours: float | None, stock: float | None) -> float | None:
    return ours / stock if ours is not None and stock else None
