"""What a chart shows, apart from how it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadtest.raw_log import Floats


@dataclass(frozen=True)
class Line:
    """One line of a chart, or one layer or one row of bars.

    Attributes:
        label: In the legend.
        values: [n] at the chart's places; NaN is a gap.
        color: Number of a colour of the page, 1 to 8; 0 is the quiet grey.
        style: solid, dashed, or points for marks without a line.
    """

    label: str
    values: Floats
    color: int
    style: Literal["solid", "dashed", "points"] = "solid"


@dataclass(frozen=True)
class Mark:
    """A vertical line at one place, with its name."""

    at: float
    text: str


@dataclass(frozen=True)
class Shade:
    """A stretch that is set apart, with its name."""

    start: float
    end: float
    text: str


@dataclass(frozen=True)
class Chart:
    """One chart.

    Attributes:
        title: Its heading.
        text: What it shows, in a sentence: for those who do not see it, too.
        unit: Of the values.
        kind: lines; stack for layers that add up; bars for one bar at each place.
        axis: time for seconds; rate; quantile; or labels, where the places are 0, 1, 2 …
        places: [n] horizontal places.
        lines: Each with [n] values.
        logarithmic: Whether the vertical axis is; values of 0 are gaps then.
        labels: Of the places, for the axis "labels".
        place: What a place is, such as "size".
        marks: Vertical lines.
        shades: Stretches that are set apart.
    """

    title: str
    text: str
    unit: str
    kind: Literal["lines", "stack", "bars"]
    axis: Literal["time", "rate", "quantile", "labels"]
    places: Floats
    lines: Sequence[Line]
    logarithmic: bool = False
    labels: Sequence[str] = ()
    place: str = "at"
    marks: Sequence[Mark] = ()
    shades: Sequence[Shade] = ()


def spread(values: Floats) -> tuple[float, float, float] | None:
    """Return median, least and largest of the known values, or None without any."""
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    return float(np.median(known)), float(known.min()), float(known.max())
