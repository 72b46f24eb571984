"""Both sides send what they should to both brokers, whole runs add up, and the table. Nothing is timed."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks.harness.results import WIDTH
from benchmarks.pacing import __main__ as benchmark
from benchmarks.pacing.__main__ import main, parse
from benchmarks.pacing.measures import Row, create, sender_alone, whole_run
from benchmarks.pacing.null_broker import null_broker
from benchmarks.pacing.report import DEFAULT, show, verdicts
from broker.testing import BrokerProcess, embedded_broker
from tests.benchmarks.conftest import UsageError

ROW = Row(
    side=DEFAULT,
    broker="embedded",
    rate=5000.0,
    messages=25_000,
    sent=25_000,
    errors=0,
    seconds=5.0,
    error_ms={"p50": 0.31, "p99": 0.87, "max": 4.9},
    calls_s=1987.0,
    sender_cores=0.36,
    collector_cores=None,
    broker_cores=0.53,
)


@pytest.fixture(scope="module")
def embedded() -> Iterator[BrokerProcess]:
    with embedded_broker() as process:
        create(process.address)
        yield process


@pytest.mark.slow
@pytest.mark.parametrize("publisher", ["http2", "grpc"])
def test_a_sender_alone_sends_all(embedded: BrokerProcess, publisher: str) -> None:
    with null_broker() as null:
        for process in (embedded, null):
            row = sender_alone(process, publisher, rate=400, seconds=0.5, gather_s=0.0005)
            assert (row.broker, row.messages, row.sent, row.errors) == (process.name, 200, 200, 0)
            assert row.calls_s * row.seconds <= 200 * (1 + 1e-9)


@pytest.mark.slow
def test_a_whole_run_of_two_drivers_adds_up(embedded: BrokerProcess) -> None:
    row = whole_run(embedded, rate=400, seconds=0.5, drivers=2)
    assert (row.side, row.messages, row.sent, row.errors) == ("whole run, 2 drivers", 200, 200, 0)


def test_goals() -> None:
    null = replace(ROW, broker="null", rate=20_000.0, messages=100_000, sent=99_950, errors=50)
    assert [verdict.met for verdict in verdicts([ROW, null])] == [True, True, True]
    late = replace(ROW, error_ms={"p50": 0.3, "p99": 1.2, "max": 9.0}, sent=24_900)
    assert [verdict.met for verdict in verdicts([late, replace(null, errors=500)])] == [False, False, False]
    assert [verdict.met for verdict in verdicts([])] == [None, None, None]


def test_the_table() -> None:
    text = io.StringIO()
    whole = replace(ROW, side="whole run, 1 driver", collector_cores=0.44)
    show(Console(file=text, width=WIDTH), [ROW, whole], "a machine")
    shown = text.getvalue()
    for figure in ("25,000", "0.31", "0.87", "1,987", "0.36", "0.44", "0.53", "a machine"):
        assert figure in shown
    assert "one driver process, null broker: not measured" in shown
    assert max(map(len, shown.splitlines())) <= WIDTH


def test_the_command_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "measure", lambda seconds: [replace(ROW, seconds=seconds)])
    assert main(["--seconds=2", f"--out={tmp_path}"]) == 1  # one goal was not measured
    written = json.loads((tmp_path / "pacing.json").read_text())
    assert written["rows"][0]["seconds"] == 2
    assert "5,000" in (tmp_path / "pacing.txt").read_text()


def test_wrong_flags_are_refused(usage_error: UsageError) -> None:
    assert usage_error(parse, "--seconds=0").startswith("--seconds must be above 0")
