"""What `benchmarks.endpoint` measures: processor time, throughput, and what a refused call costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from benchmarks.endpoint.process import EndpointProcess
from benchmarks.endpoint.server import Counts, ServerConfig
from benchmarks.endpoint.sides import Side
from benchmarks.harness.processes import cpu_seconds

CPU_ROWS, CPU_WIDTH = 64, 256  # of a batch, instances × float32 in and out
BUNDLE = 100  # instances
CALL = 10  # instances, at most, on both sides
WIDTH = 30  # as the example's model: narrow, so that waiting is compared, and not conversion once more
CALL_S = 0.05  # that a call takes the server
CONCURRENCY = 32  # calls that the server serves at once
DECIMALS = 6


@dataclass(frozen=True)
class Cpu:
    """Processor time of the client's process for a batch of 64 × 256, in milliseconds, round by round."""

    title: str
    batch_ms: tuple[float, ...]

    @property
    def median_ms(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.batch_ms)


@dataclass(frozen=True)
class Throughput:
    """What a number of bundle threads got through.

    Attributes:
        client_cores: Processor time over time, as server_cores.
        counts: The server's.
    """

    title: str
    threads: int
    instances_per_s: float
    client_cores: float
    server_cores: float
    counts: Counts


@dataclass(frozen=True)
class Refusal:
    """What a first call that is answered 429 adds to a batch of one call.

    Attributes:
        added_ms: Milliseconds, each time.
        failed: The error of the batch, where the call was not retried.
    """

    title: str
    added_ms: tuple[float, ...]
    failed: str | None = None

    @property
    def median_ms(self) -> float | None:
        """The median; None where the call was not retried."""
        return statistics.median(self.added_ms) if self.added_ms else None


def some_rows(count: int, width: int) -> np.ndarray:
    """Return numbers as clients write them, with six decimals: float64 [count, width]."""
    return np.round(np.random.default_rng(1).standard_normal((count, width)), DECIMALS)


def processor_time(sides: Sequence[Side], server: EndpointProcess, rounds: int, batches: int) -> list[Cpu]:
    """Have the sides take turns: in each round, every side has `batches` batches, one after the other."""
    server.configure(ServerConfig(width=CPU_WIDTH))
    rows = some_rows(CPU_ROWS, CPU_WIDTH)
    inputs = {side.title: side.elements(rows) for side in sides}
    for side in sides:
        side.check(rows)
    batch_ms: dict[str, list[float]] = {side.title: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            batch = inputs[side.title]
            side.infer(batch)  # wakes the threads and refills the caches that the side before has used
            begun = time.process_time()
            for _ in range(batches):
                side.infer(batch)
            batch_ms[side.title].append((time.process_time() - begun) / batches * 1e3)
    return [Cpu(title, tuple(values)) for title, values in batch_ms.items()]


def throughput(side: Side, server: EndpointProcess, threads: int, seconds: float) -> Throughput:
    """Send bundle after bundle in each thread, until the seconds are over and the last bundle has ended."""
    config = ServerConfig(CALL_S, CONCURRENCY, width=WIDTH)
    server.configure(config)
    rows = some_rows(BUNDLE, WIDTH)
    bundle = side.elements(rows)

    def work(own: Side) -> float:
        done, now, begun = 0, 0.0, time.monotonic()
        while now < seconds:
            done += sum(len(own.infer(batch)) for batch in own.batches(bundle))
            now = time.monotonic() - begun
        return done / now

    copies = [side.for_thread() for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda own: own.check(rows), copies))  # at once, so that all connections are open
        server.configure(config)
        begun, client_cpu, server_cpu = time.monotonic(), time.process_time(), cpu_seconds(server.pid)
        rates = list(pool.map(work, copies))
        elapsed = time.monotonic() - begun
        client_cores = (time.process_time() - client_cpu) / elapsed
        server_cores = (cpu_seconds(server.pid) - server_cpu) / elapsed
    return Throughput(side.title, threads, sum(rates), client_cores, server_cores, server.counts())


def cost_of_a_refusal(side: Side, server: EndpointProcess, times: int) -> Refusal:
    """Return the time of a batch of one call that is first refused, less that of the same batch undisturbed.

    Args:
        side: Its calls hold at least CALL instances.
        server: Gets a new config for each batch.
        times: How often both are measured.

    Raises:
        RuntimeError: The server had no call to refuse.
    """
    rows = some_rows(CALL, WIDTH)
    server.configure(ServerConfig(CALL_S, CONCURRENCY, width=WIDTH))
    side.check(rows)
    batch = side.elements(rows)
    added_ms = []
    for _ in range(times):
        seconds = []
        for refusals in (0, 1):
            server.configure(ServerConfig(CALL_S, CONCURRENCY, refusals, WIDTH))
            begun = time.monotonic()
            try:
                side.infer(batch)
            except ValueError as error:  # the SDK's, for any status of a dedicated endpoint
                return Refusal(side.title, (), f"{type(error).__name__}: {error}")
            seconds.append(time.monotonic() - begun)
        if server.counts().refused != 1:
            raise RuntimeError(f"{side.title}: the server did not get to refuse a call")
        added_ms.append((seconds[1] - seconds[0]) * 1e3)
    return Refusal(side.title, tuple(added_ms))
