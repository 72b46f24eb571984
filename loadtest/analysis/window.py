"""Which part of a run the figures are of: what comes after the warm-up, split where the system changed."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from loadtest.analysis.per_second import PerSecond
from loadtest.analysis.timeline import Timeline
from loadtest.raw_log import Floats
from loadtest.statistics.changes import cusum, windows
from loadtest.statistics.percentiles import quantile
from loadtest.statistics.stability import backlog_slope
from loadtest.statistics.warm_up import cut_seconds

# Their rate does not change by design, so that a change within them is the system's.
_STEADY_SHAPES = ("constant", "poisson")

# MSER-5 needs four groups of five.
_LEAST_SECONDS = 20

_GROUP = 5

# A cut that moves the mean of no series by so much is not made.
_SIGMAS = 3.0
_MATTERS = 0.02

# A shorter regime has no slope.
_LEAST_REGIME_S = 1.0


@dataclass(frozen=True)
class WarmUp:
    """What was cut from the start of a run.

    Attributes:
        cut_s: Seconds.
        asked_s: Of them set aside by the user.
        steady: Whether the run settled within its first half; None where that cannot be told: the schedule
            changes by design, so that nothing is cut but what the user set aside, or there are under 20 s.
    """

    cut_s: float
    asked_s: float
    steady: bool | None


@dataclass(frozen=True)
class Regime:
    """A stretch of the window in which the system behaved alike.

    Attributes:
        start: Seconds since the schedule's zero.
        end: The same.
        offered: Messages due, 1/s.
        answered: First answers, 1/s.
        p50_ms: Median of the corrected latency; None where no message was due.
        p99_ms: Its 99th percentile.
        backlog_slope: Growth of the backlog, messages a second; None where it is too short to tell.
    """

    start: float
    end: float
    offered: float
    answered: float
    p50_ms: float | None
    p99_ms: float | None
    backlog_slope: float | None


def warm_up(schedule: str, asked_s: float, duration: float, series: PerSecond, floor_s: float) -> WarmUp:
    """Return what to cut from the start: the largest of what was asked, the floor and MSER-5's cut.

    Args:
        schedule: As in the run's facts.
        asked_s: Set aside by the user.
        duration: Seconds of the schedule that were run.
        series: Of the run.
        floor_s: See `Settings`; at most half of the run is cut by it.
    """
    if schedule.partition(" ")[0] not in _STEADY_SHAPES:
        return WarmUp(min(asked_s, duration), asked_s, None)
    # Behind the schedule's end there is the draining, which is no part of the steady state.
    seconds = slice(max(1, int(duration // series.step_s)))
    floor = math.ceil(min(max(floor_s, asked_s), duration / 2) / series.step_s)
    p50, rate, backlog = series.latency_ms["p50"][seconds], series.answered[seconds], series.backlog[seconds]
    cut = cut_seconds(p50, rate, backlog, floor)
    index, steady = cut.index, cut.steady if len(p50) >= _LEAST_SECONDS else None
    if not any(_differs(each, floor, index) for each in (p50, rate, backlog)):
        index, steady = floor, None if steady is None else True
    return WarmUp(min(max(index * series.step_s, asked_s), duration), asked_s, steady)


def _differs(series: Floats, floor: int, cut: int) -> bool:
    """Return whether what lies between the floor and MSER-5's cut is unlike what comes after it.

    Of 2,000 series of 60 s of noise alone, MSER-5 cuts 8 % in the middle, and of three series it is the worst
    one that counts: half of a short run, and its p99.9, would be thrown away for nothing.
    """
    before, after = (_groups(part[~np.isnan(part)]) for part in (series[floor:cut], series[cut:]))
    if not len(before) or len(after) < 2:
        return bool(len(before))
    gap = abs(float(before.mean() - after.mean()))
    noise = float(after.std(ddof=1)) * math.sqrt(1 / len(before) + 1 / len(after))
    return gap > _SIGMAS * noise and gap > _MATTERS * abs(float(after.mean()))


def _groups(values: Floats) -> Floats:
    """Return the means of groups of five values, as MSER-5 takes them; of fewer, their one mean."""
    if len(values) < _GROUP:
        return np.array([values.mean()]) if len(values) else values
    return values[: len(values) // _GROUP * _GROUP].reshape(-1, _GROUP).mean(axis=1)


def regimes(messages: Timeline, series: PerSecond, start: float, end: float) -> tuple[Regime, ...]:
    """Return the stretches of a window between changes of the backlog's growth.

    Args:
        messages: Of the run.
        series: Of the same run.
        start: Of the window, seconds since the schedule's zero.
        end: Of the same.
    """
    first, last = math.ceil(start / series.step_s), int(end // series.step_s)
    growth = np.diff(series.backlog[first:last])
    changes = [start + (index + 1) * series.step_s for index in cusum(growth)] if len(growth) else []
    return tuple(_regime(messages, *bounds) for bounds in windows(start, end, changes))


def _regime(messages: Timeline, start: float, end: float) -> Regime:
    inside = (messages.intended >= start) & (messages.intended < end)
    latency = messages.corrected[inside] * 1e3
    answered = int(((messages.answered_at >= start) & (messages.answered_at < end)).sum())
    return Regime(
        start=start,
        end=end,
        offered=int(inside.sum()) / (end - start),
        answered=answered / (end - start),
        p50_ms=quantile(latency, 0.5) if len(latency) else None,
        p99_ms=quantile(latency, 0.99) if len(latency) else None,
        backlog_slope=(
            backlog_slope(messages.intended, messages.answered_at, start, end)
            if end - start >= _LEAST_REGIME_S
            else None
        ),
    )
