"""Fewer cores for the process: its threads share one interpreter lock, and wake sooner on few."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import asdict

from benchmarks.gpu.context import Context, NotAvailableError, Row
from benchmarks.gpu.drive import drive
from benchmarks.gpu.sides import our_core
from benchmarks.gpu.workload import save_weights

_CORES = (4, 2, 1)
_THREADS = 48
_LONGEST_S = 3.0


def measure(context: Context) -> Iterator[Row]:
    """Yield what ours carries on all cores, and on fewer.

    Raises:
        NotAvailableError: This system cannot keep a process to some cores.
    """
    if not hasattr(os, "sched_setaffinity") or not os.path.isdir("/proc/self/task"):
        raise NotAvailableError("this system cannot keep a process to some cores")
    scale = context.scale
    workload = scale.workload(scale.precisions[0])
    weights = save_weights(workload, context.folder)
    threads = _THREADS if scale.device == "gpu" else 8
    every = sorted(os.sched_getaffinity(0))
    counts = [len(every), *(count for count in _CORES if count < len(every))]
    left = len(counts) * len(scale.bundles)
    for count in counts:
        _keep_to(every[:count])
        side = our_core(workload, scale, weights)
        try:
            for bundle in scale.bundles:
                seconds = context.share(left, _LONGEST_S)
                left -= 1
                inputs = workload.inputs(threads * bundle)
                load = drive(side, inputs, threads, bundle, 0.75 * seconds, 0.25 * seconds)
                yield {"cores": count, "bundle": bundle, "threads": threads, **asdict(load)}
        finally:
            side.close()


def _keep_to(cores: list[int]) -> None:
    # Of each thread: those that torch and CUDA have started, too.
    for thread in os.listdir("/proc/self/task"):
        with contextlib.suppress(ProcessLookupError):  # it has ended since
            os.sched_setaffinity(int(thread), cores)
