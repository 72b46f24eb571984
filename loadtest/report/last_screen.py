"""The last screen of a run: what happened, why not all, where it is slow, where the files are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from loadtest.figures import figure, milliseconds, rate, stage_label
from loadtest.run_folder import DEAD_LETTERS, RESULTS, SUMMARY
from loadtest.summary import Summary
from loadtest.terminal import printable, say, say_file

MADE_REQUESTS = "made_requests.jsonl"

MAX_REASONS = 3  # shown; summary.json has all
_MAX_MESSAGE = 300  # characters of a reason
_BAD = "bold red"

# What a request waits for in each part of its way.
_PARTS = {
    "queue": "in Pub/Sub, until the job reads it",
    "batch_wait": "until the model is free",
    "inference": "the model or the endpoint",
    "rest": "until its result is published, delivered and collected",
}


def print_report(console: Console, summary: Summary, out: Path) -> None:
    """Print the figures, then a sentence for each question; the last line is the ROC AUC where it is asked.

    Nothing is cropped: a table that is too wide stands on end.

    Args:
        console: Printed to.
        summary: Of the run.
        out: Its folder.
    """
    if summary.sent:
        _print_first_that_fits(console, [_wide_counts(summary)], [_narrow_counts(summary)])
        _print_first_that_fits(console, [_wide_latencies(summary)], _narrow_latencies(summary))
    print_findings(console, summary)
    print_files(console, out)
    if summary.auc is not None:
        say(console, f"ROC AUC {summary.auc:.6f}")
    elif summary.auc_note is not None:
        say(console, f"ROC AUC none: {summary.auc_note}")


def print_findings(console: Console, summary: Summary) -> None:
    """Print what happened, why not everything has a result, and where the time went."""
    say(console, _outcome(summary), style="" if summary.received == summary.sent else "bold")
    reasons = summary.dead_letter_reasons
    for reason in reasons[:MAX_REASONS]:
        say(console, f"  {reason.count:,} × {reason.stage}: {_shortened(reason.message)}")
    if others := reasons[MAX_REASONS:]:
        count = sum(reason.count for reason in others)
        say(console, f"  {count:,} for {len(others):,} other reasons, all in {SUMMARY}")
    for sentence in _slow_parts(summary):
        say(console, sentence)


def print_files(console: Console, out: Path) -> None:
    """Print which of a run's files there are, a line each, so that a path can be copied."""
    told = {
        SUMMARY: "every figure",
        RESULTS: "each result",
        DEAD_LETTERS: "each dead letter with its reason",
        "compare.json": "the figures of both runs",
        MADE_REQUESTS: "the requests that were made up",
        "pipeline.log": "the job's log",
        "serving.log": "the endpoint container's log",
        "broker.log": "the broker's log",
    }
    # An empty file tells nothing.
    found = [name for name in told if (out / name).is_file() and (out / name).stat().st_size]
    for name in found:
        say_file(console, out / name, told[name])


def _print_first_that_fits(console: Console, wide: list[Table], narrow: list[Table]) -> None:
    unbounded = console.options.update(max_width=1_000)
    fits = all(console.measure(table, options=unbounded).maximum <= console.width for table in wide)
    for table in wide if fits else narrow:
        console.print(table)


def _outcome(summary: Summary) -> str:
    if not summary.sent:
        return f"Nothing was sent: {summary.error}" if summary.error else "Nothing was sent"
    all_have = summary.received == summary.sent
    parts = ["all with a result" if all_have else f"{summary.received:,} with a result"]
    if summary.dead_lettered:
        parts.append(f"{summary.dead_lettered:,} as dead letters")
    if summary.answered_both:
        parts.append(f"{summary.answered_both:,} of them both ways")
    if summary.lost:
        parts.append(f"{summary.lost:,} not answered in time")
    text = f"{summary.sent:,} requests: " + ", ".join(parts)
    return f"{text}; {summary.error}" if summary.error else text


def _slow_parts(summary: Summary) -> Iterator[str]:
    """Yield whether work piled up, and where a request waited longest: at the median, and at p99."""
    if summary.backlog_grew:
        yield (
            f"The job did not keep up: of {rate(summary.offered_rate)}, {rate(summary.backlog_slope)} stayed "
            "behind"
        )
    longest: dict[str, list[str]] = {}
    for percentile in ("p50", "p99"):
        known = {part: summary.stages_ms[part][percentile] or 0.0 for part in _PARTS}
        if any(known.values()):
            longest.setdefault(max(known, key=known.__getitem__), []).append(percentile)
    for part, percentiles in longest.items():
        times = " and ".join(
            f"{figure(summary.stages_ms[part][p])} of {milliseconds(summary.latency_ms[p])} at {p}"
            for p in percentiles
        )
        yield f"Most time: {stage_label(part)} ({_PARTS[part]}), {times}"


