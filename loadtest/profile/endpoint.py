"""The profile of an endpoint, by calls straight at it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from loadtest.clock import epoch_clock
from loadtest.endpoint.batch_sizes import Throughput, measure_throughput
from loadtest.endpoint.bodies import Body, make_bodies
from loadtest.endpoint.caller import Caller, new_loop
from loadtest.endpoint.calls import Calls
from loadtest.endpoint.connections import first_call
from loadtest.endpoint.loops import closed_loop
from loadtest.endpoint.options import EndpointOptions
from loadtest.interrupt import Stop
from loadtest.profile.laws import fit, median, through
from loadtest.profile.profile import CallsAtOnce, EndpointProfile, Law, Point
from loadtest.profile.sizes import left_out, sizes_within
from loadtest.raw_log import Floats
from loadtest.statistics.jackknife import blocks_of
from pipeline.inference.endpoint.protocols import codec_for
from pipeline.inference.endpoint.token import TokenSource

# Each size is measured in so many turns, so that a machine that changes meanwhile favours none.
_TURNS = 3
_LEAST_CALLS = 10
_CONNECTIONS = 20

UsedS = Callable[[], float | None]
"""Returns the processor time that the container has used until now, seconds; None where it is elsewhere."""


class EndpointDataError(Exception):
    """Calls that were served are too few for a profile; the message says why, and what to do."""


def measure_endpoint(
    options: EndpointOptions,
    used_s: UsedS,
    flags: str | None,
    most: int | None,
    say: Callable[[str], object],
    stop: Stop,
) -> EndpointProfile:
    """Measure an endpoint.

    Args:
        options: What is called, with which rows and numbers of connections, and for how long each.
        used_s: Processor time of the container.
        flags: Of the container; None for an endpoint that was there.
        most: Instances that a call may have; where that is not known, None, and larger ones are tried.
        say: Told what is done.
        stop: Once set, no further call is made, and the profile is of those that were.

    Raises:
        EndpointDataError: Calls of fewer than two sizes are served, or were before `stop` was set.
        NotServedError: No first call was served.
        EndpointError, TransientError: See `run_endpoint`.
    """
    tokens = TokenSource.default() if options.target.address.needs_token else None
    try:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(_measure(options, tokens, used_s, flags, most, say, stop))
    finally:
        if tokens is not None:
            tokens.close()


async def _measure(
    options: EndpointOptions,
    tokens: TokenSource | None,
    used_s: UsedS,
    flags: str | None,
    most: int | None,
    say: Callable[[str], object],
    stop: Stop,
) -> EndpointProfile:
    codec = codec_for(options.target.protocol, options.target.address)
    sizes = sizes_within(options.rows, most)
    bodies = {rows: make_bodies(options.inputs, codec, rows) for rows in sizes}
    fewest = sizes[0]
    async with Caller(options.target, epoch_clock(), tokens) as caller:
        await first_call(caller, bodies[fewest][0], ready_timeout=options.ready_timeout, stop=stop)
        say(f"endpoint: one call at a time, {', '.join(map(str, sizes))} rows")
        alone = await _alone(caller, bodies, options.seconds, stop)
        connect = await _connects(caller, bodies[fewest][0], stop)
        busy: list[CallsAtOnce] = []
        widest = options.connections[-1]
        pairs = [(rows, widest) for rows in sizes]
        pairs += [(fewest, number) for number in options.connections if number != widest]
        for rows, number in pairs:
            if stop.is_set():
                break
            say(f"endpoint: {number} at once, {rows} rows ({options.seconds:.3g} s)")
            before = used_s()
            one = await measure_throughput(
                caller, bodies[rows], connections=number, seconds=options.seconds, stop=stop
            )
            if one.calls:  # a size that is refused has no time
                busy.append(_at_once(one, before, used_s()))
    service = _service(alone)
    if service is None and stop.is_set():
        raise EndpointDataError(f"{stop.reason} before calls of two sizes were measured: repeat it")
    if service is None:
        turns = (turn for of_size in alone.values() for turn in of_size)
        failed = sorted({reason for turn in turns for reason in turn.reasons.values()})
        why = f" ({'; '.join(failed)})" if failed else ""
        raise EndpointDataError(f"calls of fewer than two sizes were served{why}: give other --rows")
    notes: dict[str, str] = {}
    if without := _without(alone, left_out(options.rows, most)):
        notes["service"] = without
    processor = _processor([one for one in busy if one.at_once == widest])
    if processor is None:
        notes["processor"] = (
            f"{stop.reason} before two sizes were measured at full load"
            if stop.is_set()
            else "the container's processor time cannot be read from here"
        )
    overhead = _overhead(alone[fewest])
    if not len(overhead):
        notes["overhead_ms"] = "the endpoint does not report its own time"
    if not len(connect):
        notes["connect_ms"] = "no call on a new connection was served"
    return EndpointProfile(
        url=options.target.address.url if flags is None else "container",
        protocol=options.target.protocol,
        flags=flags or "",
        service=service,
        connect_ms=median(connect, "ms") if len(connect) else None,
        overhead_ms=median(overhead, "ms") if len(overhead) else None,
        processor=processor,
        at_once=sorted(busy, key=lambda one: (one.rows, one.at_once)),
        notes=notes,
    )


async def _alone(
    caller: Caller, bodies: dict[int, list[Body]], seconds: float, stop: Stop
) -> dict[int, list[Calls]]:
    turns: dict[int, list[Calls]] = {rows: [] for rows in bodies}
    for rows in bodies:  # a server may compile or capture for a new size
        await closed_loop(caller, bodies[rows], callers=1, seconds=1e-3, least=_LEAST_CALLS, stop=stop)
    for _ in range(_TURNS):
        for rows in bodies:
            if not stop.is_set():
                turns[rows].append(
                    await closed_loop(
                        caller,
                        bodies[rows],
                        callers=1,
                        seconds=seconds / _TURNS,
                        least=_LEAST_CALLS,
                        stop=stop,
                    )
                )
    return turns


async def _connects(caller: Caller, body: Body, stop: Stop) -> Floats:
    found = []
    for _ in range(_CONNECTIONS):
        if stop.is_set():
            break
        answer = await caller.call(body, fresh=True)
        if not answer.failure:
            found.append(answer.connect_s * 1e3)
    return np.array(found, dtype=np.float64)


def _service(alone: dict[int, list[Calls]]) -> Law | None:
    size, ms, block = [], [], []
    for rows, turns in alone.items():
        for turn in turns:
            times = turn.latency_s[turn.served] * 1e3
            size.append(np.full(len(times), float(rows)))
            ms.append(times)
            block.append(blocks_of(len(times)))
    return fit(np.concatenate(size), np.concatenate(ms), np.concatenate(block)) if size else None


def _without(alone: dict[int, list[Calls]], larger: str) -> str:
    """Return which sizes the law knows nothing of, and why; `larger` is from `left_out`."""
    found = [f"calls of {larger}"] if larger else []
    for rows, turns in alone.items():
        if turns and not any(turn.served.any() for turn in turns):
            why = "; ".join(sorted({reason for turn in turns for reason in turn.reasons.values()}))
            found.append(f"of calls of {rows} rows there is nothing: {why}")
    return "; ".join(found)


def _overhead(turns: Sequence[Calls]) -> Floats:
    found = [(turn.latency_s * 1e3 - turn.server_ms)[turn.served] for turn in turns]
    values: Floats = np.concatenate(found) if found else np.empty(0)
    return values[~np.isnan(values)]


def _at_once(one: Throughput, before: float | None, after: float | None) -> CallsAtOnce:
    used = None if before is None or after is None or not one.calls else (after - before) * 1e3 / one.calls
    return CallsAtOnce(one.connections, one.rows, one.rate, one.p50_ms, used, one.driver_limited)


def _processor(busy: Sequence[CallsAtOnce]) -> Law | None:
    """Return processor time of a call by its rows, at full load: there a tick of 10 ms is little."""
    known = [one for one in busy if one.processor_ms]
    if len(known) < 2:
        return None
    return through([Point(float(one.rows), one.processor_ms or 0.0, 1) for one in known])
