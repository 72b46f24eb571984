"""Several runs side by side; the first is what the others are compared with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.analysis.analyse import Analysis
from loadtest.analysis.figure import Figure
from loadtest.analysis.latency import QUANTILES
from loadtest.figures import figure, rate
from loadtest.raw_log import Floats
from loadtest.report.chart import Chart, Line
from loadtest.report.tables import interval, value

_MOST_LINES = 8  # as many colours as the page has
_MULTIPLE = 2  # from here on a change reads better as a factor than in per cent


@dataclass(frozen=True)
class Cell:
    """One figure of one run.

    Attributes:
        value: For people.
        detail: Its interval.
        change: From the first run, and whether the intervals overlap; empty where one has no figure.
    """

    value: str
    detail: str = ""
    change: str = ""


@dataclass(frozen=True)
class Comparison:
    """A table of runs.

    Attributes:
        names: Of the runs, one for each column.
        rows: Label and one cell for each run.
    """

    names: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]


def compared(analyses: Sequence[Analysis], names: Sequence[str]) -> Comparison:
    """Return the table of the runs. An invalid run has a verdict there, and no figure to compare.

    Args:
        analyses: Of the runs.
        names: Of each, for people.
    """
    rows: list[tuple[str, Sequence[Cell]]] = [
        ("verdict", [Cell(analysis.verdict.outcome) for analysis in analyses])
    ]
    for name in ("offered", "answered"):
        rows.append((name, _cells(analyses, [a.rates[name] for a in analyses], lambda f: rate(f.value))))
    for name in QUANTILES:
        rows.append(
            (f"latency {name}", _cells(analyses, [a.corrected.figures[name] for a in analyses], value))
        )
    counted = {
        "without an answer": [f"{a.counts.missing:,}" for a in analyses],
        "mean batch size": [figure(a.batches.mean if a.batches else None) for a in analyses],
    }
    for name, texts in counted.items():
        rows.append(
            (name, [Cell(t if a.validity.valid else "-") for a, t in zip(analyses, texts, strict=True)])
        )
    return Comparison(names, rows)


def comparison_charts(analyses: Sequence[Analysis], names: Sequence[str]) -> list[Chart]:
    """Return what the valid runs share: percentiles, and p99 and answers over time."""
    usable = [pair for pair in zip(analyses, names, strict=True) if pair[0].validity.valid][:_MOST_LINES]
    if not usable:
        return []
    quantiles = sorted({q for analysis, _ in usable for q, _ in analysis.corrected.distribution})
    lines = [
        Line(name, np.array([dict(a.corrected.distribution).get(q, np.nan) for q in quantiles]), number)
        for number, (a, name) in enumerate(usable, start=1)
    ]
    text = "From when each message was due, after the warm-up. The lines end where the samples do."
    places = np.array(quantiles)
    return [
        Chart(
            "Latency by percentile", text, "ms", "lines", "quantile", places, lines, logarithmic=True,
            place="percentile",
        ),
        _over_time(usable, "p99 of each second", "ms", lambda a: a.per_second.latency_ms["p99"], log=True),
        _over_time(usable, "Answers", "1/s", lambda a: a.per_second.answered, log=False),
    ]  # fmt: skip


def _cells(
    analyses: Sequence[Analysis], figures: Sequence[Figure], shown: Callable[[Figure], str]
) -> list[Cell]:
    first = figures[0] if analyses[0].validity.valid else None
    return [
        Cell(shown(each), interval(each), _change(first, each) if number else "")
        if analysis.validity.valid
        else Cell("-")
        for number, (analysis, each) in enumerate(zip(analyses, figures, strict=True))
    ]


def _change(first: Figure | None, other: Figure) -> str:
    if first is None or not first.value or other.value is None:
        return ""
    ratio = other.value / first.value
    change = f"{(ratio - 1) * 100:+.1f} %" if ratio < _MULTIPLE else f"× {ratio:,.1f}"
    if first.low is None or first.high is None or other.low is None or other.high is None:
        return change
    apart = first.high < other.low or other.high < first.low
    return change if apart else f"{change}, intervals overlap"


def _over_time(
    usable: Sequence[tuple[Analysis, str]],
    title: str,
    unit: str,
    series: Callable[[Analysis], Floats],
    *,
    log: bool,
) -> Chart:
    places = np.unique(np.concatenate([analysis.per_second.start for analysis, _ in usable]))
    lines = []
    for number, (analysis, name) in enumerate(usable, start=1):
        values = np.full(len(places), np.nan)
        values[np.searchsorted(places, analysis.per_second.start)] = series(analysis)
        lines.append(Line(name, values, number))
    text = "Over the whole of each run, warm-up included."
    return Chart(title, text, unit, "lines", "time", places, lines, logarithmic=log)
