"""Conditions that a run is held against: `--objective` and `--fail-if`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from loadtest.analysis.analyse import Analysis
from loadtest.analysis.objective_figures import objective_figures
from loadtest.figures import milliseconds
from loadtest.search.objectives import COUNTS, LATENCIES, Objective, ObjectiveError, parse, parse_failure


@dataclass(frozen=True)
class Condition:
    """What a flag asks of a run.

    Attributes:
        text: As it was written.
        objective: That must be met. Of `--fail-if`, what must be so for the run not to fail.
    """

    text: str
    objective: Objective


@dataclass(frozen=True)
class Check:
    """A condition, and what became of it.

    Attributes:
        condition: That was asked for.
        met: Whether the objective is met; not where its figure is not known.
        measured: The figure in words, or why there is none.
    """

    condition: Condition
    met: bool
    measured: str

    def __str__(self) -> str:
        return f"{'✓' if self.met else '✗'} {self.condition.text}: {self.measured}"


def conditions(texts: Sequence[str], *, failures: bool, problems: list[str]) -> list[Condition]:
    """Return what the texts of a flag ask for; what is wrong with them is added to `problems`.

    Args:
        texts: Of `--objective`, or of `--fail-if`.
        failures: Whether they say when the run fails.
        problems: Of the command line.
    """
    found = []
    for text in texts:
        try:
            found.append(Condition(text.strip(), parse_failure(text) if failures else parse(text)))
        except ObjectiveError as error:
            problems.append(f"{'--fail_if' if failures else '--objective'}: {error}")
    return found


def tightest_latency_s(asked: Sequence[Condition]) -> float | None:
    """Return the shortest latency that is asked for, seconds; None where none is."""
    return min((c.objective.limit for c in asked if c.objective.metric in LATENCIES), default=None)


def check(asked: Sequence[Condition], analysis: Analysis) -> list[Check]:
    """Return what became of each condition; none is met by a run that is INVALID."""
    figures = objective_figures(analysis)
    found = []
    for condition in asked:
        metric = condition.objective.metric
        if not analysis.validity.valid:
            found.append(Check(condition, False, "the run is INVALID"))
        elif metric not in figures:
            found.append(Check(condition, False, f"{metric} is not known: {_why_unknown(metric, analysis)}"))
        else:
            # Counts are of the whole run.
            met = condition.objective.met(figures[metric], analysis.counts.due)
            found.append(
                Check(condition, met, _measured(condition.objective, figures[metric].value, analysis))
            )
    return found


def _measured(objective: Objective, value: float, analysis: Analysis) -> str:
    metric = objective.metric
    if metric in LATENCIES:
        return f"{metric} {milliseconds(value * 1e3)}"
    if metric in COUNTS:
        due = analysis.counts.due
        return f"{metric} {value:,.0f} of {due:,} ({100 * value / due:.3g} %)"
    return f"{metric} {value:.4g} %"


def _why_unknown(metric: str, analysis: Analysis) -> str:
    if metric in LATENCIES and (note := analysis.corrected.figures[metric].note):
        return note
    return "the run is too short"