def _shortened(message: str) -> str:
    text = printable(message)
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]} […]"


def _table(title: str, *, show_header: bool = True) -> Table:
    return Table(title=title, title_justify="left", show_header=show_header)


_Rows = list[tuple[str, str | Text]]


def _counts(summary: Summary) -> tuple[_Rows, _Rows]:
    """Return label and figure of what was counted, and of the rates."""
    error = summary.schedule_error_ms
    lost = Text(f"{summary.lost:,}", style=_BAD if summary.lost else "green")
    late = Text(milliseconds(error["p99"]), style=_BAD if summary.schedule_missed else "")
    more = {
        "publish errors": summary.publish_errors,
        "result + dead letter": summary.answered_both,
        "unreadable results": summary.unreadable_results,
        "foreign messages": summary.foreign,
        "unacknowledged": summary.unacknowledged,
        "warm-up messages": summary.warmup_messages,
    }
    counts: _Rows = [
        ("sent", f"{summary.sent:,}"),
        ("received", f"{summary.received:,}"),
        ("duplicates", f"{summary.duplicates:,}"),
        ("dead letters", f"{summary.dead_lettered:,}"),
        ("lost", lost),
        *((name, f"{count:,}") for name, count in more.items() if count),
    ]
    rates: _Rows = [
        ("offered rate", rate(summary.offered_rate)),
        ("achieved rate", rate(summary.achieved_rate)),
        ("schedule error p50", milliseconds(error["p50"])),
        ("schedule error p99", late),
        ("schedule error max", milliseconds(error["max"])),
    ]
    return counts, rates


def _wide_counts(summary: Summary) -> Table:
    table = _table(f"Run {summary.run}", show_header=False)
    for justify in ("left", "right", "left", "right"):
        table.add_column(justify=justify, overflow="fold")
    counts, rates = _counts(summary)
    for number, left in enumerate(counts):
        right = rates[number] if number < len(rates) else ("", "")
        table.add_row(*left, *right)
    return table


def _narrow_counts(summary: Summary) -> Table:
    table = _table(f"Run {summary.run}", show_header=False)
    table.add_column(overflow="fold")
    table.add_column(justify="right", overflow="fold")
    for section in _counts(summary):
        for row in section:
            table.add_row(*row)
        table.add_section()
    return table


def _latency_title(summary: Summary) -> str:
    title = "Milliseconds, from when a request was due"
    return f"{title} ({summary.censored:,} lost: waited so far)" if summary.censored else title


def _stages(summary: Summary) -> dict[str, dict[str, float | None]]:
    """Return the stages that are shown; the server's time only where there is any."""
    return {
        stage: figures
        for stage, figures in summary.stages_ms.items()
        if stage != "server" or figures["p50"] is not None
    }


def _wide_latencies(summary: Summary) -> Table:
    table = _table(_latency_title(summary))
    table.add_column("", overflow="fold")
    names = list(summary.latency_ms)
    for name in names:
        table.add_column(name.replace("_", "."), justify="right", overflow="fold")
    table.add_row("latency", *(figure(summary.latency_ms[name]) for name in names), style="bold")
    for stage, figures in _stages(summary).items():
        table.add_row(f"  {stage_label(stage)}", *(figure(figures[n]) if n in figures else "" for n in names))
    return table


def _narrow_latencies(summary: Summary) -> list[Table]:
    latencies = _table(_latency_title(summary), show_header=False)
    latencies.add_column(overflow="fold")
    latencies.add_column(justify="right", overflow="fold")
    for name, value in summary.latency_ms.items():
        latencies.add_row(f"latency {name.replace('_', '.')}", figure(value))
    stages = _table("of it")
    stages.add_column("", overflow="fold")
    for name in ("p50", "p99"):
        stages.add_column(name, justify="right", overflow="fold")
    for stage, figures in _stages(summary).items():
        stages.add_row(stage_label(stage), *(figure(figures[name]) for name in ("p50", "p99")))
    return [latencies, stages]
