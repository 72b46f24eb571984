"""What `benchmarks.sustained` shows: a row for each search, and how far ours are apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from rich.console import Console

from benchmarks.harness import results, verdict
from benchmarks.harness.machine import versions
from benchmarks.harness.verdict import Verdict
from benchmarks.sustained.measures import Searched
from loadtest.search.answer import Settings
from loadtest.search.objectives import Tier

# Of the two answers for the same job.
APART_GOAL = 5.0


def verdicts(found: Sequence[Searched]) -> list[Verdict]:
    """Return how far the answers for ours are apart."""
    ours = [one.claim for one in found if one.side == "ours"]
    claims = [claim for claim in ours if claim is not None]
    apart = 100 * (max(claims) / min(claims) - 1) if len(claims) > 1 else float("nan")
    return [Verdict("answers for ours, apart", apart, APART_GOAL, above=False, unit=" %")]


def ratio(found: Sequence[Searched]) -> float | None:
    """Return the lowest answer for ours over stock's; None where either has none."""
    claims = {side: [one.claim for one in found if one.side == side] for side in ("ours", "stock Beam")}
    known = {side: [claim for claim in of if claim is not None] for side, of in claims.items()}
    return min(known["ours"]) / max(known["stock Beam"]) if all(known.values()) else None


def show(console: Console, tier: Tier, found: Sequence[Searched]) -> None:
    """Print the table and the verdicts."""
    headings = ("msg/s", "fails at", "told from", "p50 ms", "p99 ms", "CPU µs", "probes", "min")
    table = results.table(headings, title=f"The highest rate with {tier}, by search", first="job")
    for one in found:
        boundary = one.boundary
        table.add_row(
            one.side,
            _number(boundary.claim, 0),
            _number(boundary.infeasible_min, 0),
            _percent(boundary.detectable_overload),
            _number(one.p50_ms, 1),
            _number(one.p99_ms, 1),
            _number(one.cpu_us, 0),
            str(boundary.probes),
            f"{boundary.seconds / 60:.1f}",
        )
    console.print(table)
    for one in found:
        results.print_line(console, f"{one.side}: {one.ended or one.boundary.convergence_reason}")
    over = ratio(found)
    if over is not None:
        results.print_line(console, f"ours (the lower answer) / stock: {over:.1f}")
    results.print_line(
        console,
        "told from: the smallest overload that the confirmation could see; CPU: of the job, for a message; "
        "min: of all probes, without warm-ups",
    )
    for each in verdicts(found):
        results.print_line(console, str(each))


def figures(tier: Tier, settings: Settings, found: Sequence[Searched]) -> dict[str, object]:
    """Return all of it for JSON."""
    return {
        "objectives": str(tier),
        "settings": asdict(settings),
        "searches": [asdict(one) for one in found],
        "ours over stock": ratio(found),
        "goals": verdict.figures(verdicts(found)),
        "versions": versions(),
    }


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
