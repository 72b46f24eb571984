"""The figures and tables of one run, as text for its page."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loadtest.analysis.analyse import Analysis
from loadtest.analysis.figure import Basis, Figure
from loadtest.figures import figure, milliseconds, rate
from loadtest.metrics.scaling import Lag
from loadtest.statistics.littles_law import LittlesLaw


@dataclass(frozen=True)
class Shown:
    """One key figure.

    Attributes:
        label: What it is.
        value: With its unit.
        detail: Its interval, or what it rests on.
        basis: See `Figure`.
        bad: Whether it speaks against the run.
    """

    label: str
    value: str
    detail: str
    basis: Basis
    bad: bool = False


@dataclass(frozen=True)
class LatencyRow:
    """One percentile by both clocks.

    Attributes:
        name: Of the percentile.
        corrected: Value and interval from when a message was due.
        uncorrected: The same from when it was sent.
        samples: How many, and how many independent ones they are worth, if that is known.
        guard: What there is to know of it.
    """

    name: str
    corrected: tuple[str, str]
    uncorrected: tuple[str, str]
    samples: tuple[str, str]
    guard: str


def key_figures(analysis: Analysis) -> list[Shown]:
    """Return the figures that a reader wants first."""
    counts, rates = analysis.counts, analysis.rates
    found = [
        Shown(
            "offered", rate(rates["offered"].value), f"answered {rate(rates['answered'].value)}", "measured"
        ),
        *(_percentile(analysis.corrected.figures[name]) for name in ("p50", "p99", "p99.9")),
        Shown(
            "without an answer",
            f"{counts.missing:,}",
            f"of {counts.due:,} messages",
            "measured",
            bad=counts.missing > 0,
        ),
        Shown("dead letters", f"{counts.dead_letters:,}", f"{counts.duplicates:,} duplicates", "measured"),
    ]
    if (steady := analysis.stability) is not None:
        found.append(
            Shown(
                "backlog grows by",
                f"{steady.relative * 100:+z.2f} %",
                f"of the rate; {steady.detectable_overload * 100:.1f} % would show",
                "measured",
                bad=not steady.stable,
            )
        )
    error = analysis.validity.schedule_error_ms
    if error is not None:
        found.append(
            Shown(
                "schedule error p99",
                milliseconds(error["p99"]),
                f"at most {analysis.validity.limit_ms:g} ms allowed",
                "measured",
                bad=not analysis.validity.valid,
            )
        )
    return found


def interval(shown: Figure) -> str:
    """Return the interval of a figure for people, empty for none."""
    if shown.low is None or shown.high is None:
        return ""
    if math.isinf(shown.high):
        return f"{figure(shown.low)} or more"
    return f"{figure(shown.low)} – {figure(shown.high)}"


def value(shown: Figure) -> str:
    """Return a latency with its unit for people."""
    return bare(shown) if shown.value is None else f"{bare(shown)} ms"


def bare(shown: Figure) -> str:
    """Return a latency in milliseconds, without the unit, for people."""
    if shown.value is None:
        return shown.guard if shown.guard == "refused" else "-"
    return f"{'≥ ' if shown.at_least else ''}{figure(shown.value)}"


def _percentile(shown: Figure) -> Shown:
    detail = interval(shown)
    notes = [f"95 %: {detail}" if detail else "", shown.note]
    return Shown(f"latency {shown.name}", value(shown), "; ".join(filter(None, notes)), shown.basis)


def latency_rows(analysis: Analysis) -> list[LatencyRow]:
    """Return the latency's figures by both clocks, a row each."""
    found = []
    for name, corrected in analysis.corrected.figures.items():
        uncorrected = analysis.uncorrected.figures[name]
        samples = f"{corrected.n:,}"
        worth = "" if corrected.effective_n is None else f"{corrected.effective_n:,.0f}"
        found.append(
            LatencyRow(
                name,
                (bare(corrected), interval(corrected)),
                (bare(uncorrected), interval(uncorrected)),
                (samples, worth),
                "" if corrected.guard == "ok" else f"{corrected.guard}: {corrected.note}",
            )
        )
    return found


