"""Charts of what was sampled beside the messages: processes, workers, GPUs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from loadtest.analysis.analyse import Analysis
from loadtest.analysis.resources import Resource
from loadtest.figures import figure
from loadtest.raw_log import Floats
from loadtest.report.chart import Chart, Line
from loadtest.report.charts import marks, shades

_MOST_LINES = 8  # as many colours as the page has
_TITLES = {"cores": "Processors in use", "bytes": "Memory in use"}
_MIB = 2**20
# Two samples that are further apart than this, in usual distances, have a gap between them.
_GAP = 2.5


def resource_charts(analysis: Analysis) -> list[Chart]:
    """Return a chart for each unit that was sampled; for many series of one unit, several."""
    drawn = [resource for resource in analysis.resources if len(resource.at)]
    units = dict.fromkeys(resource.unit for resource in drawn)
    return [chart for unit in units for chart in _charts(analysis, unit, drawn)]


def unavailable(analysis: Analysis) -> list[tuple[str, str]]:
    """Return name and reason of each series that could not be read, or only in part."""
    return [(one.name, one.unavailable) for one in analysis.resources if one.unavailable]


def _charts(analysis: Analysis, unit: str, drawn: Sequence[Resource]) -> Iterator[Chart]:
    chosen = [resource for resource in drawn if resource.unit == unit]
    scale, shown_unit = (1 / _MIB, "MiB") if unit == "bytes" else (1.0, unit)
    for first in range(0, len(chosen), _MOST_LINES):
        group = chosen[first : first + _MOST_LINES]
        places = np.unique(np.concatenate([resource.at for resource in group]))
        lines = [
            Line(_label(resource), _at(places, resource) * scale, color + 1)
            for color, resource in enumerate(group)
        ]
        told = [
            f"{_label(resource)} {figure(resource.mean * scale)}"
            for resource in group
            if resource.mean is not None
        ]
        title = _TITLES.get(unit) or ", ".join(dict.fromkeys(resource.name for resource in group))
        yield Chart(
            title,
            f"Mean after the warm-up, {shown_unit}: {', '.join(told)}." if told else "",
            shown_unit,
            "lines",
            "time",
            places,
            lines,
            marks=marks(analysis),
            shades=shades(analysis),
        )


def _label(resource: Resource) -> str:
    """Return the name; of a process without the quantity, which the title says."""
    return resource.name.rpartition("/")[0] if resource.source == "process" else resource.name


def _at(places: Floats, resource: Resource) -> Floats:
    """Return the values at the places of all series of a chart, NaN where it has a gap.

    Those of other sources lie between its own, where a line needs values, too.
    """
    values = np.interp(places, resource.at, resource.values, left=np.nan, right=np.nan)
    gaps = np.diff(resource.at)
    if len(gaps):
        for index in np.flatnonzero(gaps > _GAP * np.median(gaps)):
            values[(places > resource.at[index]) & (places < resource.at[index + 1])] = np.nan
    return values
