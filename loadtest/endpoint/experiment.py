"""All that is measured of one endpoint, in its order."""

from __future__ import annotations

import asyncio
import gc
import secrets
from collections.abc import Mapping, Sequence

from loadtest.clock import Clock, epoch_clock
from loadtest.endpoint.batch_sizes import (
    BatchSize,
    HalfLoad,
    best_size,
    law_of,
    measure_alone,
    measure_size,
    measure_throughput,
)
from loadtest.endpoint.bodies import Body, make_bodies
from loadtest.endpoint.caller import Caller, new_loop
from loadtest.endpoint.calls import Calls
from loadtest.endpoint.connections import PAIRS, connection_cost, first_call
from loadtest.endpoint.findings import EndpointReport, Load
from loadtest.endpoint.load_figures import LoadFigures, figures_of, meets
from loadtest.endpoint.loops import OpenLoop
from loadtest.endpoint.options import EndpointOptions
from loadtest.endpoint.progress import Progress
from loadtest.endpoint.rates import HttpProbes, search_rate, tightest_latency
from loadtest.endpoint.raw_logs import LOADS, raw_log, remove_raw_logs, write_raw_log
from loadtest.interrupt import Stop
from loadtest.schedule.shapes import Schedule
from loadtest.search.answer import Settings
from pipeline.inference.endpoint.protocols import codec_for
from pipeline.inference.endpoint.token import TokenSource

# Of the first rate of a search, in what was possible.
_START = 0.25
# Calls in the shortest probe, a quarter of the others. Of fewer, the p99 of the schedule error is its largest
# one.
_LEAST_CALLS = 100


def run_endpoint(
    options: EndpointOptions,
    *,
    progress: Progress | None = None,
    stop: Stop | None = None,
    clock: Clock | None = None,
) -> EndpointReport:
    """Measure the endpoint that the options name, and write the raw logs under `options.out`.

    Args:
        options: Of a command line without problems; the address may be that of a container just started.
        progress: Is told what is done.
        stop: Once set, the report covers what was measured so far.
        clock: Epoch seconds; by default one that wall-clock steps do not disturb.

    Raises:
        NotServedError: No first call was served.
        EndpointError: There are no credentials, or the environment names no proper proxy or certificates.
        TransientError: The token server could not be reached.
        FolderError: A raw log cannot be written.
    """
    tokens = TokenSource.default() if options.target.address.needs_token else None
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            caller = Caller(options.target, clock or epoch_clock(), tokens)
            experiment = _Experiment(options, caller, progress or Progress(), stop or Stop())
            gc.collect()
            gc.freeze()  # what is there lives on: no collection walks it while calls are due
            try:
                return runner.run(experiment.run())
            finally:
                gc.unfreeze()
    finally:
        if tokens is not None:
            tokens.close()