def stage_rows(analysis: Analysis) -> list[tuple[str, ...]]:
    """Return name, mean, p50, p99, share and share of the slowest of each stage."""
    return [
        (
            "of it server" if stage.name == "server" else stage.name.replace("_", " "),
            *(figure(time) for time in (stage.mean, stage.p50, stage.p99)),
            f"{stage.share * 100:.1f} %",
            f"{stage.share_of_slowest * 100:.1f} %",
        )
        for stage in analysis.stages
    ]


def regime_rows(analysis: Analysis) -> list[tuple[str, ...]]:
    """Return the stretches of the window, if there are several."""
    if len(analysis.regimes) < 2:
        return []
    return [
        (
            f"{regime.start:,.0f} – {regime.end:,.0f} s",
            rate(regime.offered),
            rate(regime.answered),
            milliseconds(regime.p50_ms),
            milliseconds(regime.p99_ms),
            "-" if regime.backlog_slope is None else f"{regime.backlog_slope:+z,.1f}/s",
        )
        for regime in analysis.regimes
    ]


def scaling_rows(analysis: Analysis) -> list[tuple[str, ...]]:
    """Return what changed, why, when it was decided, and how long each part took."""
    return [
        (
            f"{each.series.rpartition('/')[2]} {each.before:g} → {each.after:g}",
            "; ".join(filter(None, (each.signal, each.rationale))) or "not seen",
            f"{each.decision.until:,.0f} s",
            *(_lag(lag) for lag in (each.decision_lag, each.start_lag, each.warm_up_lag)),
        )
        for each in analysis.scalings
    ]


def _lag(lag: Lag | None) -> str:
    return "not seen" if lag is None else f"{lag.low_s:,.0f} – {lag.high_s:,.0f} s"


def account(analysis: Analysis) -> list[tuple[str, str]]:
    """Return what became of all messages, and the tests of the account."""
    counts, window = analysis.counts, analysis.window
    found = [
        ("scheduled", f"{counts.scheduled:,}"),
        ("due before the end", f"{counts.due:,}"),
        ("sent", f"{counts.sent:,}"),
        ("with a result", f"{counts.results:,}"),
        ("with a dead letter", f"{counts.dead_letters:,}"),
        ("with both", f"{counts.answered_both:,}"),
        ("without an answer", f"{counts.missing:,}"),
        ("answered more than once", f"{counts.duplicates:,}"),
        ("late", "no deadline given" if counts.late is None else f"{counts.late:,}"),
        ("with a time below zero", _negative(analysis)),
        ("publish errors", f"{counts.publish_errors:,}"),
        ("foreign deliveries", f"{counts.foreign:,}"),
        ("unreadable results", f"{counts.unreadable_results:,}"),
        ("unacknowledged", f"{counts.unacknowledged:,}"),
        ("window", f"{window[0]:,.0f} – {window[1]:,.0f} s"),
        ("sent in time", f"{analysis.validity.achieved * 100:.2f} % of the schedule"),
    ]
    if analysis.littles_law is not None:
        found.append(("Little's law", littles_law_text(analysis.littles_law)))
    return found


def littles_law_text(law: LittlesLaw) -> str:
    """Return whether Little's law holds, with both of its sides."""
    return (
        f"{'holds' if law.holds else 'does not hold'}: {figure(law.mean_in_flight)} in flight, "
        f"{figure(law.rate * law.mean_latency_s)} by rate × latency"
    )


def _negative(analysis: Analysis) -> str:
    counts = analysis.counts
    if not counts.negative:
        return "0"
    return f"{counts.negative:,}; clocks differ by {milliseconds(counts.clock_offset_ms)} or more"


def facts(analysis: Analysis) -> list[tuple[str, str]]:
    """Return what is known of the run beside its figures."""
    known = analysis.facts
    payloads = "in the file's order" if known.payloads_seed is None else str(known.payloads_seed)
    found = [
        ("run", known.run),
        *known.system.items(),
        ("schedule", known.schedule),
        ("seeds", f"arrivals {known.arrivals_seed}, payloads {payloads}"),
        (
            "driver",
            f"{known.drivers} process(es), {known.publish_calls:,} publish calls, {known.cpus} processors",
        ),
        *((name, version or "not installed") for name, version in known.versions.items()),
    ]
    if analysis.settings.deadline_s is not None:
        found.append(("deadline (assumed)", f"{analysis.settings.deadline_s:g} s"))
    return found
