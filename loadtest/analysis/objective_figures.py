"""The figures that objectives are about, in the units that the search takes."""

from __future__ import annotations

import math

from loadtest.analysis.analyse import Analysis
from loadtest.search.objectives import LATENCIES, Figure


def objective_figures(analysis: Analysis) -> dict[str, Figure]:
    """Return the figures of a run by the metric of an objective.

    A percentile that is refused, and the backlog's slope of a window that is too short, are left out: no
    objective can be held against them. `errors` are dead letters and messages that could not be published.

    Args:
        analysis: Of the run. The counts are of the whole of it; the others are of its window.
    """
    counts = analysis.counts
    found = {
        "lost": Figure(counts.missing, 0.0),
        "dead_letters": Figure(counts.dead_letters, 0.0),
        "duplicates": Figure(counts.duplicates, 0.0),
        "errors": Figure(counts.dead_letters + counts.publish_errors, 0.0),
        "achieved": Figure(100 * analysis.validity.achieved, 0.0),
    }
    for name in LATENCIES:
        figure = analysis.corrected.figures[name]
        if figure.value is not None:
            error = math.nan if figure.standard_error is None else figure.standard_error / 1e3
            found[name] = Figure(figure.value / 1e3, error)
    if analysis.stability is not None:
        found["backlog_slope"] = Figure(100 * analysis.stability.relative)
    return found
