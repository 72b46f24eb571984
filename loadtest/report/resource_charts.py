"""Charts of what was sampled beside the messages: processes, workers, GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from loadtest.analysis.analyse import Analysis
from loadtest.analysis.resources import Resource
from loadtest.figures import figure
from loadtest.raw_log import Floats
from loadtest.report.chart import Chart, Line
from loadtest.report.charts import marks, shades

_MOST_LINES = 8  # as many colours as the page has
# What is drawn together, by the series' names: counts of machines and shares of them have the unit 1, and on
# one scale with the backlog they would be a line at 0.
_TITLES = (
    (re.compile(r"/(target_)?(workers|replicas)$|/vcpus$"), "Workers, replicas and vCPUs"),
    (re.compile(r"/(cpu|duty_cycle|(gpu_)?utilization|gpu_memory_activity|sm_\w+)$"), "Utilization"),
    (re.compile(r"/backlog$"), "Backlog of the subscription"),
    (re.compile(r"^endpoint/(responses/|errors$)"), "Responses of the endpoint, cumulative"),
    (re.compile(r"^endpoint/latency_"), "Latency of the endpoint"),
    (re.compile(r"^job/scaling/"), "Reasons of the autoscaler, 1 while one holds"),
    (re.compile(r"/pcie_\w+$"), "PCIe"),
    (re.compile(r"/power_w$"), "Power"),
    (re.compile(r"/cpu_s$"), "Processors in use"),
    (re.compile(r"bytes$"), "Memory in use"),
)
_MIB = 2**20
# Two samples that are further apart than this, in usual distances, have a gap between them.
_GAP = 2.5


def resource_charts(analysis: Analysis) -> list[Chart]:
    """Return a chart for each kind of what was sampled; for many series of one kind, several."""
    drawn: dict[tuple[str, str], list[Resource]] = {}
    for resource in analysis.resources:
        if len(resource.at):
            title = next((title for name, title in _TITLES if name.search(resource.name)), "")
            drawn.setdefault((title, resource.unit), []).append(resource)
    return [chart for (title, _), chosen in drawn.items() for chart in _charts(analysis, title, chosen)]


def unavailable(analysis: Analysis) -> list[tuple[str, str]]:
    """Return name and reason of each series that could not be read, or only in part."""
    return [(one.name, one.unavailable) for one in analysis.resources if one.unavailable]


def _charts(analysis: Analysis, title: str, chosen: Sequence[Resource]) -> Iterator[Chart]:
    # The unit of a number is nothing to read.
    scale, unit = {"bytes": (1 / _MIB, "MiB"), "1": (1.0, "")}.get(chosen[0].unit, (1.0, chosen[0].unit))
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
        yield Chart(
            title or ", ".join(dict.fromkeys(resource.name for resource in group)),
            f"Mean after the warm-up{f', {unit}' if unit else ''}: {', '.join(told)}." if told else "",
            unit,
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
