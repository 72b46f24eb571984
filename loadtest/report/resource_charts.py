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


def resource_charts(analysis: Analysis) -> list[Chart]:
    """Return a chart for each unit that was sampled; for many series of one unit, several."""
    drawn = [resource for resource in analysis.resources if len(resource.at)]
    units = dict.fromkeys(resource.unit for resource in drawn)
    return [chart for unit in units for chart in _charts(analysis, unit, drawn)]


def unavailable(analysis: Analysis) -> list[tuple[str, str]]:
    """Return name and reason of each series that could not be read."""
    return [(one.name, one.unavailable) for one in analysis.resources if one.unavailable]


def _charts(analysis: Analysis, unit: str, drawn: Sequence[Resource]) -> Iterator[Chart]:
    chosen = [resource for resource in drawn if resource.unit == unit]
    scale, shown_unit = (1 / _MIB, "MiB") if unit == "bytes" else (1.0, unit)
    for first in range(0, len(chosen), _MOST_LINES):
        group = chosen[first : first + _MOST_LINES]
        places = np.unique(np.concatenate([resource.at for resource in group]))
        lines = [
            Line(_label(resource, unit), _at(places, resource) * scale, color + 1)
            for color, resource in enumerate(group)
        ]
        told = [
            f"{_label(resource, unit)} {figure(resource.mean * scale)}"
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


def _label(resource: Resource, unit: str) -> str:
    # The title says which quantity of the processes it is.
    return resource.name.rpartition("/")[0] or resource.name if unit in _TITLES else resource.name


def _at(places: Floats, resource: Resource) -> Floats:
    values = np.full(len(places), np.nan)
    values[np.searchsorted(places, resource.at)] = resource.values
    return values
