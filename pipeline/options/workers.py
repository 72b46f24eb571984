"""How the processes of a worker share its cores."""

from __future__ import annotations

import os

from pipeline.options.job_options import SINGLE, JobOptions

# Experiments of Dataflow: one Python process for all vCPUs of a worker, or one for each. Beam adds the second
# unless the first is given.
ONE_PROCESS = "no_use_multiple_sdk_containers"
PROCESS_PER_CPU = "use_multiple_sdk_containers"


def torch_threads(options: JobOptions, on_dataflow: bool) -> int:
    """Return the threads of one call of the model on the CPU.

    They are --torch_threads, else this process's share of the cores. Call it in the process that runs the
    model: the machine that launches a job has other cores.

    On Dataflow the share is the cores divided by the processes: one, if each vCPU has a process. Elsewhere
    there is one process, and it leaves a core to reading, decoding and Beam. With a thread of the model on
    every core, each forward pass would wait for the thread that lost its core (2 cores, busy: p99 of a small
    model 125 ms instead of 5).
    """
    if options.torch_threads is not None:
        return options.torch_threads
    if not on_dataflow:
        return max(1, cores() - 1)
    return cores() // processes(options, on_dataflow)


def processes(options: JobOptions, on_dataflow: bool) -> int:
    """Return the SDK processes of this worker, which share its GPU. Call it in one of them."""
    return cores() if on_dataflow and options.worker_processes != SINGLE else 1


def cores() -> int:
    """Return the cores that this process may run on: fewer than the machine has, if a cpuset says so.

    A container's CPU quota is not seen: give --torch_threads there.
    """
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
