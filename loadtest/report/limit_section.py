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
        expectation: The same in one line.
    """

    where: str
    limit: str
    facts: list[tuple[str, str, str]]
    change: str
    expected: list[Shown]
    expectation: str


def limit_section(diagnosis: Diagnosis, where: str = "") -> LimitSection:
    """Return the section of a diagnosis."""
    return LimitSection(
        where,
        diagnosis.limit,
        [(fact.what, _figure(fact.value, fact.unit), held_against(fact)) for fact in diagnosis.because],
        change_text(diagnosis.change),
        [] if diagnosis.expected is None else _expected(diagnosis.expected),
        "" if diagnosis.expected is None else expectation_text(diagnosis.expected),
    )


def limit_lines(section: LimitSection) -> list[str]:
    """Return it in lines: what limits a run, why, what to change first and what that should bring."""
    lines = [f"what limits it{f' {section.where}' if section.where else ''}: {section.limit}"]
    lines += [f"  {what}: {value}{f', {bound}' if bound else ''}" for what, value, bound in section.facts]
    if section.change:
        lines.append(f"try first: {section.change}")
    if section.expectation:
        lines.append(f"expected, extrapolated: {section.expectation}")
    return lines


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
    if "e" in number:
        # A growth of the backlog that is none: nobody reads powers of ten.
        number = f"{value:z.5f}".rstrip("0").rstrip(".")
    return number if unit == "1" else f"{number}{'/s' if unit == '1/s' else f' {unit}'}"
