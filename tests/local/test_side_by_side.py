from __future__ import annotations

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from loadtest.summary import Summary, summarise
from local.side_by_side import print_areas, print_side_by_side
from tests.loadtest.test_summary import measurement

NAN = np.nan


def summary(*stages: float, **changes: object) -> Summary:
    measured = summarise(measurement(stages_ms=np.array([stages] * 4)))
    return dataclasses.replace(measured, auc=0.9123456, **changes)  # type: ignore[arg-type]


LOCAL = summary(1, 2, 3, NAN, sent=12_345, lost=7)
ENDPOINT = summary(4, 5, 66, 55.5, dead_lettered=8, duplicates=9)


def shown(local: Summary | None, endpoint: Summary | None, width: int = 80) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    print_side_by_side(console, {"local": local, "endpoint": endpoint})
    print_areas(console, {"local": local, "endpoint": endpoint})
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined]


def rows(lines: list[str]) -> dict[str, tuple[str, str]]:
    """Return the two cells by the label of their row."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    return {label: (left, right) for label, left, right in cells}


def test_each_figure_stands_under_its_mode() -> None:
    lines = shown(LOCAL, ENDPOINT)
    header = next(line for line in lines if "local" in line)
    assert header.index("local") < header.index("endpoint")
    found = rows(lines)
    assert list(found) == [
        "sent", "received", "dead letters", "lost", "duplicates", "achieved rate",
        "latency p50", "latency p90", "latency p95", "latency p99", "latency max",
        "queue p50", "batch wait p50", "inference p50", "of it server p50", "rest p50",
        "queue p99", "batch wait p99", "inference p99", "of it server p99", "rest p99",
    ]  # fmt: skip
    assert found["sent"] == ("12,345", "4")
    assert found["lost"] == ("7", "0")
    assert found["dead letters"] == ("0", "8")
    assert found["duplicates"] == ("0", "9")
    assert found["achieved rate"] == ("4.0/s", "4.0/s")
    assert found["latency p99"] == ("100.00", "100.00")
    assert found["queue p99"] == ("1.00", "4.00")
    assert found["of it server p50"] == ("-", "55.50")
    assert found["rest p50"] == ("94.00", "25.00")


def test_the_last_line_holds_both_areas() -> None:
    assert shown(LOCAL, ENDPOINT)[-1] == "ROC AUC 0.912346 local, 0.912346 endpoint"
    no_labels = dataclasses.replace(ENDPOINT, auc=None, auc_note="the input has no [labels]")
    assert shown(LOCAL, no_labels)[-1] == "ROC AUC 0.912346 local, none (the input has no [labels]) endpoint"


def test_a_run_that_did_not_take_place_is_dashes() -> None:
    lines = shown(LOCAL, None)
    assert {right for _, right in rows(lines).values()} == {"-"}
    assert rows(lines)["sent"] == ("12,345", "-")
    assert lines[-1] == "ROC AUC 0.912346 local, none (not run) endpoint"


def test_no_row_for_a_servers_time_that_nobody_reported() -> None:
    assert not any("server" in label for label in rows(shown(LOCAL, LOCAL)))


def test_no_area_is_spoken_of_where_nobody_asked() -> None:
    without = dataclasses.replace(LOCAL, auc=None)
    assert not any("ROC AUC" in line for line in shown(without, without))


@pytest.mark.parametrize("width", [60, 80, 120])
def test_large_figures_fit_and_are_not_cut(width: int) -> None:
    latency: dict[str, float | None] = dict.fromkeys(LOCAL.latency_ms, 3_600_000.0)
    large = dataclasses.replace(LOCAL, sent=50_000_000, latency_ms=latency)
    lines = shown(large, large, width)
    assert max(map(len, lines)) <= width
    assert rows(lines)["sent"] == ("50,000,000", "50,000,000")
    assert rows(lines)["latency max"] == ("3,600,000", "3,600,000")
