"""What limits a run, as text: for its page and for the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.bottleneck.diagnosis import Change, Diagnosis, Expectation, Fact
from loadtest.report.tables import Shown


@dataclass(frozen=True)
class LimitSection:
    """What is shown of a diagnosis.

    Attributes:
        where: Which run, such as "at 900/s"; empty for the one that the section stands in.
        limit: Its name.
        facts: What says so: in words, the figure, and what it is held against.
        change: To try first; empty for none.
        expected: The figure now, and what the change should make of it; empty where no formula tells.
    """

    where: str
    limit: str
    facts: list[tuple[str, str, str]]
    change: str
    expected: list[Shown]


def limit_section(diagnosis: Diagnosis, where: str = "") -> LimitSection:
    """Return the section of a diagnosis."""
    return LimitSection(
        where,
        diagnosis.limit,
        [(fact.what, _figure(fact.value, fact.unit), held_against(fact)) for fact in diagnosis.because],
        change_text(diagnosis.change),
        [] if diagnosis.expected is None else _expected(diagnosis.expected),
    )


def fact_text(fact: Fact) -> str:
    """Return a fact in one line."""
    bound = held_against(fact)
    return f"{fact.what}: {_figure(fact.value, fact.unit)}{f', {bound}' if bound else ''}"


def held_against(fact: Fact) -> str:
    """Return how a fact stands to its bound; empty for one that is told for itself."""
    if fact.bound is None:
        return ""
    return f"{fact.relation or 'held against'} {_figure(fact.bound, fact.unit)}"


def change_text(change: Change) -> str:
    """Return what to try first, with the flags that do it."""
    return f"{change.text} ({' '.join(change.flags)})" if change.flags else change.text


def expectation_text(expected: Expectation) -> str:
    """Return what a change should bring, beside what is, in one line."""
    return (
        f"{expected.figure} {_to_expect(expected)}, now {_figure(expected.now, expected.unit)} "
        f"({expected.formula})"
    )


def _expected(expected: Expectation) -> list[Shown]:
    return [
        Shown(f"{expected.figure} now", _figure(expected.now, expected.unit), "", "measured"),
        Shown(f"{expected.figure} after the change", _to_expect(expected), expected.formula, expected.basis),
    ]


def _to_expect(expected: Expectation) -> str:
    # A rate may be lower, and a latency higher, as something else may limit it then.
    bound = {"rate": "at most ", "latency": "at least "}[expected.figure] if expected.at_most else ""
    return f"{bound}{_figure(expected.value, expected.unit)}"


def _figure(value: float, unit: str) -> str:
    number = f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"
    return number if unit == "1" else f"{number}{'/s' if unit == '1/s' else f' {unit}'}"
