"""One worker, bundle by bundle, through a stretch of arrivals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.raw_log import Floats
from pipeline.inference.endpoint.throttle import ThrottleClock
from planner.kernel.bundles import BundleSource
from planner.kernel.events import Events, Interpreter, Station
from planner.kernel.models import (
    Answers,
    ModelCalls,
    device_station,
    endpoint_station,
    of_endpoint,
    of_model,
)
from planner.kernel.worker import EndpointCalls, OnGpu, Worker


@dataclass(frozen=True)
class Simulated:
    """What became of the messages of a stretch.

    Attributes:
        arrived: [n] seconds, ascending.
        done: [n] when each one's result was accepted, seconds.
        batches: Calls of the model or the endpoint, retries included.
        batch_size: Messages of a call, mean over calls.
        used_s: Core seconds of the worker up to `until_s`.
        gpu_s: Seconds up to `until_s` in which a call ran on the worker's GPU; 0 without one.
        until_s: When the last message arrived, seconds.
        throttled_s: Seconds of bundle threads that waited because the endpoint was full.
        events: That were simulated.
    """

    arrived: Floats
    done: Floats
    batches: int
    batch_size: float
    used_s: float
    gpu_s: float
    until_s: float
    throttled_s: float
    events: int

    @property
    def latency_s(self) -> Floats:
        """[n] seconds from each message's arrival to its result."""
        return self.done - self.arrived


def simulate(worker: Worker, arrived: Floats, seed: int, rate: float | None = None) -> Simulated:
    """Simulate one worker until all messages are done.

    The same arguments give the same result, bit by bit.

    Args:
        worker: The worker.
        arrived: [n] when messages arrive at it, seconds from 0 on, ascending.
        seed: Of the times of calls, the keys of messages and the pauses of retries.
        rate: Messages a second that calls are slowed down for; None: what arrives.

    Raises:
        ValueError: There is no message.
    """
    if not len(arrived):
        raise ValueError("a simulation needs a message at least: give a higher rate, or more seconds")
    until = float(arrived[-1])
    if rate is None:
        rate = len(arrived) / max(until, 1e-9)
    return _Run(worker, arrived, seed, rate, until).result()


class _Bundle:
    """A bundle on its way."""

    __slots__ = ("at", "first", "key", "process", "rows", "stop", "throttle")

    def __init__(self, process: int, key: int, first: int, stop: int, throttle: ThrottleClock) -> None:
        self.process = process
        self.key = key
        self.first = first
        self.stop = stop
        self.at = first  # messages before it are encoded
        self.rows = 0  # of the part that is on its way
        self.throttle = throttle


