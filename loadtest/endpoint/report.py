"""What a person is told of an endpoint, and the JSON that holds every figure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson
from rich.console import Console
from rich.table import Table

from loadtest.endpoint.batch_sizes import BatchSize
from loadtest.endpoint.findings import EndpointReport
from loadtest.endpoint.load_figures import LoadFigures
from loadtest.endpoint.rates import Degradation, ProbeResult
from loadtest.figures import figure, milliseconds
from loadtest.terminal import printable, say, say_file

JSON_FILE = "endpoint.json"

_BAD = "bold red"
_MOST_REASON = 300  # characters


def to_json(report: EndpointReport) -> bytes:
    """Return every figure as JSON: the fields of `EndpointReport`; NaN becomes null."""
    return orjson.dumps(
        report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY
    )


def print_report(console: Console, report: EndpointReport, out: Path) -> None:
    """Print tables that fit the console's width, and a sentence for each question.

    Args:
        console: Printed to.
        report: Of the endpoint.
        out: The run's folder.
    """
    say(console, f"Endpoint {report.url} ({report.protocol}), objectives {report.objectives}", style="bold")
    for sentence in _connections(report):
        say(console, sentence)
    if report.sizes:
        _print_sizes(console, report)
        for sentence in _of_sizes(report):
            say(console, sentence)
    if report.connections:
        _print_connections(console, report)
    if report.degradation is not None:
        if report.degradation.probes:
            _print_probes(console, report.degradation)
        for sentence in _of_the_rate(report.degradation):
            say(console, sentence)
    if report.loads:
        _print_loads(console, report)
    for sentence in _failures(report):
        say(console, sentence)
    if _has_doubts(report):
        say(console, "?: too few calls for this percentile; for diagnosis only")
    for reason in report.invalid:
        say(console, f"INVALID, the driver's figures and not the endpoint's: {reason}", style=_BAD)
    if report.partial:
        say(console, f"Partial: {report.partial}", style="bold")
    say_file(console, out / JSON_FILE, "every figure")
    if report.raw_logs:
        say(console, f"  {out / report.raw_logs[0]} …  {len(report.raw_logs)} raw logs", whole=True)


def _connections(report: EndpointReport) -> Iterator[str]:
    first, connection = report.first, report.connection
    if report.healthy_after_s is not None:
        yield f"Started for this: healthy after {report.healthy_after_s:.1f} s"
    if first is not None:
        waited = (
            f", after {first.ready_after_s:.1f} s and {first.attempts_before:,} attempts that were not served"
            if first.attempts_before
            else ""
        )
        # After a refusal it goes over the connection that brought that.
        opened = (
            ""
            if math.isnan(first.connect_ms)
            else f", {milliseconds(first.connect_ms)} of it for the connection"
        )
        yield f"First call of all: {milliseconds(first.first_ms)}{opened}{waited}"
    if connection is not None:
        yield (
            f"Warm, median of {connection.pairs}: {milliseconds(connection.kept_ms)} on a kept connection, "
            f"{milliseconds(connection.new_ms)} on a new one "
            f"({milliseconds(connection.connect_ms)} to open it)"
        )


def _print_sizes(console: Console, report: EndpointReport) -> None:
    law = report.law
    wide = _table(
        "Batch sizes: alone, one call at a time; possible, all connections; half, a schedule at half of that",
        "rows", "first ms", "alone p50", "p99", "law ms", "possible/s", "rows/s", "half p50", "p99", "met",
    )  # fmt: skip
    narrow = _table("Batch sizes (ms)", "rows", "alone p50", "rows/s", "half p99", "met")
    for size in report.sizes:
        alone, most, half = size.alone, size.throughput, size.half
        style = "bold" if size.rows == report.best else ""
        expected = figure(law.time_ms(size.rows)) if law is not None else "-"
        calls_s, rows_s = "-", "-"
        if most is not None:
            least = "≥" if most.driver_limited else ""
            calls_s, rows_s = f"{least}{figure(most.rate)}", f"{least}{figure(most.row_rate)}"
        met = _met(size)
        row_half = (_quantile(half, "p50"), _quantile(half, "p99"))
        wide.add_row(
            f"{size.rows:,}", _number(alone.first_ms), _number(alone.p50_ms), _number(alone.p99_ms),
            expected, calls_s, rows_s, *row_half, met, style=style,
        )  # fmt: skip
        narrow.add_row(f"{size.rows:,}", _number(alone.p50_ms), rows_s, row_half[1], met, style=style)
    _print_first_that_fits(console, wide, narrow)


def _met(size: BatchSize) -> str:
    if size.half is not None and not size.half.validity.valid:
        return "INVALID"
    return {True: "yes", False: "no", None: "-"}[size.meets]


def _of_sizes(report: EndpointReport) -> Iterator[str]:
    law = report.law
    if law is not None:
        text = f"A call takes {law.a_ms:.3g} ms + {law.b_ms:.3g} ms a row"
        if law.worst_residual is not None:
            # The measured time may be constant, and then nothing is there to be explained.
            explained = "" if law.r_squared is None else f"R² {law.r_squared:.4f}, "
            text += f" ({explained}furthest off at {law.worst_rows} rows: {law.worst_residual:+.1%})"
        yield text
    best = next((size for size in report.sizes if size.rows == report.best), None)
    if best is not None and best.throughput is not None:
        yield (
            f"Best batch size: {best.rows:,} rows, {figure(best.throughput.row_rate)} rows/s possible with "
            f"{best.throughput.connections} connections"
        )
    else:
        yield f"No batch size meets {report.objectives} at half of its throughput"
    if any(size.throughput is not None and size.throughput.driver_limited for size in report.sizes):
        yield "≥: the driver had its core full, so that the endpoint may take more"


def _print_connections(console: Console, report: EndpointReport) -> None:
    rows = report.connections[0].rows
    table = _table(f"Connections, {rows:,} rows a call", "number", "calls/s", "rows/s", "p50 ms", "failed")
    for one in report.connections:
        failed = sum(one.failures.values())
        least = "≥" if one.driver_limited else ""
        table.add_row(
            f"{one.connections:,}", f"{least}{figure(one.rate)}", f"{least}{figure(one.row_rate)}",
            _number(one.p50_ms), f"{failed:,}" if failed else "",
        )  # fmt: skip
    console.print(table)


def _print_probes(console: Console, found: Degradation) -> None:
    wide = _table(
        f"Search, {found.rows:,} rows a call (ms from when a call was due; sent: from when it was written)",
        "calls/s", "s", "why", "p50", "p99", "sent p99", "failed", "",
    )  # fmt: skip
    narrow = _table("Search (ms)", "calls/s", "why", "p99", "failed", "")
    for probe in found.probes:
        figures = probe.figures
        failed = f"{sum(figures.failures.values()):,}" if figures.failures else ""
        p99, verdict = _quantile(figures, "p99"), _verdict(probe)
        wide.add_row(
            figure(probe.rate), f"{probe.seconds:.3g}", probe.purpose, _quantile(figures, "p50"), p99,
            _number(figures.uncorrected_ms.get("p99", math.nan)), failed, verdict,
        )  # fmt: skip
        narrow.add_row(figure(probe.rate), probe.purpose, p99, failed, verdict)
    _print_first_that_fits(console, wide, narrow)


def _verdict(probe: ProbeResult) -> str:
    if probe.passed is None:
        return "INVALID"
    if probe.breach is None:
        return "passed"
    return "piles up" if probe.breach.objective == "stable" else f"not {probe.breach.objective}"


def _of_the_rate(found: Degradation) -> Iterator[str]:
    boundary = found.boundary
    if boundary.claim is not None:
        yield (
            f"It carries {figure(boundary.claim)} calls/s, {figure(boundary.claim * found.rows)} rows/s; "
            f"confirmed, to within an overload of {boundary.detectable_overload or 0:.1%}"
        )
    elif boundary.feasible_max is not None:
        yield f"It carried {figure(boundary.feasible_max)} calls/s in a probe; that is not confirmed"
    if boundary.infeasible_min is not None and boundary.first_breach is not None:
        breach = boundary.first_breach
        how = "calls pile up" if breach.objective == "stable" else f"{breach.objective} is not met"
        yield f"It degrades at {figure(boundary.infeasible_min)} calls/s: {how}"
    if boundary.kind == "cliff" and boundary.ci is not None:
        yield f"It is a cliff between {figure(boundary.ci[0])} and {figure(boundary.ci[1])} calls/s"
    if boundary.non_monotone_warning:
        yield boundary.non_monotone_warning
    ended = found.ended or ("" if boundary.converged else boundary.convergence_reason)
    if ended:
        yield f"The search ended early: {ended}"


def _print_loads(console: Console, report: EndpointReport) -> None:
    wide = _table(
        f"{report.schedule} (ms from when a call was due; sent: from when it was written)",
        "rows", "offered/s", "served/s", "p50", "p90", "p99", "max", "sent p99", "failed", "met",
    )  # fmt: skip
    narrow = _table(report.schedule, "rows", "served/s", "p50", "p99", "failed", "met")
    for load in report.loads:
        one = load.figures
        failed = f"{sum(one.failures.values()):,}" if one.failures else ""
        met = "INVALID" if not one.validity.valid else "yes" if load.met else "no"
        wide.add_row(
            f"{one.rows:,}", figure(one.offered_rate), figure(one.served_rate), _quantile(one, "p50"),
            _quantile(one, "p90"), _quantile(one, "p99"), _number(one.latency_ms["max"]),
            _number(one.uncorrected_ms.get("p99", math.nan)), failed, met,
        )  # fmt: skip
        narrow.add_row(
            f"{one.rows:,}",
            figure(one.served_rate),
            _quantile(one, "p50"),
            _quantile(one, "p99"),
            failed,
            met,
        )
    _print_first_that_fits(console, wide, narrow)
    for load in report.loads:
        one = load.figures
        if one.waited:
            say(
                console,
                f"{one.rows:,} rows: {one.waited:,} of {one.calls:,} calls waited for a connection "
                "(--max_connections); that is in their latency",
            )


def _failures(report: EndpointReport) -> Iterator[str]:
    """Yield how many calls failed of each kind, in all loads together, and the first reason."""
    counts: dict[str, int] = {}
    reasons: dict[str, str] = {}
    retry_after = 0.0

    def add(failures: Mapping[str, int], why: Mapping[str, str]) -> None:
        for failure, count in failures.items():
            counts[failure] = counts.get(failure, 0) + count
            reasons.setdefault(failure, why.get(failure, ""))

    for size in report.sizes:
        add(size.alone.failures, dict.fromkeys(size.alone.failures, size.alone.reason))
        if size.throughput is not None:
            add(size.throughput.failures, {})
    for one in report.connections:
        add(one.failures, {})
    for figures in _figures(report):
        add(figures.failures, figures.reasons)
        retry_after = max(retry_after, figures.retry_after_s or 0.0)
    for failure, count in sorted(counts.items(), key=lambda item: -item[1]):
        reason = printable(reasons[failure])[:_MOST_REASON]
        yield f"Failed, {failure}: {count:,}{f'; the first: {reason}' if reason else ''}"
    if retry_after:
        yield f"Refusals asked to wait up to {retry_after:g} s (Retry-After)"


def _figures(report: EndpointReport) -> Iterator[LoadFigures]:
    yield from (size.half for size in report.sizes if size.half is not None)
    if report.degradation is not None:
        yield from (probe.figures for probe in report.degradation.probes)
    yield from (load.figures for load in report.loads)


def _has_doubts(report: EndpointReport) -> bool:
    return any(one.guards["p99"] != "ok" for one in _figures(report))


def _quantile(figures: LoadFigures | None, name: str) -> str:
    if figures is None:
        return "-"
    return f"{figure(figures.latency_ms[name])}{'' if figures.guards[name] == 'ok' else '?'}"


def _number(value: float) -> str:
    return figure(None if math.isnan(value) else value)


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first, justify="right", overflow="fold")
    for name in columns:
        table.add_column(name, justify="left" if name in ("why", "", "met") else "right", overflow="fold")
    return table


def _print_first_that_fits(console: Console, wide: Table, narrow: Table) -> None:
    unbounded = console.options.update(max_width=1_000)
    fits = console.measure(wide, options=unbounded).maximum <= console.width
    console.print(wide if fits else narrow)
