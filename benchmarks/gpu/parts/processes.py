"""Processes on one GPU: one for all bundle threads, several that take turns, several under NVIDIA MPS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson

from benchmarks.gpu import mps
from benchmarks.gpu.context import GRACE_S, NO_TIME, Context, NotAvailableError, Row
from benchmarks.gpu.parts.worker import READY
from benchmarks.gpu.workload import save_weights

ROOT = Path(__file__).parents[3]

_THREADS = 48
_PROCESSES = 4
_LONGEST_S = 4.0


def measure(context: Context) -> Iterator[Row]:
    """Yield a row for each way, all with as many bundle threads in the end."""
    scale = context.scale
    threads, processes = (_THREADS, _PROCESSES) if scale.device == "gpu" else (4, 2)
    save_weights(scale.workload(scale.precisions[0]), context.folder)
    together = f"{processes} processes"
    each = threads // processes
    environment = dict(os.environ)
    one = _turn("one process for all", context, 1, threads, environment, 3)
    yield one
    # Others start as long as this one did, at least.
    start_s = one["ready_s"]
    if context.left() < start_s:
        yield {"processes": together, **NO_TIME}
    else:
        yield _turn(together, context, processes, each, environment, 2)
    title = f"{together}, MPS"
    if context.left() < start_s:
        yield {"processes": title, **NO_TIME}
        return
    try:
        with _mps(context) as environment:
            yield _turn(title, context, processes, each, environment, 1)
    except NotAvailableError as error:
        yield {"processes": title, "not_available": str(error)}


def _turn(
    title: str, context: Context, processes: int, threads: int, environment: Mapping[str, str], of: int
) -> dict[str, Any]:
    """Start the processes, have them all answer at the same time, and add up what they did."""
    with ExitStack() as stack:
        begun = time.monotonic()
        workers = [stack.enter_context(_worker(context, environment)) for _ in range(processes)]
        for worker in workers:
            if _line(worker) != READY:
                raise RuntimeError("a worker said something else than that it is ready")
        ready_s = time.monotonic() - begun
        # Others start as long as these did.
        seconds = min(_LONGEST_S, max(1.0, (context.left() - (of - 1) * ready_s) / of - 1))
        for worker in workers:
            assert worker.stdin is not None  # it is a pipe
            worker.stdin.write(f"{threads} {seconds}\n")
            worker.stdin.flush()
        loads = [orjson.loads(_line(worker)) for worker in workers]
    return {
        "processes": title,
        "threads": threads,
        "requests_per_s": sum(load["requests_per_s"] for load in loads),
        "p50_ms": max(load["p50_ms"] for load in loads),
        "p99_ms": max(load["p99_ms"] for load in loads),
        "mean_batch": sum(load["mean_batch"] for load in loads) / len(loads),
        "ready_s": ready_s,
    }


@contextmanager
def _worker(context: Context, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[str]]:
    command: Sequence[str] = [
        *(sys.executable, "-m", "benchmarks.gpu.parts.worker", str(context.folder)),
        *(() if context.scale.device == "gpu" else ("--rehearse",)),
    ]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    # Before the part itself is ended for what takes too long.
    watchdog = threading.Timer(context.left() + GRACE_S / 2, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()  # it has nothing to lose
        process.communicate()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # it is a pipe
    line = process.stdout.readline()
    if not line:
        code = process.wait()
        if code == -signal.SIGKILL:
            raise TimeoutError("a worker was killed: its time was up, or memory was short")
        raise RuntimeError(f"a worker ended early, with exit code {code}")
    return line.rstrip("\n")


@contextmanager
def _mps(context: Context) -> Iterator[dict[str, str]]:
    """Run MPS's control daemon meanwhile; yields the environment of its clients.

    Raises:
        NotAvailableError: There is none, or it does not start, or its clients do not.
    """
    if context.scale.device != "gpu":
        raise NotAvailableError("there is no GPU to share")
    folder = mps.folder_of(context.folder)
    try:
        mps.start(folder)
        yield mps.environment(folder)
    except RuntimeError as error:
        logs = " ".join(path.read_text()[-300:] for path in folder.glob("*.log"))
        raise NotAvailableError(f"{error}; {' '.join(logs.split())}") from error
    finally:
        mps.stop(folder)