class _Experiment:
    """One run through all measurements; each is left out once the run is to stop."""

    def __init__(self, options: EndpointOptions, caller: Caller, progress: Progress, stop: Stop) -> None:
        self._options = options
        self._caller = caller
        self._progress = progress
        self._stop = stop
        self._tightest = tightest_latency(options.tier)
        self._report = EndpointReport(
            secrets.token_hex(4), options.target.address.url, options.target.protocol, str(options.tier)
        )

    async def run(self) -> EndpointReport:
        options, report, stop = self._options, self._report, self._stop
        self._progress.say("encoding the calls")
        codec = codec_for(options.target.protocol, options.target.address)
        bodies = {rows: make_bodies(options.inputs, codec, rows) for rows in options.rows}
        async with self._caller:
            await self._connect(bodies[options.rows[0]][0])
            if options.schedule is not None:
                for rows in options.rows:
                    await self._send(options.schedule, bodies[rows])
            else:
                await self._compare_sizes(bodies)
                chosen = report.best or _fastest(report.sizes)
                if chosen is not None:
                    await self._compare_connections(bodies[chosen])
                    await self._search(bodies[chosen])
        if stop.is_set():
            report.partial = stop.reason
        return report

    async def _connect(self, body: Body) -> None:
        options, report, stop = self._options, self._report, self._stop
        self._progress.say(f"a first call, waited for at most {options.ready_timeout:g} s")
        report.first = await first_call(self._caller, body, ready_timeout=options.ready_timeout, stop=stop)
        self._progress.say("new connections against kept ones")
        report.connection = await connection_cost(self._caller, body, pairs=PAIRS, stop=stop)

    async def _compare_sizes(self, bodies: Mapping[int, Sequence[Body]]) -> None:
        options, report, stop = self._options, self._report, self._stop
        seconds = options.seconds
        self._progress.say(f"batch sizes, one call at a time ({len(bodies) * seconds:.3g} s)")
        alone = await measure_alone(self._caller, bodies, seconds=seconds, stop=stop)
        report.law = law_of(alone)
        most = options.connections[-1]
        half = HalfLoad(
            seconds, options.probe_max_s, options.max_connections, options.tier, self._tightest, options.seed
        )
        for one in alone:
            self._progress.say(
                f"batch size {one.rows}: {most} connections without a pause ({seconds:.3g} s), then a "
                "schedule at half of that rate"
            )
            size = await measure_size(
                self._caller,
                bodies[one.rows],
                one,
                connections=most,
                seconds=seconds,
                half=half,
                stop=stop,
                keep=self._keep,
            )
            report.sizes.append(size)
            self._check(f"{one.rows} rows at half rate", size.half)
        best = best_size(report.sizes)
        report.best = None if best is None else best.rows

    async def _compare_connections(self, bodies: Sequence[Body]) -> None:
        options, stop = self._options, self._stop
        for number in options.connections:
            if stop.is_set():
                return
            self._progress.say(
                f"{number} connections, {bodies[0].rows} rows a call ({options.seconds:.3g} s)"
            )
            self._report.connections.append(
                await measure_throughput(
                    self._caller, bodies, connections=number, seconds=options.seconds, stop=stop
                )
            )

    async def _search(self, bodies: Sequence[Body]) -> None:
        options, report, stop = self._options, self._report, self._stop
        possible = max((one.rate for one in report.connections), default=0.0)
        if stop.is_set() or not possible:
            return
        alone = next(size.alone for size in report.sizes if size.rows == bodies[0].rows)
        start = options.start or _START * possible
        probe_s = min(max(options.probe_s, 4 * _LEAST_CALLS / start), options.probe_max_s)
        probes = HttpProbes(
            self._caller,
            bodies,
            max_connections=options.max_connections,
            alone_s=alone.p50_ms / 1e3,
            tier=options.tier,
            stop=stop,
            watch=self._progress.watch,
            keep=self._keep,
        )
        settings = Settings(start, probe_s, options.probe_max_s, options.budget_s, options.seed)
        report.degradation = await search_rate(
            probes.load, options.tier, settings, bodies[0].rows, self._progress.say, stop
        )
        if report.degradation.invalid:
            report.invalid.append(f"search: {report.degradation.ended}")

    async def _send(self, schedule: Schedule, bodies: Sequence[Body]) -> None:
        options, report = self._options, self._report
        if self._stop.is_set():
            return
        rows = bodies[0].rows
        report.schedule = str(schedule)
        self._progress.say(f"{schedule}, {rows} rows a call ({schedule.seconds:.3g} s)")
        calls = await OpenLoop(self._caller, bodies, schedule.offsets(), options.max_connections).run(
            duration=schedule.seconds,
            warmup=schedule.warmup,
            deadline_s=options.target.timeout_s,
            drain_s=options.target.timeout_s,
            stop=self._stop,
            watch=self._progress.watch,
        )
        self._keep(f"schedule-{rows}", calls)
        if calls.measured.any():
            figures = figures_of(calls, self._tightest)
            report.loads.append(Load(figures, meets(calls, options.tier)))
            self._check(f"{rows} rows", figures)

    def _check(self, what: str, figures: LoadFigures | None) -> None:
        if figures is not None and not figures.validity.valid:
            self._report.invalid.append(f"{what}: {'; '.join(figures.validity.reasons)}")

    def _keep(self, name: str, calls: Calls) -> None:
        """Write a load's raw log, between two loads."""
        options = self._options
        offered = len(calls) / calls.duration if calls.duration else 0.0
        log = raw_log(
            calls,
            run=f"{self._report.run}-{name}",
            target=options.target,
            schedule=str(options.schedule or f"poisson --rate={offered:g}"),
            seed=options.seed,
        )
        if not self._report.raw_logs:
            remove_raw_logs(options.out / LOADS)
        write_raw_log(options.out / LOADS / name, log)
        self._report.raw_logs.append(f"{LOADS}/{name}")


def _fastest(sizes: Sequence[BatchSize]) -> int | None:
    """Return the size with the highest throughput, the objectives met or not; None where none is served."""
    served = [size.throughput for size in sizes if size.throughput is not None and size.throughput.calls]
    return max(served, key=lambda one: one.row_rate).rows if served else None
