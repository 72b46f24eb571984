"""The parts of the GPU benchmark, rehearsed on the CPU: what they measure, and what they say without time."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.gpu.context import NO_TIME, Context, NotAvailableError, Row
from benchmarks.gpu.drive import _TOGETHER_WITHIN_S, drive
from benchmarks.gpu.options import job_options
from benchmarks.gpu.parts import against_stock, copies, cores, cuda_tests, memory, processes, swap, waiting
from benchmarks.gpu.sides import Answered, Send, Side
from benchmarks.gpu.workload import REHEARSAL
from pipeline.model.model import Model
from pipeline.model.outputs import OutputRows
from pipeline.request.input_spec import Inputs
from tests.waiting import LIMIT_S, TIME_SCALE


@pytest.fixture
def context(tmp_path: Path) -> Iterator[Context]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Context(REHEARSAL, False, tmp_path, time.monotonic() + 2)
    torch.set_num_threads(threads)


def test_a_batch_that_memory_has_no_room_for(context: Context) -> None:
    whole, first, following = memory.measure(context)
    assert (whole["passes"], whole["largest_pass"]) == (1, 128)
    for row in (first, following):
        assert (row["passes"], row["largest_pass"]) == (4, 32)
        assert (row["answers"], row["failed_rows"], row["cut"]) == ("equal", 0, "yes")


def test_memory_that_did_not_run_out_is_not_said_to_have(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory._Cramped, "run", Model.run)
    _, first, following = memory.measure(context)
    assert {row["cut"] for row in (first, following)} == {"no, memory did not run out"}


def test_rows_that_memory_has_no_room_for_are_a_difference(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(model: Model, inputs: list[Inputs], rows: int) -> OutputRows:
        raise ValueError("no")

    monkeypatch.setattr(memory._Cramped, "run", run)
    _, first, following = memory.measure(context)
    for row in (first, following):
        assert (row["failed_rows"], row["answers"]) == (128, "DIFFERENT")


@pytest.mark.slow
def test_copies_are_measured_alone_and_together(context: Context) -> None:
    *steps, _, two, _ = copies.measure(context)
    assert [str(step["step"])[:4] for step in steps[:3]] == ["put ", "copy", "forw"]
    assert two["step"] == "whole batches, 2 at once"
    assert isinstance(two["of_longest"], float)


def test_copies_without_time_are_measured_once(context: Context) -> None:
    rows = list(copies.measure(replace(context, ends_at=time.monotonic())))
    assert all(row["ms"] for row in rows)


def test_cells_without_time_say_so(context: Context) -> None:
    rows = list(against_stock.measure(replace(context, ends_at=time.monotonic())))
    scale = context.scale
    assert len(rows) == len(scale.precisions) * len(scale.threads) * len(scale.bundles) * 2
    assert {row["not_measured"] for row in rows} == {"no time was left"}
    assert {(row["threads"], row["bundle"], row["side"]) for row in rows} >= {(8, 4, "stock"), (1, 1, "ours")}


def test_a_thread_that_fails_does_not_keep_the_others_waiting() -> None:
    entered: list[int] = []

    @contextmanager
    def bundle_thread(inputs: Sequence[Inputs]) -> Iterator[Send]:
        entered.append(len(inputs))
        if len(entered) == 3:
            raise OSError("no more of them")
        yield lambda: Answered([], [1])

    begun = time.monotonic()
    with pytest.raises(OSError, match="no more of them"):
        drive(Side("ours", bundle_thread, lambda: None), [np.zeros(1, np.float32)] * 3, 3, 1, 0.1, 0.1)
    assert time.monotonic() - begun < 0.5 * _TOGETHER_WITHIN_S


@pytest.mark.slow
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


def test_workers_do_not_outlive_the_part(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.0)
    with pytest.raises(TimeoutError, match="its time was up"):
        next(processes.measure(replace(context, ends_at=time.monotonic() + 0.1)))


@pytest.mark.slow
def test_processes_without_time_say_so(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 2 * LIMIT_S)
    one, several, by_mps = processes.measure(replace(context, ends_at=time.monotonic()))
    assert float(str(one["requests_per_s"])) > 0
    assert several == {"processes": "2 processes", **NO_TIME}
    assert by_mps == {"processes": "2 processes, MPS", **NO_TIME}


def write_tests(folder: Path, hangs: str) -> Path:
    tests = folder / "tests"
    tests.mkdir()
    (tests / "test_it.py").write_text(f"""
import os, time
import pytest

def test_good():
    pass

def test_bad():
    assert 1 + 1 == 3

@pytest.mark.skip(reason="not here")
def test_skipped():
    pass

@pytest.fixture
def broken():
    yield
    raise OSError("at the end")

def test_broken(broken):
    pass

def test_hangs():
    {hangs}

def test_never():
    pass
""")
    return tests


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hangs", "problem"),
    [("time.sleep(1000)", "the tests took too long: .*test_hangs"), ("os._exit(9)", "pytest ended with 9")],
)
def test_tests_before_one_that_hangs_or_crashes_are_kept(
    context: Context, tmp_path: Path, hangs: str, problem: str
) -> None:
    # For pytest to start in, on a busy machine too.
    context = replace(context, ends_at=time.monotonic() + 8 * TIME_SCALE)
    rows: list[Row] = []
    with pytest.raises(RuntimeError, match=f"(?s){problem}"):
        rows.extend(cuda_tests.run_tests(write_tests(tmp_path, hangs), context))
    assert [(row["test"], row["outcome"], row["reason"]) for row in rows] == [
        ("test_it.py::test_good", "passed", ""),
        ("test_it.py::test_bad", "failed", "assert (1 + 1) == 3"),
        ("test_it.py::test_skipped", "skipped", "not here"),
        ("test_it.py::test_broken", "failed", "OSError: at the end"),
    ]


def test_no_pytest_is_no_failure(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotAvailableError, match="pytest is not installed"):
        next(cuda_tests.measure(context))


def bundle(begun: float, ended: float, version: str | None = "v1", right: bool = True) -> swap.Sent:
    return swap.Sent(begun, ended, version, right)


def test_only_swaps_that_were_seen_count() -> None:
    warm_up = [bundle(0, 9)] * (12 * 20)
    sent = [*warm_up, bundle(10, 11), bundle(20, 23, "v2"), bundle(30, 31, None, right=False)]
    tried = [swap.Swap(19, 22, seen=True), swap.Swap(29, 89, seen=False)]
    between, during, in_all = swap.summary(sent, tried, 3)
    assert (between["requests"], between["p99_ms"]) == (1, 1000)
    assert (during["requests"], during["p99_ms"]) == (2, 3000)
    assert (in_all["requests"], in_all["wrong"]) == (243, 1)
    assert (in_all["swaps"], in_all["swaps_not_seen"], in_all["swaps_not_tried"]) == (1, 1, 1)
    assert in_all["swap_s"] == 3


def test_options_are_those_of_the_job() -> None:
    options = job_options({"max_batch_size": "7", "device": "gpu"})
    assert (options.max_batch_size, options.device, options.max_batch_wait_ms) == (7, "gpu", 1.0)
    with pytest.raises(ValueError, match="neither true nor false"):
        job_options({"compile": "yes"})
