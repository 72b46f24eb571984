"""The rate where an endpoint degrades: the boundary search, with loads by HTTP for its probes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from loadtest.endpoint.bodies import Body
from loadtest.endpoint.caller import Caller
from loadtest.endpoint.calls import Calls
from loadtest.endpoint.load_figures import LoadFigures, figures_of, observation_of
from loadtest.endpoint.loops import OpenLoop, Watch
from loadtest.interrupt import Stop
from loadtest.schedule.shapes import Schedule
from loadtest.search.answer import Boundary, Settings
from loadtest.search.boundary import BoundarySearch
from loadtest.search.objectives import LATENCIES, Tier
from loadtest.search.probes import Breach, Probe

# Of a probe, at its start: time for the pool to open its connections, and for a queue to settle.
WARM_UP_S = 1.0
# Before each probe the endpoint must be as quick again as it was alone, within this factor or these seconds.
_SETTLED = 3.0
_SETTLED_S = 0.005
_SETTLE_WITHIN_S = 30.0
_SETTLE_PAUSE_S = 0.05
# A probe that fails is known to fail long before a call's time-out. Calls in flight are given up after so
# many times the longest latency objective.
_DRAIN_OBJECTIVES = 10.0
_DRAIN_LEAST_S = 2.0
# Tries of a probe for which the driver is late each time.
_LATE_AT_MOST = 3


@dataclass(frozen=True)
class ProbeResult:
    """One probe of the search, and what came of it.

    Attributes:
        rate: Offered, calls a second.
        seconds: Of its window.
        purpose: Why it was made.
        passed: Whether it met the objectives and its calls did not pile up; None where the driver was late.
        breach: The first objective that it did not meet; None where it passed.
        figures: Of it.
    """

    rate: float
    seconds: float
    purpose: str
    passed: bool | None
    breach: Breach | None
    figures: LoadFigures


@dataclass(frozen=True)
class Degradation:
    """Where an endpoint degrades.

    Attributes:
        rows: Instances in each call.
        boundary: What the search knows.
        probes: All of it, in their order.
        ended: Why it ended early; empty where it did not.
        invalid: Whether that was the driver's fault.
    """

    rows: int
    boundary: Boundary
    probes: tuple[ProbeResult, ...]
    ended: str
    invalid: bool


Load = Callable[[Probe], Awaitable[Calls]]
"""Makes the load of a probe."""


def tightest_latency(tier: Tier) -> float | None:
    """Return the shortest latency among the objectives, seconds; None without one."""
    return min((one.limit for one in tier.objectives if one.metric in LATENCIES), default=None)


async def search_rate(
    load: Load, tier: Tier, settings: Settings, rows: int, say: Callable[[str], object], stop: Stop
) -> Degradation:
    """Search the highest rate that meets the objectives.

    A probe that the driver could not keep the schedule of is repeated, twice at most; then the search ends,
    as no figure of it would be the endpoint's.

    Args:
        load: Makes a probe's load.
        tier: The objectives.
        settings: Of the search.
        rows: Instances in each call.
        say: Is told what is done, and why.
        stop: Once set, the search ends.
    """
    search = BoundarySearch(settings)
    tightest = tightest_latency(tier)
    results: list[ProbeResult] = []
    ended, invalid, late = "", False, 0
    while (probe := search.next()) is not None and not ended:
        say(_told(probe, results))
        calls = await load(probe)
        if stop.is_set():
            ended = stop.reason
            break
        if not calls.measured.any():
            ended = f"no call is due in {probe.seconds:.3g} s at {probe.rate:.3g} calls/s: raise --probe_s"
            break
        figures = figures_of(calls, tightest)
        if not figures.validity.valid:
            results.append(ProbeResult(probe.rate, probe.seconds, probe.purpose, None, None, figures))
            late += 1
            if late == _LATE_AT_MOST:
                ended, invalid = "; ".join(figures.validity.reasons), True
            continue
        late = 0
        observed = observation_of(probe.rate, calls, tier)
        results.append(
            ProbeResult(
                probe.rate, probe.seconds, probe.purpose, observed.passed, observed.first_breach, figures
            )
        )
        search.observe(probe, observed)
    return Degradation(rows, search.boundary(), tuple(results), ended, invalid)


def _told(probe: Probe, results: Sequence[ProbeResult]) -> str:
    last = ""
    if results and results[-1].passed is not None:
        last = f"; {results[-1].rate:.4g} {'passed' if results[-1].passed else 'failed'}"
        if results[-1].breach is not None:
            last += f" ({results[-1].breach.objective})"
    elif results:
        last = "; the driver was late"
    return (
        f"search: probe {len(results) + 1}, {probe.purpose}, {probe.rate:.4g} calls/s for "
        f"{probe.seconds:.3g} s{last}"
    )


class HttpProbes:
    """Makes the loads of probes with calls of one size."""

    def __init__(
        self,
        caller: Caller,
        bodies: Sequence[Body],
        *,
        max_connections: int,
        alone_s: float,
        tier: Tier,
        stop: Stop,
        watch: Watch,
        keep: Callable[[str, Calls], object],
    ) -> None:
        """Make no call yet.

        Args:
            caller: Of the endpoint.
            bodies: Of the size.
            max_connections: See `OpenLoop`.
            alone_s: Seconds of a call to an idle endpoint.
            tier: The objectives.
            stop: Ends a probe.
            watch: Shown the progress of each.
            keep: Is given the calls of each, with a name for them.
        """
        self._caller = caller
        self._bodies = bodies
        self._max_connections = max_connections
        self._settled_s = max(_SETTLED * alone_s, alone_s + _SETTLED_S)
        limits = [one.limit for one in tier.objectives if one.metric in LATENCIES]
        timeout_s = caller.target.timeout_s
        drain_s = max(_DRAIN_LEAST_S, _DRAIN_OBJECTIVES * max(limits)) if limits else timeout_s
        self._drain_s = min(drain_s, timeout_s)
        self._stop = stop
        self._watch = watch
        self._keep = keep
        self._made = 0

    async def load(self, probe: Probe) -> Calls:
        """Wait until the endpoint is idle, and make one probe's load: a Poisson process of its seed."""
        await self._settle()
        schedule = Schedule("poisson", probe.rate, probe.seconds, warmup=WARM_UP_S, seed=probe.seed)
        calls = await OpenLoop(self._caller, self._bodies, schedule.offsets(), self._max_connections).run(
            duration=schedule.seconds,
            warmup=schedule.warmup,
            deadline_s=self._caller.target.timeout_s,
            drain_s=self._drain_s,
            stop=self._stop,
            watch=self._watch,
        )
        self._made += 1
        self._keep(f"probe-{self._made:02d}", calls)
        return calls

    async def _settle(self) -> None:
        clock = self._caller.clock
        until = clock() + _SETTLE_WITHIN_S
        while clock() < until and not self._stop.is_set():
            started = clock()
            answer = await self._caller.call(self._bodies[0])
            if not answer.failure and answer.ended_at - started <= self._settled_s:
                return
            await asyncio.sleep(_SETTLE_PAUSE_S)
