"""What a run shows, in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from loadtest.analysis.counts import Counts
from loadtest.analysis.figure import Figure
from loadtest.analysis.latency import Latency
from loadtest.analysis.stages import Stage
from loadtest.analysis.validity import Validity
from loadtest.analysis.window import WarmUp
from loadtest.figures import figure, milliseconds
from loadtest.statistics.littles_law import LittlesLaw
from loadtest.statistics.stability import ENOUGH, Stability

Outcome = Literal["sustained", "not sustained", "undecided", "INVALID", "no answer"]

_WAITS = {
    "queue": "waiting in Pub/Sub until the job reads it",
    "batch_wait": "waiting until the model is free",
    "inference": "in the model or at the endpoint",
    "rest": "decoding, publishing the result, its delivery and the driver's own lateness",
}


@dataclass(frozen=True)
class Verdict:
    """What a run shows.

    Attributes:
        outcome: In a word or two.
        headline: In one sentence.
        sentences: What it rests on and what to mind, the most important first.
    """

    outcome: Outcome
    headline: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Evidence:
    """What a verdict is made from.

    Attributes:
        partial: What ended the run early; None for a whole run.
        seconds: Length of the window.
        n: Messages of it.
        offered: Rate in the window, 1/s.
        validity: Of the driver.
        counts: Of the run.
        corrected: Latency.
        uncorrected: Latency.
        stability: Of the window; None where it is too short to tell.
        littles_law: The same.
        warm_up: What was cut.
        stages: Of the window.
    """

    partial: str | None
    seconds: float
    n: int
    offered: Figure
    validity: Validity
    counts: Counts
    corrected: Latency
    uncorrected: Latency
    stability: Stability | None
    littles_law: LittlesLaw | None
    warm_up: WarmUp
    stages: tuple[Stage, ...]


def give(evidence: Evidence) -> Verdict:
    """Return the verdict on a run."""
    outcome = _outcome(evidence)
    return Verdict(outcome, _headline(outcome, evidence), tuple(_sentences(outcome, evidence)))


def _outcome(evidence: Evidence) -> Outcome:
    counts = evidence.counts
    if not evidence.n or counts.missing == counts.due:
        return "no answer"
    if not evidence.validity.valid:
        return "INVALID"
    stability = evidence.stability
    if counts.missing:
        return "not sustained"
    if stability is None:
        return "undecided"
    if stability.stable:
        return "sustained"
    noise = evidence.n < ENOUGH and stability.relative < stability.detectable_overload
    return "undecided" if noise else "not sustained"


def _headline(outcome: Outcome, evidence: Evidence) -> str:
    if outcome == "no answer":
        return "No message was answered, so nothing is known of the system."
    load = f"{_number(evidence.offered.value)} messages a second"
    if outcome == "INVALID":
        return f"The driver, not the system, limited this run: it says nothing about {load}."
    p99 = _told(evidence.corrected.figures["p99"])
    if outcome == "sustained":
        return f"It carried {load} for {evidence.seconds:,.0f} s, all answered; {p99}."
    if outcome == "undecided":
        return (
            f"It answered {load} for {evidence.seconds:,.0f} s, too few to tell whether it keeps up; {p99}."
        )
    if evidence.stability is not None and not evidence.stability.stable:
        share = evidence.stability.relative * 100
        return (
            f"It did not keep up with {load}: {share:.1f} % of them stayed behind, and waiting grew; {p99}."
        )
    return (
        f"At {load} it left {_share(evidence.counts.missing, evidence.counts.due)} without an answer; {p99}."
    )


def _sentences(outcome: Outcome, evidence: Evidence) -> list[str]:
    counts = evidence.counts
    found = [f"{reason[0].upper()}{reason[1:]}." for reason in evidence.validity.reasons]
    if outcome == "INVALID":
        found.append("Give the driver processors of its own, more processes (--drivers) or a lower rate.")
    if evidence.partial is not None:
        found.append(
            f"The run was cut short: {evidence.partial}. The figures are of what was sent until then."
        )
    if counts.missing and outcome != "no answer":
        found.append(
            f"Without a result or a dead letter: {_share(counts.missing, counts.due)}; each counts in the "
            "latency with at least the time that it was waited for."
        )
    if counts.dead_letters:
        found.append(f"{_share(counts.dead_letters, counts.due)} became dead letters.")
    if outcome == "no answer":
        return found
    if outcome == "INVALID":
        return [*found, *_omitted(evidence)]
    found += [*_stable(outcome, evidence), *_slow(evidence), *_omitted(evidence), *_doubts(outcome, evidence)]
    return found


def _stable(outcome: Outcome, evidence: Evidence) -> list[str]:
    stability = evidence.stability
    if stability is None:
        return ["The window is too short to tell whether work piled up."]
    detectable = f"{stability.detectable_overload * 100:.1f} %"
    if not stability.stable:
        grew = f"The backlog grew by {figure(stability.slope)} messages a second"
        if outcome == "undecided":
            return [
                f"{grew}, {stability.relative * 100:.1f} % of the rate; with {evidence.n:,} messages only an "
                f"overload of {detectable} shows: run for longer."
            ]
        return [f"{grew}."]
    if evidence.n < ENOUGH:
        return [
            f"The backlog was steady; with {evidence.n:,} messages an overload of less than {detectable} "
            "would not have shown."
        ]
    return [f"The backlog was steady; an overload of {detectable} would have shown."]


def _slow(evidence: Evidence) -> list[str]:
    stages = [stage for stage in evidence.stages if stage.name in _WAITS]
    if not stages:
        return []
    most, slowest = max(stages, key=lambda s: s.share), max(stages, key=lambda s: s.share_of_slowest)
    text = f"{most.share * 100:.0f} % of the time went into {label(most.name)} ({_WAITS[most.name]})"
    if slowest.name == most.name:
        return [f"{text}, {slowest.share_of_slowest * 100:.0f} % among the slowest 1 %."]
    return [
        f"{text}; among the slowest 1 %, {slowest.share_of_slowest * 100:.0f} % went into "
        f"{label(slowest.name)} ({_WAITS[slowest.name]})."
    ]


def _omitted(evidence: Evidence) -> list[str]:
    due, sent = evidence.corrected.figures["p99"].value, evidence.uncorrected.figures["p99"].value
    if due is None or sent is None or due < 1.1 * sent:
        return []
    return [
        f"Counted from when the messages were sent, not from when they were due, p99 would read "
        f"{milliseconds(sent)}: what held the driver back would be left out."
    ]


def _doubts(outcome: Outcome, evidence: Evidence) -> list[str]:
    found = []
    counts, law = evidence.counts, evidence.littles_law
    # A backlog that grows does not settle, and has been told of.
    if evidence.warm_up.steady is False and outcome != "not sustained":
        found.append("The run did not settle within its first half: repeat it for longer.")
    if law is not None and not law.holds:
        found.append(
            f"Little's law is off by {abs(law.ratio - 1) * 100:.0f} %: {figure(law.mean_in_flight)} messages "
            f"were in flight, rate times latency gives {figure(law.rate * law.mean_latency_s)}. "
            f"{_why_not_little(evidence)}."
        )
    if counts.negative:
        found.append(
            f"{_share(counts.negative, counts.due)} have a time below zero: two clocks differ by at least "
            f"{milliseconds(counts.clock_offset_ms)}."
        )
    if counts.duplicates:
        found.append(f"{counts.duplicates:,} answers came more than once.")
    if counts.late:
        found.append(f"{_share(counts.late, counts.due)} were answered after the deadline.")
    return found


def _why_not_little(evidence: Evidence) -> str:
    if evidence.counts.missing:
        return "That is so where messages are never answered"
    if evidence.stability is not None and not evidence.stability.stable:
        return "That is so where the backlog grows"
    return "The latency changed within the window, or the account has a hole"


def label(stage: str) -> str:
    """Return a stage's name for people."""
    return stage.replace("_", " ")


def _told(percentile: Figure) -> str:
    if percentile.value is None:
        return f"{percentile.name} is not known ({percentile.note})"
    least = "at least " if percentile.at_least else ""
    return f"{percentile.name} {least}{milliseconds(percentile.value)}"


def _share(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} messages ({part / whole * 100:.2g} %)"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:,.1f}"
