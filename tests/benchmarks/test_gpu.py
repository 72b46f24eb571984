"""`python -m benchmarks.gpu` without a GPU: its rehearsal, its report, and what becomes of failing parts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import report, wheels
from benchmarks.gpu.context import Context, NotAvailableError
from benchmarks.gpu.goals import verdicts
from benchmarks.gpu.nvml import Sampler, open_nvml
from benchmarks.gpu.options import job_options
from benchmarks.gpu.parts import copies, cores, memory, waiting
from benchmarks.gpu.parts.cuda_tests import TESTS
from benchmarks.gpu.plan import PARTS
from benchmarks.gpu.process import NOT_AVAILABLE
from benchmarks.gpu.process import main as process
from benchmarks.gpu.workload import REHEARSAL
from tests.waiting import LIMIT_S

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Context(REHEARSAL, False, tmp_path, time.monotonic() + 2)
    torch.set_num_threads(threads)


@no_gpu
def test_without_a_gpu_it_says_what_can_be_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([])
    assert ended.value.code == 2
    assert "--rehearse" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--parts=plain,speed"], "there is no speed"),
        (["--minutes=0"], "--minutes"),
        (["--out=/no/such/folder"], "--out"),
    ],
)
def test_wrong_flags(flags: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["--rehearse", *flags])
    assert ended.value.code == 2
    assert problem in capsys.readouterr().err


def test_a_rehearsal_says_that_it_is_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both ways answer alike, by the same code that runs on a GPU."""
    flags = ["--rehearse", "--minutes=0.4", "--parts=against_stock,waiting", f"--out={tmp_path}"]
    assert command.main(flags) == 0
    shown = capsys.readouterr().out
    text, found = (
        (tmp_path / "gpu-rehearsal.txt").read_text(),
        json.loads((tmp_path / "gpu-rehearsal.json").read_text()),
    )
    assert shown.strip() == text.strip()
    assert text.startswith("REHEARSAL on the CPU")
    assert {row["side"] for row in found["parts"]["against_stock"]["rows"]} == {"stock", "ours"}
    assert found["parts"]["waiting"]["status"] == "not available: there is no GPU to wait for"
    assert set(found["machine"]) >= {"device", "driver", "torch", "apache-beam", "python", "date"}
    assert not list(tmp_path.glob("*.part"))


def test_a_batch_that_memory_has_no_room_for(context: Context) -> None:
    whole, first, following = memory.measure(context)
    assert (whole["passes"], whole["largest_pass"]) == (1, 128)
    for row in (first, following):
        assert (row["passes"], row["largest_pass"]) == (4, 32)
        assert (row["answers"], row["failed_rows"]) == ("equal", 0)


def test_copies_are_measured_alone_and_together(context: Context) -> None:
    *steps, _, two, _ = copies.measure(context)
    assert [str(step["step"])[:4] for step in steps[:3]] == ["put ", "copy", "forw"]
    assert two["step"] == "whole batches, 2 at once"
    assert isinstance(two["of_longest"], float)


def test_fewer_cores(context: Context) -> None:
    every = os.sched_getaffinity(0)
    try:
        rows = list(cores.measure(context))
    finally:
        os.sched_setaffinity(0, every)
    assert {row["cores"] for row in rows} == {len(every), *(n for n in (4, 2, 1) if n < len(every))}
    assert all(row["requests_per_s"] for row in rows)


def test_what_cannot_be_measured_says_why(context: Context) -> None:
    with pytest.raises(NotAvailableError, match="no GPU"):
        next(waiting.measure(context))


def test_rows_before_a_failure_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(context: Context) -> Iterator[dict[str, object]]:
        yield {"rate": 1.0}
        raise NotAvailableError("no more")

    monkeypatch.setitem(PARTS, "plain", type(PARTS["plain"])("Plain", measure, 1))
    rows = tmp_path / "rows"
    flags = ["plain", "--seconds=1", f"--folder={tmp_path}", f"--rows={rows}", "--rehearse"]
    assert process(flags) == NOT_AVAILABLE
    found = [json.loads(line) for line in rows.read_text().splitlines()]
    assert found[0] == {"rate": 1.0}
    assert command._status(NOT_AVAILABLE, found, rows) == "not available: no more"
    assert found == [{"rate": 1.0}]


def test_a_part_that_fails_shows_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("Traceback …\nRuntimeError: CUDA error")
    assert command._status(1, [], log).startswith("failed with exit code 1: ")
    assert command._status(1, [], log).endswith("RuntimeError: CUDA error")
    assert command._status(None, [], log) == "ended when its time was up"
    assert command._status(0, [], log) == "measured"


