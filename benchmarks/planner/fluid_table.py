"""What a prediction costs: processor time and memory, by messages, workers, steps and draws."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from benchmarks.harness.verdict import Verdict
from planner.autoscalers.dataflow import DataflowSettings
from planner.capacity import Capacity
from planner.delays import latencies
from planner.draws import draw
from planner.fluid import Job, simulate
from planner.workload import parse_workload


@dataclass(frozen=True)
class Case:
    """One run to be predicted.

    Attributes:
        rate: Messages a second at its end; it begins with a fifth of them.
        workers: That the rate needs at 80 % of their CPU.
        duration_s: Seconds.
        step_s: Seconds of a step.
        draws: Monte-Carlo draws.
    """

    rate: float
    workers: int
    duration_s: float
    step_s: float
    draws: int


@dataclass(frozen=True)
class FluidRow:
    """A case and what it took.

    Attributes:
        case: What was predicted.
        steps: That were computed.
        simulate_s: Processor seconds of the fluid layer.
        latencies_s: Processor seconds of drawing the latencies.
        memory_mib: Most memory of the process, with Python and numpy.
        bare_mib: The same before the run.
    """

    case: Case
    steps: int
    simulate_s: float
    latencies_s: float
    memory_mib: float
    bare_mib: float

    @property
    def total_s(self) -> float:
        """Processor seconds of all."""
        return self.simulate_s + self.latencies_s

    def as_json(self) -> dict[str, object]:
        """Return it for a file of results."""
        return asdict(self)


HOUR = Case(1e6, 250, 3_600.0, 0.1, 1)
"""An hour at a million messages a second."""
HOUR_OF_DRAWS = Case(1e6, 250, 3_600.0, 0.1, 50)

CASES: Sequence[Case] = (
    Case(1e3, 250, 3_600.0, 0.1, 1),
    Case(1e5, 250, 3_600.0, 0.1, 1),
    HOUR,
    Case(1e6, 25, 3_600.0, 0.1, 1),
    Case(1e6, 1_000, 3_600.0, 0.1, 1),
    Case(1e6, 250, 1_800.0, 0.1, 1),
    Case(1e6, 250, 3_600.0, 1.0, 1),
    HOUR_OF_DRAWS,
)
"""By messages, then by workers, by time and steps, by draws."""


def fluid_rows(cases: Sequence[Case] = CASES) -> list[FluidRow]:
    """Return a row for each case, each measured in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=1) as pool:
        return pool.map(measure, cases, chunksize=1)


def measure(case: Case) -> FluidRow:
    """Predict a case in this process, and return what it took."""
    bare = _peak_mib()
    each = case.rate / case.workers / 0.8 * 0.9
    loads = np.linspace(0.1, 1.0, 15)
    worker = Capacity.of_points(
        each * loads,
        each * loads,
        0.9 * loads,
        [np.linspace(0.005, 0.02 / (1.05 - load), 200) for load in loads],
    )
    settings = DataflowSettings(min_workers=max(case.workers // 5, 1), max_workers=2 * case.workers)
    workload = parse_workload(f"ramp {case.rate / 5} {case.rate} {case.duration_s:g}s")
    job, drawn = Job(worker, settings), draw(case.draws)
    began = time.process_time()
    timeline = simulate(workload, job, drawn, step_s=case.step_s)
    between = time.process_time()
    found = latencies(timeline, job)
    ended = time.process_time()
    if not np.isfinite(found.seconds).all():
        raise RuntimeError(f"a latency of {case} is no number")
    return FluidRow(case, timeline.steps, between - began, ended - between, _peak_mib(), bare)


def verdicts(rows: Sequence[FluidRow]) -> list[Verdict]:
    """Return the goals of the rows of `CASES`."""
    by_case = {row.case: row for row in rows}
    few, many = by_case[CASES[0]], by_case[HOUR]
    draws = by_case[HOUR_OF_DRAWS]
    return [
        Verdict("an hour at 10^6 messages/s", many.total_s, 5.0, above=False, unit=" s"),
        Verdict("the same with 50 draws", draws.total_s, 60.0, above=False, unit=" s"),
        Verdict("most memory of it", draws.memory_mib, 1_024.0, above=False, unit=" MiB"),
        Verdict(
            "a thousand times the messages",
            many.total_s / few.total_s,
            1.5,
            above=False,
            unit=" times the time",
        ),
    ]


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_024
