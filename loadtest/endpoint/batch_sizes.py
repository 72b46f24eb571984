"""How the batch size and the number of connections decide over time and throughput."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from loadtest.endpoint.bodies import Body
from loadtest.endpoint.caller import Caller
from loadtest.endpoint.calls import Calls, by_failure
from loadtest.endpoint.load_figures import LoadFigures, figures_of, meets
from loadtest.endpoint.loops import OpenLoop, closed_loop
from loadtest.endpoint.service_law import ServiceLaw, fit_law
from loadtest.interrupt import Stop
from loadtest.schedule.shapes import Schedule
from loadtest.search.objectives import Tier
from loadtest.statistics.percentiles import least_samples, quantile

# Calls of a size that are left out, after the very first one: a server may compile or capture for a new size.
_WARM_UP = 2
# Each size is measured in so many turns, so that a machine that changes meanwhile favours none.
_ROUNDS = 3
_LEAST_CALLS = 10
_WARM_UP_S = 0.5
# Of a core, from which on a closed loop may be the driver's limit and not the endpoint's.
_BUSY = 0.9
# Sizes whose throughput is nearer than this to the best one's are as good; the smallest of them is taken.
_TIE = 0.98


@dataclass(frozen=True)
class Alone:
    """Calls of one size that meet an idle endpoint, one at a time on one kept connection.

    Attributes:
        rows: Instances in each call.
        calls: That were served and measured.
        first_ms: The first one of this size.
        p50_ms: Median.
        p99_ms: 99th percentile.
        failures: By kind.
        reason: The first failure's, in words; empty without one.
    """

    rows: int
    calls: int
    first_ms: float
    p50_ms: float
    p99_ms: float
    failures: Mapping[str, int]
    reason: str


@dataclass(frozen=True)
class Throughput:
    """Calls of one size, each caller's next one after its last (a closed loop): the most that is possible.

    Attributes:
        rows: Instances in each call.
        connections: Callers, each with a connection.
        calls: That were served.
        rate: Served, calls a second.
        p50_ms: Median time of a served call; NaN for none.
        failures: By kind.
        driver_limited: Whether the driver had its core full, so that the endpoint may take more.
    """

    rows: int
    connections: int
    calls: int
    rate: float
    p50_ms: float
    failures: Mapping[str, int]
    driver_limited: bool

    @property
    def row_rate(self) -> float:
        """Served, instances a second."""
        return self.rows * self.rate


@dataclass(frozen=True)
class BatchSize:
    """All of one batch size.

    Attributes:
        alone: At an idle endpoint.
        throughput: At a full one; None where no call of the size is served.
        half: By a schedule at half of that throughput; None likewise.
        meets: Whether `half` meets the objectives and the driver kept its schedule; None likewise.
    """

    alone: Alone
    throughput: Throughput | None = None
    half: LoadFigures | None = None
    meets: bool | None = None

    @property
    def rows(self) -> int:
        """Instances in each call."""
        return self.alone.rows


async def measure_alone(
    caller: Caller, sizes: Mapping[int, Sequence[Body]], *, seconds: float, stop: Stop
) -> list[Alone]:
    """Measure each size at an idle endpoint, in three turns; `seconds` for each size in all."""
    first: dict[int, float] = {}
    turns: dict[int, list[Calls]] = {rows: [] for rows in sizes}
    for rows, bodies in sizes.items():
        if stop.is_set():
            break
        started = caller.clock()
        answer = await caller.call(bodies[0])
        first[rows] = math.nan if answer.failure else (answer.ended_at - started) * 1e3
        await closed_loop(caller, bodies, callers=1, seconds=1e-3, least=_WARM_UP, stop=stop)
    for _ in range(_ROUNDS):
        for rows, bodies in sizes.items():
            if stop.is_set():
                break
            turn = await closed_loop(
                caller, bodies, callers=1, seconds=seconds / _ROUNDS, least=_LEAST_CALLS, stop=stop
            )
            turns[rows].append(turn)
    return [_alone(rows, first[rows], turns[rows]) for rows in first]


def _alone(rows: int, first_ms: float, turns: Sequence[Calls]) -> Alone:
    times = np.concatenate([turn.latency_s[turn.served] for turn in turns]) if turns else np.empty(0)
    failures: dict[str, int] = {}
    reason = ""
    for turn in turns:
        for failure, count in by_failure(turn).items():
            failures[failure] = failures.get(failure, 0) + count
            reason = reason or turn.reasons[failure]
    p50, p99 = (quantile(times, q) * 1e3 if len(times) else math.nan for q in (0.5, 0.99))
    return Alone(rows, len(times), first_ms, p50, p99, failures, reason)


def law_of(sizes: Sequence[Alone]) -> ServiceLaw | None:
    """Return the law through the medians of the sizes that are served."""
    served = [size for size in sizes if size.calls]
    return fit_law([size.rows for size in served], [size.p50_ms for size in served])


async def measure_throughput(
    caller: Caller, bodies: Sequence[Body], *, connections: int, seconds: float, stop: Stop
) -> Throughput:
    """Measure what is possible with so many connections."""
    calls = await closed_loop(
        caller, bodies, callers=connections, seconds=seconds, least=connections, stop=stop
    )
    served = calls.latency_s[calls.served]
    # Until the last answer, not until the last call began: all of them are counted.
    return Throughput(
        calls.rows,
        connections,
        len(served),
        len(served) / calls.duration if calls.duration else 0.0,
        quantile(served, 0.5) * 1e3 if len(served) else math.nan,
        by_failure(calls),
        calls.cpu_s > _BUSY * calls.duration,
    )


@dataclass(frozen=True)
class HalfLoad:
    """How a size is tried by a schedule at half of its throughput.

    Attributes:
        seconds: At least; longer, until there are enough calls for a p99.
        longest_s: At most.
        max_connections: See `OpenLoop`.
        tier: Of objectives that it is to meet.
        tightest_s: Shortest latency among them; None without one.
        seed: Of the arrivals.
    """

    seconds: float
    longest_s: float
    max_connections: int
    tier: Tier
    tightest_s: float | None
    seed: int


async def measure_size(
    caller: Caller,
    bodies: Sequence[Body],
    alone: Alone,
    *,
    connections: int,
    seconds: float,
    half: HalfLoad,
    stop: Stop,
    keep: Callable[[str, Calls], object],
) -> BatchSize:
    """Measure one size at a full endpoint, and by a schedule at half of that.

    Args:
        caller: Of the endpoint.
        bodies: Of the size.
        alone: Of the size.
        connections: For the full endpoint.
        seconds: For the full endpoint.
        half: How the schedule is made.
        stop: Once set, what was measured so far is returned.
        keep: Is given the schedule's calls, with a name for them.
    """
    size = BatchSize(alone)
    if not alone.calls or stop.is_set():
        return size
    size = replace(
        size,
        throughput=await measure_throughput(
            caller, bodies, connections=connections, seconds=seconds, stop=stop
        ),
    )
    assert size.throughput is not None
    if not size.throughput.calls or stop.is_set():
        return size
    rate = size.throughput.rate / 2
    duration = min(max(half.seconds, 1.05 * least_samples(0.99) / rate), half.longest_s)
    schedule = Schedule("poisson", rate, duration, warmup=_WARM_UP_S, seed=half.seed)
    calls = await OpenLoop(caller, bodies, schedule.offsets(), half.max_connections).run(
        duration=schedule.seconds,
        warmup=schedule.warmup,
        deadline_s=caller.target.timeout_s,
        drain_s=caller.target.timeout_s,
        stop=stop,
    )
    keep(f"rows-{alone.rows}-half", calls)
    if not calls.measured.any():
        return size
    figures = figures_of(calls, half.tightest_s)
    return replace(size, half=figures, meets=figures.validity.valid and meets(calls, half.tier))


def best_size(sizes: Sequence[BatchSize]) -> BatchSize | None:
    """Return the size with the highest throughput of those that meet the objectives; None where none does.

    Of sizes that are as good within 2 %, it is the smallest.
    """
    good = [(size.throughput.row_rate, size) for size in sizes if size.meets and size.throughput is not None]
    if not good:
        return None
    most = max(rate for rate, _ in good)
    return min((size for rate, size in good if rate >= _TIE * most), key=lambda size: size.rows)
