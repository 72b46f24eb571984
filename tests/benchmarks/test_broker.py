"""The client counts what arrives, both ways to receive work, and the table. Nothing is timed."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from benchmarks.broker import __main__ as benchmark
from benchmarks.broker import measures
from benchmarks.broker.__main__ import WIDTH, main, parse
from benchmarks.broker.client import Arrivals
from benchmarks.broker.measures import HIGH_LEVEL_UP_TO, Row, measure
from benchmarks.broker.report import show
from broker.testing import BrokerProcess, embedded_broker
from tests.benchmarks.conftest import UsageError

ROW = Row(
    broker="embedded",
    receiver="StreamingPull",
    rate=5000.0,
    seconds=10.0,
    sent=50_000,
    received=48_766,
    duplicates=7,
    achieved_rate=4993.4,
    latency_ms={"p50": 4.71, "p90": 6.8, "p99": 9.4, "max": 69.0},
    broker_cores=0.31,
    client_cores=0.33,
)


@pytest.fixture(scope="module")
def broker() -> Iterator[BrokerProcess]:
    with embedded_broker() as process:
        yield process


def test_the_first_arrival_of_a_message_counts() -> None:
    arrivals = Arrivals(4)
    arrivals.record([0, 2], at=10.5)
    arrivals.record([2, 1], at=11.5)
    assert (arrivals.count, arrivals.duplicates, arrivals.last()) == (3, 1, 11.5)
    assert arrivals.latencies_s(np.array([10.0, 11.0, 10.25, 9.0])).tolist() == [0.5, 0.5, 0.25]


@pytest.mark.parametrize("rate", [HIGH_LEVEL_UP_TO, HIGH_LEVEL_UP_TO + 1])
def test_every_message_arrives_once(broker: BrokerProcess, rate: float) -> None:
    row = measure(broker, rate, seconds=0.2, number=int(rate))
    assert row.receiver == ("SubscriberClient" if rate == HIGH_LEVEL_UP_TO else "StreamingPull")
    assert row.sent == row.received == int(rate * 0.2)
    assert row.duplicates == 0
    assert 0 < row.latency_ms["p50"] <= row.latency_ms["p99"] <= row.latency_ms["max"]


def test_the_table_fits_and_says_what_is_missing() -> None:
    console = Console(file=io.StringIO(), width=WIDTH)
    show(console, [ROW], skipped="there is no java")
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert max(map(len, text.splitlines())) <= WIDTH
    (line,) = (line for line in text.splitlines() if "StreamingPull" in line)
    assert [cell.strip() for cell in line.strip("│").split("│")] == [
        *("embedded", "StreamingPull", "5,000", "4,993", "1,234", "7"),
        *("4.7", "6.8", "9.4", "69.0", "0.31", "0.33"),
    ]
    assert "emulator was skipped: there is no java" in text


def test_flags() -> None:
    defaults = parse([])
    assert (defaults.seconds, defaults.rates, defaults.json) == (10.0, [100.0, 1000.0, 5000.0], None)
    options = parse(["--seconds=0.5", "--rates", "10", "20", "--json=figures.json"])
    assert (options.seconds, options.rates, options.json) == (0.5, [10.0, 20.0], "figures.json")


@pytest.mark.parametrize("flags", [["--seconds=0"], ["--rates", "5", "0"], ["--rates"], ["--rate=5"]])
def test_wrong_flags_end_with_exit_code_2(flags: list[str], usage_error: UsageError) -> None:
    assert flags[0].split("=")[0] in usage_error(parse, *flags)


def test_a_short_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(benchmark, "why_no_emulator", lambda: "there is no java")
    monkeypatch.setattr(measures, "DRAIN_S", 60.0)
    file = tmp_path / "figures.json"
    assert main(["--seconds=0.2", "--rates", "50", f"--json={file}"]) == 0
    figures = json.loads(file.read_text())
    assert figures["skipped"] == "there is no java"
    (row,) = figures["rows"]
    assert row.keys() == dataclasses.asdict(ROW).keys()
    assert (row["sent"], row["received"]) == (10, 10)
    assert "One hop" in capsys.readouterr().out
