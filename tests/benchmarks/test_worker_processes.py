"""Both arrangements answer requests and get the same load; memory and medians are added up as documented."""

from __future__ import annotations

import io
import os
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from benchmarks.harness import results
from benchmarks.worker_processes import __main__ as worker_processes
from benchmarks.worker_processes.__main__ import MODELS, main, parse
from benchmarks.worker_processes.measures import Memory, Turn, memory_of, take_turn
from benchmarks.worker_processes.report import Row, show
from benchmarks.worker_processes.sides import Arrangement, arrangements
from tests.benchmarks.conftest import UsageError

PER_CPU = Arrangement("per_cpu", 4, 12)
SINGLE = Arrangement("single", 1, 48)


def turn(rate: float, memory: tuple[Memory, ...] = (Memory(300, 100),)) -> Turn:
    return Turn(rate, p99_ms=1000 / rate, memory=memory)


def test_the_same_load_on_both() -> None:
    assert arrangements(4, 12) == (PER_CPU, SINGLE)
    assert len({each.processes * each.threads for each in arrangements(7, 5)}) == 1


def test_files_that_processes_share_count_once() -> None:
    found = turn(1, (Memory(resident=300, own=100), Memory(resident=290, own=110)))
    assert found.memory_mib == 100 + 110 + 200
    assert found.resident_mib == 590


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux's /proc")
def test_memory_of_a_process() -> None:
    before = memory_of(os.getpid())
    held = bytearray(os.urandom(1)) * (64 << 20)
    after = memory_of(os.getpid())
    assert len(held) == 64 << 20
    # Other threads of this process may let go of some.
    assert after.own - before.own > 32
    assert 0 < after.own < after.resident


def test_medians_of_the_rounds() -> None:
    row = Row("a model", SINGLE, (turn(10), turn(1000), turn(20)))
    assert row.medians == {"requests_per_s": 20, "p99_ms": 50, "memory_mib": 300, "resident_mib": 300}


def test_a_table_for_each_model() -> None:
    rows = [
        Row(model, arrangement, (turn(1234),))
        for model in ("one", "two")
        for arrangement in (PER_CPU, SINGLE)
    ]
    text = Console(file=io.StringIO(), width=results.WIDTH)
    show(text, rows)
    assert isinstance(text.file, io.StringIO)
    lines = text.file.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines if "bundles of one request" in line] == ["one", "two"]
    cells = [line.split() for line in lines if "--worker_processes=per_cpu" in line]
    assert cells == 2 * [["--worker_processes=per_cpu", "4", "4", "×", "12", "1,234", "0.8", "300", "300"]]


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("--seconds=0", "--seconds must be above 0"),
        ("--rounds=0", "--rounds and --threads at least 1"),
        ("--models=bert", "the models are autoencoder, mlp"),
        ("--out=/no/such/folder", "is not a folder that exists"),
        ("--thread=3", "unrecognized arguments"),
    ],
)
def test_wrong_flags(argument: str, error: str, usage_error: UsageError) -> None:
    assert error in usage_error(parse, argument)


def test_one_core_has_nothing_to_compare(monkeypatch: pytest.MonkeyPatch, usage_error: UsageError) -> None:
    monkeypatch.setattr(worker_processes, "cores", lambda: 1)
    assert "one core" in usage_error(parse)


@pytest.mark.slow
def test_a_process_that_does_not_start(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    flags = [f"--model_path={tmp_path / 'no.pt2'}", "--input_shape=30"]
    with pytest.raises(RuntimeError, match="a process of the worker ended early, with exit code 1"):
        take_turn(SINGLE, flags, 0.1, 0.1)
    assert "no.pt2" in capfd.readouterr().err


@pytest.mark.slow
def test_a_short_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_processes, "WARM_UP_S", 0.1)
    monkeypatch.setattr(worker_processes, "cores", lambda: 2)
    short = ["--seconds=0.2", "--rounds=1", "--threads=2", "--models=autoencoder"]
    assert main([*short, f"--out={tmp_path}"]) == 0
    assert "--worker_processes=single" in (tmp_path / "worker_processes.txt").read_text()
    per_cpu, single = orjson.loads((tmp_path / "worker_processes.json").read_bytes())["rows"]
    for row, processes in ((per_cpu, 2), (single, 1)):
        assert row["model"] == MODELS["autoencoder"]().title
        assert row["arrangement"]["processes"] * row["arrangement"]["threads"] == 4
        assert row["medians"]["requests_per_s"] > 0
        (taken,) = row["turns"]
        assert len(taken["memory"]) == processes
