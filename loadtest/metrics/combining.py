"""Several time series of Cloud Monitoring as one series of the raw log."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from loadtest.metrics.cloud_metrics import Metric
from loadtest.metrics.monitoring_api import TimeSeries
from loadtest.raw_log import Sample

# A series counts at the moments of the others while its own value is at most one and a half samplings old:
# longer, and what is gone would be counted; shorter, and each would be alone at its own moments.
_FRESH_S = 90.0

_OF_VALUES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "sum": sum,
    "mean": lambda values: sum(values) / len(values),
    "max": max,
}


def combined(metric: Metric, series: Sequence[TimeSeries]) -> dict[str, list[Sample]]:
    """Return the samples of each series of the raw log, by its name and in the order of time.

    Counts of intervals become cumulative: 0 at the start of the first interval, from then on their sum. For
    all else, the values of one moment are combined, of those series whose last value is recent.
    """
    groups: dict[str, list[TimeSeries]] = defaultdict(list)
    for one in series:
        if one.points:
            labels = [one.labels.get(label, "") for label in metric.labels]
            groups["/".join([metric.series, *labels])].append(one)
    make = _cumulative if metric.combine == "count" else _momentary
    return {name: make(name, metric, group) for name, group in sorted(groups.items())}


def _momentary(name: str, metric: Metric, series: Sequence[TimeSeries]) -> list[Sample]:
    combine = _OF_VALUES[metric.combine]
    arrivals = sorted(
        (point.end, place, point.value) for place, one in enumerate(series) for point in one.points
    )
    latest: dict[int, tuple[float, float]] = {}
    samples: list[Sample] = []
    for at, place, value in arrivals:
        latest[place] = at, value
        fresh = [last for since, last in latest.values() if at - since <= _FRESH_S]
        if samples and samples[-1].at == at:
            samples.pop()  # another series has a value of the same moment: only the combination counts
        samples.append(Sample(at, name, combine(fresh) * metric.scale))
    return samples


def _cumulative(name: str, metric: Metric, series: Sequence[TimeSeries]) -> list[Sample]:
    points = sorted((point for one in series for point in one.points), key=lambda point: point.end)
    total = 0.0
    samples = [Sample(min(point.start for point in points), name, total)]
    for point in points:
        total += point.value * metric.scale
        if samples[-1].at == point.end:
            samples.pop()
        samples.append(Sample(point.end, name, total))
    return samples
