"""What `benchmarks.worker_processes` measures: a worker's processes under load, started anew each time."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from benchmarks.worker_processes.process import READY
from benchmarks.worker_processes.sides import Arrangement

ROOT = Path(__file__).parents[2]
# For all that a process does besides being measured: imports and loading, on a busy machine.
_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Memory:
    """Memory of one process in MiB; NaN where there is no /proc.

    Attributes:
        resident: All that is in memory.
        own: The process's heap and its copy of the model. The rest are mapped files, such as torch's
            libraries.
    """

    resident: float
    own: float


@dataclass(frozen=True)
class Turn:
    """What the processes of a worker did together."""

    requests_per_s: float
    p99_ms: float
    memory: tuple[Memory, ...]

    @property
    def memory_mib(self) -> float:
        """What the worker needs: each process's own, and once the mapped files, which all of them share.

        The processes' PSS would add up to this, if no other process had these files mapped.
        """
        return sum(each.own for each in self.memory) + max(each.resident - each.own for each in self.memory)

    @property
    def resident_mib(self) -> float:
        """The resident memory of all processes. Shared files count for each."""
        return sum(each.resident for each in self.memory)


def take_turn(arrangement: Arrangement, flags: Sequence[str], warm_up: float, seconds: float) -> Turn:
    """Start the processes, have them warm up, measure them, and end them.

    Args:
        arrangement: The processes and their bundle threads.
        flags: Of the job, which name the model.
        warm_up: Seconds.
        seconds: Measured after that.

    Raises:
        RuntimeError: A process ended, or took too long.
    """
    timeout_s = _TIMEOUT_S + warm_up + seconds
    command = [*flags, "--runner=DataflowRunner", arrangement.title]
    with ExitStack() as stack:
        processes = [stack.enter_context(_process(command, timeout_s)) for _ in range(arrangement.processes)]
        for process in processes:
            if _line(process) != READY:
                raise RuntimeError("a process of the worker said something else than that it is ready")
        _bundles(processes, arrangement.threads, warm_up)
        latencies = _bundles(processes, arrangement.threads, seconds)
        memory = tuple(memory_of(process.pid) for process in processes)
    return Turn(len(latencies) / seconds, float(np.percentile(latencies, 99)), memory)


def memory_of(pid: int) -> Memory:
    """Return the memory of a running process."""
    rollup = Path(f"/proc/{pid}/smaps_rollup")
    if not rollup.exists():
        return Memory(math.nan, math.nan)
    # The first line is the range of addresses; the others are "Rss:  1736 kB".
    kib = {line.split(":")[0]: int(line.split()[1]) for line in rollup.read_text().splitlines()[1:]}
    return Memory(kib["Rss"] / 1024, kib["Anonymous"] / 1024)


@contextmanager
def _process(flags: Sequence[str], timeout_s: float) -> Iterator[subprocess.Popen[str]]:
    """Start a process. It is not a fork of this one: forks share memory that a worker's processes do not."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.worker_processes.process", *flags],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is this process's to handle
    )
    watchdog = threading.Timer(timeout_s, process.kill)
    watchdog.start()
    try:
        yield process
    finally:
        watchdog.cancel()
        process.kill()  # it has nothing to lose
        process.communicate()


def _bundles(processes: Sequence[subprocess.Popen[str]], threads: int, seconds: float) -> list[float]:
    """Return the latencies of all processes, which work at the same time."""
    for process in processes:
        assert process.stdin is not None  # for mypy: it is a pipe
        process.stdin.write(f"{threads} {seconds}\n")
        process.stdin.flush()
    return [latency for process in processes for latency in orjson.loads(_line(process))]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None  # for mypy: it is a pipe
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"a process of the worker ended early, with exit code {process.wait()}")
    return line.rstrip("\n")
