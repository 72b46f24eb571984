from __future__ import annotations

import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from loadtest.display import Progress, print_summary, progress_display
from loadtest.summary import Summary, summarise
from tests.loadtest.test_summary import measurement

PROGRESS = Progress(
    phase="sending",
    elapsed=1,
    total=6000,
    sent=1234,
    received=1200,
    outstanding=30,
    dead_lettered=4,
    p50_ms=12.3,
)


def shown(summary: Summary) -> list[str]:
    console = Console(file=io.StringIO(), width=80)
    print_summary(console, summary)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def test_plain_lines_come_at_each_phase_and_then_every_five_seconds() -> None:
    console = Console(file=io.StringIO(), width=80)
    with progress_display(console) as display:
        for elapsed in (0.0, 1.0, 4.9, 5.0, 6.0, 10.0):
            display.update(dataclasses.replace(PROGRESS, elapsed=elapsed))
        display.update(dataclasses.replace(PROGRESS, phase="draining", elapsed=10.25))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert [line.split()[0] for line in lines] == ["0", "5", "10", "10"]
    assert "sent 1,234 of 6,000, received 1,200, dead letters 4, outstanding 30" in lines[0]
    assert "p50 12.30 ms" in lines[0]


def test_a_terminal_sees_the_counts_live() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with progress_display(console) as display:
        display.update(Progress(phase="waiting for the job", elapsed=3, total=10))
        display.update(PROGRESS)
    output = console.file.getvalue()  # type: ignore[attr-defined]
    for text in ("waiting for the job", "1,234", "1,200", "12.30 ms", "sending"):
        assert text in output


def test_the_table_fits_80_columns_even_with_large_figures() -> None:
    due = 1.7e9 + np.arange(4) / 4
    summary = dataclasses.replace(
        summarise(measurement(result_at=due + 543.0, duplicates=12)),
        sent=12_345_678, lost=3, publish_errors=1, foreign=2, answered_both=1, censored=4, warmup_messages=5,
    )  # fmt: skip
    lines = shown(summary)
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for expected in ("12,345,678", "543,000", "publish errors", "foreign", "warm-up", "duplicates"):
        assert expected in text
    assert "…" not in text


@pytest.mark.parametrize(
    ("change", "last"),
    [
        ({"auc": 0.9123456789}, "ROC AUC 0.912346"),
        (
            {"auc": None, "auc_note": "record [17] was never answered"},
            "ROC AUC none: record [17] was never answered",
        ),
    ],
)
def test_the_last_line_is_the_area_or_why_not(change: dict[str, Any], last: str) -> None:
    assert shown(dataclasses.replace(summarise(measurement()), **change))[-1] == last


def test_the_servers_time_has_a_row_under_inference_where_it_is_known() -> None:
    stages = np.array([[10, np.nan, 30, 25]] * 4)
    labels = [line.split("│")[1].rstrip() for line in shown(summarise(measurement(stages_ms=stages)))[-5:-2]]
    assert labels == ["   inference", "     of it server", "   rest"]
    assert "server" not in "\n".join(shown(summarise(measurement())))


def test_figures_that_do_not_exist_are_a_dash() -> None:
    nothing = np.full(4, np.nan)
    text = "\n".join(shown(summarise(measurement(result_at=nothing, stages_ms=np.full((4, 4), np.nan)))))
    assert "0.00" not in text
    assert "nan" not in text
    assert "batch wait" in text  # only the server's row may be missing
