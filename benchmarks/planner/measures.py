"""What `benchmarks.planner` measures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.planner import queues
from planner.calibration import judge
from planner.calibration.fit import Service
from planner.calibration.judge import Cell, Judged
from planner.calibration.rows import read
from planner.kernel.curve import worker_curve
from planner.kernel.replica import Replica, closed_loop
from planner.kernel.simulation import poisson, simulate
from planner.kernel.worker import (
    LOCAL_ENGINE,
    AcrossBundles,
    Bundles,
    BundleWork,
    CallTime,
    EndpointCalls,
    ModelInWorker,
    OnGpu,
    WithinBundle,
    Worker,
)

# Vertex AI's default target for the CPU, and what its autoscaler needs to be above.
TARGET = 0.60
# Small model, JSON: round figures, as only their order matters for what is shown here.
_WORK = BundleWork(0.001, 0.00003, 0.0001, 0.00003, 0.001, 0.0005)
_CALL = CallTime(0.0004, 0.00003, 0.1)


@dataclass(frozen=True)
class ClosedForm:
    """A queue: its formula, and what the kernel found."""

    name: str
    load: float
    latency_ms: float
    simulated_ms: float
    length: float
    simulated_length: float


@dataclass(frozen=True)
class Sensitivity:
    """What a service that looks so often, and spreads messages so far, would have predicted."""

    look_ms: float
    spread_ms: float
    cells: int
    told: int
    done_error: float
    p50_error: float


@dataclass(frozen=True)
class Speed:
    """How fast a worker is simulated at one rate, and how long its curve takes, in processor time."""

    worker: str
    rate: float
    batch_size: float
    per_second: float
    curve_s: float


@dataclass(frozen=True)
class Container:
    """A container of so many processes on four vCPUs, with 64 calls at once."""

    processes: int
    calls_per_second: float
    cpu: float
    p50_ms: float


def closed_forms(messages: int, seed: int) -> list[ClosedForm]:
    """Return all queues of known latency."""
    found = []
    for queue in queues.queues():
        run = queues.run(queue, messages, seed)
        latency_ms = float(run.latency_s.mean()) * 1e3
        known = queue.rate * queue.latency_s
        found.append(
            ClosedForm(queue.name, queue.load, queue.latency_s * 1e3, latency_ms, known, queues.length(run))
        )
    return found


def calibrations(seed: int) -> list[Judged]:
    """Return each configuration calibrated on its own rows, then the T4's by the L4's law."""
    published = read()
    carried = judge.carried_over(published, "L4", "T4", seed)
    return [*judge.by_configuration(published, seed), *(one for one, _ in carried)]


def sensitivity(seed: int) -> list[Sensitivity]:
    """Return what other figures of the service, which is not published, would have predicted."""
    published = read()
    found = []
    for look_s in (0.010, 0.015, 0.020, 0.030):
        for spread_s in (0.0, 0.005, 0.010):
            judged = judge.by_configuration(published, seed, Service(look_s, spread_s))
            cells = predicted(judged)
            done, p50 = errors(cells)
            told = sum(cell.right for cell in cells)
            found.append(Sensitivity(look_s * 1e3, spread_s * 1e3, len(cells), told, done, p50))
    return found


def predicted(judged: Sequence[Judged]) -> list[Cell]:
    """Return the cells that nothing was calibrated on."""
    return [cell for one in judged for cell in one.predicted]


def errors(cells: Sequence[Cell]) -> tuple[float, float]:
    """Return the largest relative errors of the done rate, and of the p50 of cells that kept up."""
    done = max(abs(cell.done_error) for cell in cells)
    p50 = max((abs(cell.p50_error) for cell in cells if cell.row.kept_up), default=np.nan)
    return done, p50


def speeds() -> list[Speed]:
    """Return how fast workers of all kinds are simulated, in processor time."""
    across = AcrossBundles(128)
    dataflow = Bundles(keys=1000)
    workers = {
        "local engine": Worker(2, ModelInWorker(_CALL, across), _WORK, LOCAL_ENGINE),
        "4 processes, CPU": Worker(4, ModelInWorker(_CALL, across), _WORK, dataflow, 4),
        "4 processes, GPU in turns": Worker(
            4, ModelInWorker(CallTime(0.005, 0.001, 0.1), WithinBundle(), OnGpu()), _WORK, dataflow, 4
        ),
        "4 processes, endpoint": Worker(
            4, EndpointCalls(CallTime(0.02, 0.001, 0.1), at_once=4, full_at=16), _WORK, dataflow, 4
        ),
    }
    found = []
    for name, worker in workers.items():
        began = time.process_time()
        curve = worker_curve(worker, 1)
        curve_s = time.process_time() - began
        for share in (0.1, 0.9):
            rate = share * curve.capacity
            arrived = poisson(rate, 100_000 / rate, 1)
            began = time.process_time()
            run = simulate(worker, arrived, 1)
            per_second = len(arrived) / (time.process_time() - began)
            found.append(Speed(name, rate, run.batch_size, per_second, curve_s))
    return found


def containers(seed: int) -> list[Container]:
    """Return what containers of one, two and four processes on four vCPUs do with 64 calls at once."""
    found = []
    for processes in (1, 2, 4):
        replica = Replica(4, CallTime(0.0015, 0.0001), processes, call_s=0.0003)
        point = closed_loop(replica, 64, 1, 20_000, seed)
        p50_ms = float(np.median(point.latency_s)) * 1e3
        found.append(Container(processes, point.done, point.cpu, p50_ms))
    return found