class _Run:
    """The state of one simulation."""

    def __init__(self, worker: Worker, arrived: Floats, seed: int, rate: float, until: float) -> None:
        random = np.random.default_rng(seed)
        self._arrived = arrived
        self._until = until
        self._work = worker.work
        self._events = events = Events()
        vcpus = worker.vcpus
        self._cpus: Station = events.station(lambda demand: min(1.0, vcpus / demand))
        self._interpreters = [Interpreter(events, self._cpus) for _ in range(worker.processes)]
        self._source = BundleSource(arrived, worker.bundles, random)
        time = worker.model.time.at_rate(rate / worker.processes)
        self._answers: Sequence[Answers]
        self._gpu: Station | None = None
        if isinstance(worker.model, EndpointCalls):
            device = endpoint_station(events, worker.model)
            self._calls = ModelCalls(events, device, time, random)
            self._answers = of_endpoint(events, device[0], self._calls, worker.model, worker.processes, seed)
        else:
            device = device_station(events, self._cpus, worker.model.device)
            self._gpu = device[0] if isinstance(worker.model.device, OnGpu) else None
            self._calls = ModelCalls(events, device, time, random)
            self._answers = of_model(events, self._calls, worker.model.batching, worker.processes)
        self._turn = -1
        self._free = [worker.bundles.threads] * worker.processes
        threads = worker.bundles.threads * worker.processes
        self._may_begin = min(threads, worker.bundles.max_active or threads)
        self._looks_at = float("inf")
        self._ends: list[tuple[int, int, float]] = []  # first, stop and time of each bundle's results
        self._throttled_s = 0.0
        self._used_s = self._gpu_s = 0.0
        self._clock: Callable[[], float] = lambda: events.now

    def result(self) -> Simulated:
        self._events.at(self._until, self._note_used)
        self._look(None)
        self._events.run()
        ends = np.array(self._ends, dtype=np.float64)
        first, stop = ends[:, 0].astype(np.int64), ends[:, 1].astype(np.int64)
        done = np.empty(len(self._arrived))
        by_place = np.argsort(first)
        placed: Floats = np.repeat(ends[by_place, 2], (stop - first)[by_place])
        done[self._source.order] = placed
        calls = self._calls
        return Simulated(
            self._arrived,
            done,
            calls.calls,
            calls.rows / calls.calls,
            self._used_s,
            self._gpu_s,
            self._until,
            self._throttled_s,
            self._events.count,
        )

    def _note_used(self, _: None) -> None:
        self._used_s = self._cpus.used(self._events.now) + self._calls.host_s
        self._gpu_s = 0.0 if self._gpu is None else self._gpu.busy(self._events.now)

    def _look(self, _: None) -> None:
        """Begin the bundles that can begin now."""
        now = self._events.now
        if self._looks_at <= now:
            self._looks_at = float("inf")
        while self._may_begin:
            ready_at = self._source.ready_at()
            if ready_at is None:
                return
            if ready_at > now:
                if ready_at < self._looks_at:
                    self._looks_at = ready_at
                    self._events.at(ready_at, self._look)
                return
            process = self._next_process()
            self._may_begin -= 1
            self._free[process] -= 1
            bundle = _Bundle(process, *self._source.take(now), ThrottleClock(self._clock))
            self._next_part(bundle, self._work.begin_s)

    def _next_process(self) -> int:
        """Return the process with most threads to spare, in turn: the service spreads bundles evenly."""
        free, count = self._free, len(self._free)
        most = max(free)
        self._turn = next(
            process % count
            for process in range(self._turn + 1, self._turn + 1 + count)
            if free[process % count] == most
        )
        return self._turn

    def _next_part(self, bundle: _Bundle, before_s: float) -> None:
        """Decode the next part of a bundle, after some other work of its thread."""
        work = self._work
        bundle.rows = min(bundle.stop - bundle.at, self._answers[bundle.process].most)
        decode_s = before_s + work.decode_s * bundle.rows + work.batch_s
        self._interpreters[bundle.process].run(decode_s, self._call, bundle)

    def _call(self, bundle: _Bundle) -> None:
        self._answers[bundle.process].call(bundle.rows, bundle.throttle, self._answered, bundle)

    def _answered(self, bundle: _Bundle) -> None:
        encode_s = self._work.encode_s * bundle.rows
        bundle.at += bundle.rows
        if bundle.at < bundle.stop:
            self._next_part(bundle, encode_s)
        else:
            self._interpreters[bundle.process].run(encode_s, self._publish, bundle)

    def _publish(self, bundle: _Bundle) -> None:
        if self._work.publish_s > 0:
            self._events.at(self._events.now + self._work.publish_s, self._published, bundle)
        else:
            self._published(bundle)

    def _published(self, bundle: _Bundle) -> None:
        self._ends.append((bundle.first, bundle.stop, self._events.now))
        self._throttled_s += bundle.throttle.seconds
        self._interpreters[bundle.process].run(self._work.commit_s, self._committed, bundle)

    def _committed(self, bundle: _Bundle) -> None:
        self._source.done(bundle.key)
        self._free[bundle.process] += 1
        self._may_begin += 1
        self._look(None)


def poisson(rate: float, seconds: float, seed: int) -> Floats:
    """Return [n] arrivals of a Poisson process, seconds, ascending; one at least."""
    random = np.random.default_rng(seed)
    n = max(1, int(random.poisson(rate * seconds)))
    return np.sort(random.uniform(0.0, seconds, n))


def evenly(rate: float, seconds: float) -> Floats:
    """Return [n] arrivals at equal distances, seconds, from 0 on; one at least."""
    return np.arange(max(1, round(rate * seconds)), dtype=np.float64) / rate