def row(side: str, rate: float) -> dict[str, object]:
    return {"precision": "fp16", "bundle": 1, "threads": 48, "side": side, "requests_per_s": rate}


def test_goals() -> None:
    parts = {
        "against_stock": {"rows": [row("stock", 100.0), row("ours", 600.0)]},
        "plain": {"rows": [{"precision": "fp16", "batch": 8, "ms": 1.0, "rate": 1000.0}]},
        "copies": {"rows": [{"step": "forward pass", "ms": 1.0}, {"step": "whole", "of_longest": 1.3}]},
    }
    assert [(round(verdict.value, 3), verdict.met) for verdict in verdicts(parts)] == [
        (6.0, True),
        (0.6, False),
        (1.3, False),
    ]
    assert verdicts({"waiting": {"rows": []}}) == []


def test_the_report() -> None:
    part = {
        "title": "Plain forward passes",
        "status": "measured",
        "seconds": 3.0,
        "rows": [{"batch": 1, "rate": 1234.5}, {"batch": 128, "rate": 9.876}],
        "nvml": {"power_w_mean": 92.4, "sm_utilization_percent_mean": "not available: no GPM"},
    }
    tests = {
        **part,
        "title": "CUDA tests",
        "rows": [
            {"test": "a", "outcome": "passed", "reason": "", "seconds": 0.1},
            {"test": "b", "outcome": "passed", "reason": "", "seconds": 0.1},
            {"test": "c", "outcome": "failed", "reason": "AssertionError", "seconds": 0.1},
        ],
    }
    run = {"title": "A title", "machine": {"device": "NVIDIA L4"}, "parts": {"plain": part, "tests": tests}}
    lines = report.text(run, []).splitlines()
    assert "  batch   rate" in lines
    assert "      1  1,234" in lines
    assert "    128   9.88" in lines
    assert {"2 passed", "1 failed: AssertionError", "device NVIDIA L4"} <= set(lines)
    assert any("power_w_mean 92.4" in line for line in lines)
    assert max(map(len, lines)) <= 110


@no_gpu
def test_nvml_that_is_not_there_is_a_reason_and_not_a_zero() -> None:
    library, why = open_nvml()
    assert library is None
    with Sampler().sampling() as readings:
        pass
    assert readings() == {"nvml": why}
    assert why.startswith("not available: ")
    assert Sampler().driver() == why


def test_options_are_those_of_the_job() -> None:
    options = job_options({"max_batch_size": "7", "device": "gpu"})
    assert (options.max_batch_size, options.device, options.max_batch_wait_ms) == (7, "gpu", 1.0)
    with pytest.raises(ValueError, match="neither true nor false"):
        job_options({"compile": "yes"})


def test_wheels_are_those_of_the_lock_but_what_a_gpu_machine_has() -> None:
    pinned = wheels.requirements()
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==\S+", line) for line in pinned)
    names = {line.partition("==")[0] for line in pinned}
    assert {"apache-beam", "orjson", "pytest"} <= names
    assert not {"torch", "numpy", "pyarrow"} & names
    line = wheels.command("3.12", Path("out"))
    assert {"--no-deps", "--only-binary=:all:", "--python-version=3.12"} <= set(line)


def test_the_parts_need_neither_beam_nor_what_a_bare_machine_lacks() -> None:
    """In a process in which importing any of it fails."""
    code = """
import sys
for name in ("apache_beam", "aiohttp", "rich", "google.cloud", "grpc", "fastapi", "pynvml"):
    sys.modules[name] = None
import benchmarks.gpu.__main__, benchmarks.gpu.parts.worker, benchmarks.gpu.process, benchmarks.gpu.wheels
"""
    subprocess.run([sys.executable, "-c", code], cwd=command.ROOT, check=True, timeout=LIMIT_S)


def test_the_cuda_tests_are_collected_in_a_bare_checkout(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    code = f"""
import sys
for name in ("apache_beam", "aiohttp", "rich", "google.cloud", "grpc", "fastapi"):
    sys.modules[name] = None
import pytest
sys.exit(pytest.main(["-q", "--collect-only", "-p", "no:cacheprovider", "--config-file={tmp_path}/pytest.ini",
    "--rootdir={TESTS}", "--confcutdir={TESTS}", "{TESTS}"]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=command.ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "test_staging.py" in ended.stdout
