"""The samples of a run, such as processor time and workers, as series that can be drawn."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.analysis.per_second import MAX_POINTS
from loadtest.raw_log import Floats, RawLog, Source

# Quantities that only ever grow: their slope is what tells something.
_CPU_SECONDS = "cpu_s"


@dataclass(frozen=True)
class Resource:
    """One quantity over time.

    Attributes:
        name: As in the raw log.
        unit: Such as "cores", "bytes"; of processor time "cores", as it is shown as its slope.
        source: Who measured it.
        unavailable: Why it could not be read; empty where it was.
        at: [m] seconds since the schedule's zero, at most `MAX_POINTS`.
        values: [m] in the unit.
        mean: Over the window; None without any sample in it.
    """

    name: str
    unit: str
    source: Source
    unavailable: str
    at: Floats
    values: Floats
    mean: float | None


def resources(log: RawLog, start: float, end: float) -> tuple[Resource, ...]:
    """Return every series of a run, by name.

    Args:
        log: Of the run.
        start: Of the window that the means are over, seconds since the schedule's zero.
        end: Of the same.
    """
    found = []
    for name in sorted(log.series):
        series = log.series[name]
        at, values = log.values(name)
        at, unit = at - log.facts.started, series.unit
        mean = None
        if name.rpartition("/")[2] == _CPU_SECONDS:
            mean = _slope(at, values, start, end)
            step = _every(at)
            at, values = at[::step], values[::step]
            gaps = np.diff(at)
            kept = gaps > 0
            values, at, unit = np.diff(values)[kept] / gaps[kept], at[1:][kept], "cores"
        elif len(inside := values[(at >= start) & (at < end)]):
            mean = float(inside.mean())
            step = _every(at)
            at, values = at[::step], values[::step]
        found.append(Resource(name, unit, series.source, series.unavailable, at, values, mean))
    return tuple(found)


def _every(at: Floats) -> int:
    """Return of how many samples one is drawn."""
    return -(-len(at) // MAX_POINTS) or 1


def _slope(at: Floats, values: Floats, start: float, end: float) -> float | None:
    inside = np.flatnonzero((at >= start) & (at <= end))
    if len(inside) < 2:
        return None
    first, last = inside[0], inside[-1]
    return float((values[last] - values[first]) / (at[last] - at[first]))
