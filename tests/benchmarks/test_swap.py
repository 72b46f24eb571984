"""The arithmetic of `benchmarks.swap`, and its two models; nothing is driven, nothing is timed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import orjson
import pytest
from rich.console import Console

from benchmarks.swap.__main__ import parse
from benchmarks.swap.job import Switch
from benchmarks.swap.measures import WARMUP_S, Counts, Delivery, Measured, Swap, find_swaps, measure, read
from benchmarks.swap.models import RECORDS, is_right, make_versions, point
from benchmarks.swap.report import figures, show
from loadtest.display import Progress
from tests.benchmarks.conftest import UsageError

COUNTS = Counts(sent=6, lost=0, dead_lettered=0)


def deliver(due: float, ms: float, model_id: str = "a", right: bool = True) -> Delivery:
    return Delivery(due, due + ms / 1000, model_id, right)


def measured(p99_during: float, lost: int = 0, wrong: int = 0) -> Measured:
    latency = {"p50": 1.0, "p95": 5.0, "p99": 10.0, "max": 20.0}
    return Measured(
        "local", 300.0, 100, lost, 0, wrong, 1, [0.5], 90, 10, latency, {**latency, "p99": p99_during}
    )


def test_a_swap_ends_when_all_results_are_of_another_model() -> None:
    deliveries = [deliver(1, 10), deliver(2, 10), deliver(3, 10, "b"), deliver(4, 10, "b"), deliver(5, 10)]
    assert find_swaps(deliveries, [1.5, 3.5]) == [Swap(1.5, 3.01), Swap(3.5, 5.01)]
    assert find_swaps(deliveries, [4.5, 6]) == [Swap(4.5, 5.01)]
    # Of two processes, the second swaps later.
    deliveries = [deliver(1, 10), deliver(2, 10, "b"), deliver(3, 10), deliver(4, 10, "b")]
    assert find_swaps(deliveries, [1.5]) == [Swap(1.5, 3.01)]


def test_what_was_in_flight_at_any_time_of_a_swap_is_during() -> None:
    late = WARMUP_S + 100
    deliveries = [
        deliver(100, 1),  # warm-up
        deliver(late, 2),
        deliver(late + 1.9, 300),  # due before, answered within
        deliver(late + 2.5, 30),
        deliver(late + 3, 40, "b"),  # due as it ended
        deliver(late + 4, 5, "b", right=False),
    ]
    found = measure("local", 300, COUNTS, deliveries, [Swap(late + 2, late + 3.04)])
    assert (found.messages_between, found.messages_during, found.wrong_model_id) == (2, 3, 1)
    assert found.between_ms["max"] == pytest.approx(5)
    assert found.during_ms["max"] == pytest.approx(300)
    assert found.during_ms["p50"] == pytest.approx(40)


@pytest.mark.parametrize(
    ("one", "met"),
    [
        (measured(20), [True, True, True]),
        (measured(20.1), [True, True, False]),
        (measured(1, lost=1), [False, True, True]),
        (measured(1, wrong=1), [True, False, True]),
    ],
)
def test_goals(one: Measured, met: list[bool]) -> None:
    assert [verdict.met for verdict in one.verdicts] == met
    console = Console(file=io.StringIO(), width=100)
    show(console, one)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("not met") == met.count(False)
    verdicts: Any = figures(one)["verdicts"]
    assert [verdict["met"] for verdict in verdicts] == met


def test_the_versions_and_who_is_right(tmp_path: Path) -> None:
    versions = make_versions(tmp_path)
    first, second = (float(version.predictions[3]) for version in versions)
    assert first == pytest.approx(-second)
    assert first != 0
    assert is_right({"model_id": "v1.pt2@abc", "prediction": first}, 3, versions)
    assert is_right(
        {"model_id": "v1.pt2@abc", "prediction": first}, 3 + len(versions[0].predictions), versions
    )
    assert not is_right({"model_id": "v2.pt2@abc", "prediction": first}, 3, versions)
    assert not is_right({"model_id": "v3.pt2@abc", "prediction": first}, 3, versions)
    golden = [orjson.loads(line) for line in (tmp_path / "v2.pt2.golden.jsonl").read_bytes().splitlines()]
    assert golden[3]["prediction"] == pytest.approx(second)
    assert golden[3]["features"] == orjson.loads(RECORDS.read_bytes().splitlines()[3])["features"]
    point(tmp_path / "current", versions[1])
    assert (tmp_path / "current").read_text() == "v2.pt2"


def test_the_pointer_goes_there_and_back_when_it_is_time(tmp_path: Path) -> None:
    versions = make_versions(tmp_path)
    pointer = tmp_path / "current"
    point(pointer, versions[0])
    switch = Switch(pointer, versions, [10.0, 20.0])
    seen = []
    for elapsed, sent in ((15, 0), (9, 1), (10, 1), (19, 1), (20, 1), (99, 1)):
        switch.update(Progress("sending", elapsed, total=9, sent=sent))
        seen.append(pointer.read_text())
    assert seen == ["v1.pt2", "v1.pt2", "v2.pt2", "v2.pt2", "v1.pt2", "v1.pt2"]
    assert len(switch.written) == 2


def test_reads_what_the_driver_wrote(tmp_path: Path) -> None:
    versions = make_versions(tmp_path)
    row = {
        "sequence": 0,
        "collected": 12.5,
        "latency_ms": 500.0,
        "result": {"model_id": "v1.pt2@abc", "prediction": float(versions[0].predictions[0])},
    }
    (tmp_path / "results.jsonl").write_bytes(orjson.dumps(row))
    assert read(tmp_path / "results.jsonl", versions) == [Delivery(12.0, 12.5, "v1.pt2@abc", True)]


@pytest.mark.parametrize("flag", ["--rate=0", "--swaps=0", "--every=1"])
def test_wrong_flags(flag: str, usage_error: UsageError) -> None:
    assert "--every at least 2" in usage_error(parse, flag)
