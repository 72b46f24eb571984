"""Who answers the batches of each process: its bundle threads, its batcher, or an endpoint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

from pipeline.inference.endpoint.throttle import ThrottleClock
from planner.kernel.batcher import SimulatedBatcher
from planner.kernel.endpoint_calls import SimulatedClient
from planner.kernel.events import Events, Station, Then
from planner.kernel.times import CallTimes
from planner.kernel.worker import AcrossBundles, Batching, CallTime, Device, EndpointCalls, OnCpu


class Answers(Protocol):
    """What the bundle threads of one process call.

    Attributes:
        most: Messages at once.
    """

    most: int

    def call(self, rows: int, throttle: ThrottleClock, then: Then, argument: Any) -> None:
        """Answer so many messages of a bundle, then call `then`."""


Place: TypeAlias = tuple[Station, float, float]
"""Where calls run, the weight of each there, and the cores that it keeps busy besides."""


class ModelCalls:
    """The calls of one law on one station.

    Attributes:
        calls: That were started.
        rows: In all of them.
        host_s: Core seconds beside the station.
    """

    def __init__(self, events: Events, place: Place, time: CallTime, random: np.random.Generator) -> None:
        self._events = events
        self._station, self._weight, self._host_cores = place
        self._times = CallTimes(time, random)
        self.calls = self.rows = 0
        self.host_s = 0.0

    def start(self, rows: int, then: Then, argument: Any) -> None:
        """Start a call; at its end, `then` is called."""
        self.calls += 1
        self.rows += rows
        seconds = self._times.seconds(rows)
        self.host_s += seconds * self._host_cores
        self._station.start(self._events.now, seconds, self._weight, then, argument)


def device_station(events: Events, cpus: Station, device: Device) -> Place:
    """Return where the calls of a worker's or replica's model run."""
    if isinstance(device, OnCpu):
        return cpus, device.cores, 0.0
    contention = device.contention
    return events.station(lambda calls: 1 / (1 + contention * (calls - 1))), 1.0, device.host_cores


def endpoint_station(events: Events, calls: EndpointCalls) -> Place:
    """Return the part of an endpoint that serves one worker."""
    at_once = calls.at_once
    return events.station(lambda in_service: min(1.0, at_once / in_service)), 1.0, 0.0


class _OfThreads:
    """Each bundle thread calls the model itself."""

    def __init__(self, most: int, calls: ModelCalls) -> None:
        self.most = most
        self._calls = calls

    def call(self, rows: int, throttle: ThrottleClock, then: Then, argument: Any) -> None:
        self._calls.start(rows, then, argument)


class _OfBatcher:
    """The bundles of a process meet in batches."""

    def __init__(self, batcher: SimulatedBatcher, most: int) -> None:
        self.most = most
        self._batcher = batcher

    def call(self, rows: int, throttle: ThrottleClock, then: Then, argument: Any) -> None:
        self._batcher.submit(rows, then, argument)


class _OfEndpoint:
    """The bundles of a process share a client."""

    def __init__(self, client: SimulatedClient, most: int) -> None:
        self.most = most
        self._client = client

    def call(self, rows: int, throttle: ThrottleClock, then: Then, argument: Any) -> None:
        self._client.call(rows, throttle, then, argument)


def of_model(events: Events, calls: ModelCalls, batching: Batching, processes: int) -> Sequence[Answers]:
    """Return what the processes of a worker with its own model call."""
    if not isinstance(batching, AcrossBundles):
        return [_OfThreads(batching.max_batch_size, calls)] * processes
    size, wait_s, concurrent = batching.max_batch_size, batching.max_wait_s, batching.concurrent_batches
    return [
        _OfBatcher(SimulatedBatcher(events, calls.start, size, wait_s, concurrent), size)
        for _ in range(processes)
    ]


def of_endpoint(
    events: Events, station: Station, calls: ModelCalls, settings: EndpointCalls, processes: int, seed: int
) -> Sequence[Answers]:
    """Return what the processes of a worker that calls an endpoint call."""
    # As `pipeline.inference.endpoint.handler`: a batch is all that may be in flight at once.
    most = settings.batch_size * settings.max_concurrency
    return [
        _OfEndpoint(SimulatedClient(events, station, settings, calls.start, seed + process), most)
        for process in range(processes)
    ]
