"""The charts of one run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from loadtest.analysis.analyse import Analysis
from loadtest.analysis.stages import Batches
from loadtest.figures import figure, milliseconds
from loadtest.raw_log import Floats
from loadtest.report.chart import Chart, Line, Mark, Shade, spread

# A chart with more bars has no room for their names on a narrow screen.
_MOST_BARS = 12

_STAGES = {"queue": 1, "batch_wait": 2, "inference": 3, "server": 5, "rest": 0}


def charts(analysis: Analysis) -> list[Chart]:
    """Return the charts of a run that have something to show, in the order of the page."""
    found = [_latency(analysis), _percentiles(analysis), _rates(analysis), _backlog(analysis)]
    found += [*_stages(analysis), *_batches(analysis)]
    return [chart for chart in found if any(np.isfinite(line.values).any() for line in chart.lines)]


def marks(analysis: Analysis) -> list[Mark]:
    """Return the scaling events, and where the growth of the backlog changed."""
    events = [Mark(event.at - analysis.facts.started, event.text) for event in analysis.events]
    changes = [Mark(regime.start, "backlog's growth changed") for regime in analysis.regimes[1:]]
    return sorted((*events, *changes), key=lambda mark: mark.at)


def shades(analysis: Analysis) -> list[Shade]:
    """Return what is no part of the window: the warm-up and the draining."""
    start, end = analysis.window
    last = float(analysis.per_second.start[-1] + analysis.per_second.step_s)
    found = [Shade(0.0, start, "warm-up, cut")] if start > 0 else []
    return [*found, Shade(end, last, "draining")] if last > end + analysis.per_second.step_s else found


def _latency(analysis: Analysis) -> Chart:
    series = analysis.per_second
    worst = series.latency_ms["max"]
    text = "No message was due."
    if known := spread(worst):
        at = series.start[int(np.nanargmax(worst))]
        typical = spread(series.latency_ms["p50"])
        assert typical is not None  # known where the maximum is
        text = (
            f"The median second has a p50 of {milliseconds(typical[0])}; the longest latency, "
            f"{milliseconds(known[2])}, was that of a message due at {at:,.0f} s."
        )
    colors = {"max": 0, "p99": 2, "p95": 3, "p50": 1}
    lines = [Line(name, series.latency_ms[name], color) for name, color in colors.items()]
    return _over_time(
        analysis, "Latency over time, from when each message was due", text, "ms", lines, log=True
    )


def _percentiles(analysis: Analysis) -> Chart:
    corrected, uncorrected = analysis.corrected.distribution, analysis.uncorrected.distribution
    places = np.array([q for q, _ in corrected])
    heights = dict(uncorrected)
    lines = [
        Line("from when it was due (corrected)", np.array([height for _, height in corrected]), 2),
        Line(
            "from when it was sent (uncorrected)",
            np.array([heights.get(q, np.nan) for q, _ in corrected]),
            1,
            "dashed",
        ),
    ]
    both = [latency.figures["p99"].value for latency in (analysis.corrected, analysis.uncorrected)]
    text = (
        f"At p99: {milliseconds(both[0])} from when a message was due, {milliseconds(both[1])} from when it "
        "was sent. The lines end where the samples do."
    )
    return Chart(
        "Latency by percentile",
        text,
        "ms",
        "lines",
        "quantile",
        places,
        lines,
        logarithmic=True,
        place="percentile",
    )


def _rates(analysis: Analysis) -> Chart:
    series, rates = analysis.per_second, analysis.rates
    lines = [
        Line("offered (due)", series.offered, 0, "dashed"),
        Line("achieved (sent)", series.achieved, 1),
        Line("answered", series.answered, 3),
    ]
    told = ", ".join(f"{name} {figure(rate.value)}/s" for name, rate in rates.items())
    return _over_time(analysis, "Rates", f"After the warm-up: {told}.", "1/s", lines)


def _backlog(analysis: Analysis) -> Chart:
    series = analysis.per_second
    known = spread(series.backlog)
    text = (
        f"Messages sent and not answered: {known[0]:,.0f} in the median, {known[2]:,.0f} at most."
        if known
        else ""
    )
    return _over_time(analysis, "Backlog", text, "messages", [Line("backlog", series.backlog, 4)])


def _stages(analysis: Analysis) -> Iterator[Chart]:
    if not analysis.stages:
        return
    times = dict(analysis.per_second.stages_ms)
    if np.isfinite(times["server"]).any():
        # It is a part of inference: as layers, the two must not count twice.
        times["inference"] = times["inference"] - np.nan_to_num(times["server"])
    lines = [
        Line(name.replace("_", " "), times[name], color)
        for name, color in _STAGES.items()
        if np.isfinite(times[name]).any()
    ]
    parts = [stage for stage in analysis.stages if stage.name != "server"]
    told = ", ".join(f"{stage.name.replace('_', ' ')} {stage.share * 100:.0f} %" for stage in parts)
    yield _over_time(
        analysis, "Where the time goes", f"Of the mean latency: {told}.", "ms", lines, kind="stack"
    )


def _batches(analysis: Analysis) -> Iterator[Chart]:
    if analysis.batches is None:
        return
    line = Line("mean batch size", analysis.per_second.batch_size, 3)
    text = (
        f"A call of the model had {figure(analysis.batches.mean)} requests in the mean, "
        f"{analysis.batches.largest:,} at most."
    )
    yield _over_time(analysis, "Batch size over time", text, "requests", [line])
    labels, shares = _histogram(analysis.batches)
    most = int(np.argmax(shares))
    text = f"{shares[most]:.0f} % of the requests were in a batch of {labels[most]}."
    bars = [Line("share of the requests", shares, 3)]
    places = np.arange(len(labels), dtype=np.float64)
    yield Chart(
        "Requests by the size of their batch", text, "%", "bars", "labels", places, bars, labels=labels
    )


def _histogram(batches: Batches) -> tuple[list[str], Floats]:
    """Return names of bars and each one's share of the requests; of many sizes, by powers of two."""
    sizes = np.array([size for size, _ in batches.requests_by_size])
    counts = np.array([count for _, count in batches.requests_by_size], dtype=np.float64)
    shares = counts / counts.sum() * 100
    if len(sizes) <= _MOST_BARS:
        return [f"{size:,}" for size in sizes.tolist()], shares
    power = np.ceil(np.log2(sizes)).astype(np.int64)
    labels = []
    for each in range(int(power.max()) + 1):
        low, high = 2 ** (each - 1) + 1, 2**each
        labels.append(f"{high:,}" if low >= high else f"{low:,}–{high:,}")
    return labels, np.bincount(power, shares, len(labels)).astype(np.float64)


def _over_time(
    analysis: Analysis,
    title: str,
    text: str,
    unit: str,
    lines: list[Line],
    *,
    kind: str = "lines",
    log: bool = False,
) -> Chart:
    return Chart(
        title,
        text,
        unit,
        "stack" if kind == "stack" else "lines",
        "time",
        analysis.per_second.start,
        lines,
        logarithmic=log,
        marks=marks(analysis),
        shades=shades(analysis),
    )
