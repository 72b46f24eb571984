"""The last screen of a run."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from loadtest.reasons import Reason
from loadtest.report.last_screen import print_report
from loadtest.summary import Summary, summarise
from tests.loadtest.test_summary import measurement

DUE = 1.7e9 + np.arange(4) / 4
# Each figure is of a length of its own kind, and none occurs in another.
LARGE = dataclasses.replace(
    summarise(measurement(result_at=DUE + 543.0, stages_ms=np.array([[10, 20, 30, 25.5]] * 4))),
    duplicates=12, sent=12_345_678, received=12_345_600, lost=3, dead_lettered=75,
    publish_errors=1, foreign=2, answered_both=1, censored=4, warmup_messages=5,
    offered_rate=98_765.4, achieved_rate=87_654.3,
    latency_ms={"p50": 1111, "p90": 2222, "p95": 3333, "p99": 4444, "p99_9": 5555, "max": 3_600_000},
    schedule_error_ms={"p50": 7.77, "p99": 8.88, "max": 99.99},
    dead_letter_reasons=[Reason("decode", "features: expected 30 numbers, got 29", 75)],
)  # fmt: skip


def shown(summary: Summary, width: int = 80, out: Path = Path("none")) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_report(console, summary, out)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [40, 60, 75, 76, 80, 120])
def test_nothing_is_cropped_at_any_width(width: int) -> None:
    lines = shown(LARGE, width)
    tables = [line for line in lines if line.startswith(("│", "┃", "┌"))]
    assert max(map(len, tables)) <= width
    text = "\n".join(lines)
    assert "…" not in text
    for figure in (
        "12,345,678", "12,345,600", "98,765.4/s", "87,654.3/s", "7.77 ms", "8.88 ms", "99.99 ms",
        "1,111", "2,222", "3,333", "4,444", "5,555", "3,600,000", "p99.9", "10.00", "20.00", "30.00", "25.50",
        "publish errors", "foreign messages", "warm-up messages", "result + dead letter", "duplicates",
    ):  # fmt: skip
        assert figure in text, figure


def test_what_happened_and_why_not_all() -> None:
    text = "\n".join(shown(LARGE))
    assert "12,345,678 requests: 12,345,600 with a result, 75 as dead letters" in text
    assert "3 not answered in time" in text
    assert "75 × decode: features: expected 30 numbers, got 29" in text


def test_the_commonest_reasons_come_first_and_the_rest_is_counted() -> None:
    reasons = [Reason("decode", f"reason {name}", 10 - name) for name in range(5)]
    lines = shown(dataclasses.replace(LARGE, dead_letter_reasons=reasons))
    found = [line.strip() for line in lines if "decode: " in line or "other reasons" in line]
    assert found == [
        "10 × decode: reason 0", "9 × decode: reason 1", "8 × decode: reason 2",
        "13 for 2 other reasons, all in summary.json",
    ]  # fmt: skip


def test_a_reason_does_nothing_to_the_terminal() -> None:
    hostile = Reason("decode", "\x1b[2J[bold]:boom:\r\n" + 1000 * "x", 1)
    text = "\n".join(shown(dataclasses.replace(LARGE, dead_letter_reasons=[hostile]), width=2000))
    assert "decode: \\x1b[2J[bold]:boom:\\r\\nxxx" in text
    assert 200 * "x" in text
    assert 301 * "x" not in text


def test_where_it_is_slow() -> None:
    lines = shown(summarise(measurement(stages_ms=np.array([[10, np.nan, 70, np.nan]] * 4))))
    assert (
        "Most time: inference (the model or the endpoint), "
        "70.00 of 100.00 ms at p50 and 70.00 of 100.00 ms at p99"
    ) in lines
    stages, results = np.array([[1, 1, 90, np.nan]] * 4), DUE + np.array([0.1, 0.1, 0.1, 9])
    tail = shown(summarise(measurement(result_at=results, stages_ms=stages)))
    assert [line.split(" (")[0] for line in tail if line.startswith("Most")] == [
        "Most time: inference",
        "Most time: rest",
    ]


def test_a_job_that_falls_behind_is_told_of() -> None:
    behind = dataclasses.replace(LARGE, offered_rate=100.0, backlog_slope=20.0)
    assert "The job did not keep up: of 100.0/s, 20.0/s stayed behind" in shown(behind)
    assert not any("keep up" in line for line in shown(dataclasses.replace(behind, backlog_slope=4.0)))


def test_where_the_files_are(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text("{}")
    (tmp_path / "dead_letters.jsonl").write_text("")
    (tmp_path / "pipeline.log").write_text("a line")
    lines = shown(LARGE, 20, tmp_path)
    assert f"  {tmp_path}/results.jsonl  each result" in lines
    assert f"  {tmp_path}/pipeline.log  the job's log" in lines
    assert not any("dead_letters.jsonl" in line for line in lines)


def test_a_run_that_sent_nothing_has_no_tables() -> None:
    nothing = np.full(4, np.nan)
    summary = summarise(
        measurement(sent_at=nothing, result_at=nothing, error="interrupted (SIGINT) before it")
    )
    assert shown(summary) == ["Nothing was sent: interrupted (SIGINT) before it"]


@pytest.mark.parametrize(
    ("change", "last"),
    [
        ({"auc": 0.9123456789}, "ROC AUC 0.912346"),
        ({"auc_note": "record [17] was never answered"}, "ROC AUC none: record [17] was never answered"),
    ],
)
def test_the_last_line_is_the_area_or_why_not(change: dict[str, Any], last: str) -> None:
    assert shown(dataclasses.replace(LARGE, **change))[-1] == last


def test_without_the_examples_labels_there_is_no_word_of_an_area() -> None:
    assert not any("ROC AUC" in line for line in shown(LARGE))


def test_the_servers_time_has_a_row_under_inference_where_it_is_known() -> None:
    labels = [line.split("│")[1].rstrip() for line in shown(LARGE) if line.startswith("│   ")]
    assert labels[-3:] == ["   inference", "     of it server", "   rest"]
    assert "server" not in "\n".join(shown(summarise(measurement())))


def test_figures_that_do_not_exist_are_a_dash() -> None:
    nothing = np.full(4, np.nan)
    text = "\n".join(shown(summarise(measurement(result_at=nothing, stages_ms=np.full((4, 4), np.nan)))))
    assert "0.00" not in text
    assert "nan" not in text
    assert "batch wait" in text  # only the server's row may be missing
