"""Processes on one GPU: one for all bundle threads, several that take turns, several under NVIDIA MPS."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson

from benchmarks.gpu.context import Context, NotAvailableError, Row
from benchmarks.gpu.parts.worker import READY
from benchmarks.gpu.workload import save_weights

ROOT = Path(__file__).parents[3]
MPS = "nvidia-cuda-mps-control"

_THREADS = 48
_PROCESSES = 4
_LONGEST_S = 4.0
_START_S = 120.0


def measure(context: Context) -> Iterator[Row]:
    """Yield a row for each way, all with as many bundle threads in the end."""
    scale = context.scale
    threads, processes = (_THREADS, _PROCESSES) if scale.device == "gpu" else (4, 2)
    save_weights(scale.workload(scale.precisions[0]), context.folder)
    environment = dict(os.environ)
    yield _turn("one process for all", context, 1, threads, environment, 3)
    yield _turn(f"{processes} processes", context, processes, threads // processes, environment, 2)
    try:
        with _mps(context) as environment:
            yield _turn(
                f"{processes} processes, MPS", context, processes, threads // processes, environment, 1
            )
    except NotAvailableError as error:
        yield {"processes": f"{processes} processes, MPS", "not_available": str(error)}


def _turn(
    title: str, context: Context, processes: int, threads: int, environment: Mapping[str, str], of: int
) -> Row:
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
    watchdog = threading.Timer(_START_S + context.left(), process.kill)
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
        raise RuntimeError(f"a worker ended early, with exit code {process.wait()}")
    return line.rstrip("\n")


@contextmanager
def _mps(context: Context) -> Iterator[dict[str, str]]:
    """Run MPS's control daemon meanwhile; yields the environment of its clients.

    Raises:
        NotAvailableError: There is none, or it does not start.
    """
    program = shutil.which(MPS)
    if context.scale.device != "gpu":
        raise NotAvailableError("there is no GPU to share")
    if program is None:
        raise NotAvailableError(f"{MPS} is not installed")
    folder = context.folder / "mps"
    folder.mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "CUDA_MPS_PIPE_DIRECTORY": str(folder),
        "CUDA_MPS_LOG_DIRECTORY": str(folder),
    }
    started = subprocess.run(
        [program, "-d"], env=environment, capture_output=True, text=True, timeout=20, check=False
    )
    if started.returncode != 0:
        reason = (started.stderr or started.stdout).strip() or f"exit code {started.returncode}"
        raise NotAvailableError(f"{MPS} -d: {reason}")
    try:
        yield environment
    except RuntimeError as error:
        logs = " ".join(path.read_text()[-300:] for path in folder.glob("*.log"))
        raise NotAvailableError(f"{error}; {' '.join(logs.split())}") from error
    finally:
        subprocess.run(
            [program],
            env=environment,
            input="quit\n",
            text=True,
            capture_output=True,
            timeout=20,
            check=False,
        )
