"""One replica of the prediction container: its processes, each with an event loop, a batcher and a model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from loadtest.raw_log import Floats
from planner.kernel.batcher import SimulatedBatcher
from planner.kernel.events import Events, Interpreter
from planner.kernel.models import ModelCalls, device_station
from planner.kernel.worker import AcrossBundles, CallTime, OnCpu, OnGpu


@dataclass(frozen=True)
class Replica:
    """One replica of an endpoint.

    Attributes:
        vcpus: Of its machine.
        time: Of a pass of the model.
        processes: As the container's --workers: each has its own model, and takes its share of connections.
        batching: As the container forms batches of calls; one at a time in each process.
        device: Where the model computes.
        call_s: Work of the event loop for each call: HTTP, decoding and encoding.
        row_s: Likewise for each of its rows.
        way_s: Of a call's time, what lies outside the replica.
    """

    vcpus: float
    time: CallTime
    processes: int = 1
    batching: AcrossBundles = field(default_factory=AcrossBundles)
    device: OnCpu | OnGpu = field(default_factory=OnCpu)
    call_s: float = 0.0
    row_s: float = 0.0
    way_s: float = 0.0


@dataclass(frozen=True)
class ReplicaPoint:
    """What a replica did with its calls.

    Attributes:
        done: Calls a second.
        batch_size: Rows of a pass of the model, mean over passes.
        cpu: Utilisation of the replica's vCPUs, 0 to 1: what Vertex AI's autoscaler looks at.
        duty_cycle: Share of the time in which a pass of the model ran on the GPU, 0 to 1; 0 without one.
        latency_s: [n] of calls, seconds, ascending.
    """

    done: float
    batch_size: float
    cpu: float
    duty_cycle: float
    latency_s: Floats


def closed_loop(replica: Replica, callers: int, rows: int, calls: int, seed: int) -> ReplicaPoint:
    """Simulate callers, each of which calls again as soon as it is answered.

    Args:
        replica: The replica.
        callers: At once, each with a connection of its own; processes take connections in turn.
        rows: Of each call.
        calls: In all; the first fifth is warm-up.
        seed: Of the times of passes.
    """
    run = _Run(replica, rows, seed)
    return run.closed(callers, calls)


def open_loop(replica: Replica, arrived: Floats, rows: int, seed: int) -> ReplicaPoint:
    """Simulate calls that come by themselves, each on any connection.

    Args:
        replica: The replica.
        arrived: [n] when calls arrive, seconds from 0 on, ascending; the first fifth is warm-up.
        rows: Of each call.
        seed: Of the times of passes, and of which process has each call's connection.
    """
    run = _Run(replica, rows, seed)
    return run.open(arrived)


_WARM_UP = 0.2


class _Call:
    __slots__ = ("began", "caller", "process")

    def __init__(self, process: int, began: float, caller: bool) -> None:
        self.process = process
        self.began = began
        self.caller = caller


class _Run:
    """The state of one simulation."""

    def __init__(self, replica: Replica, rows: int, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._events = events = Events()
        vcpus = replica.vcpus
        self._cpus = events.station(lambda demand: min(1.0, vcpus / demand))
        self._vcpus = vcpus
        device = device_station(events, self._cpus, replica.device)
        self._gpu = device[0] if isinstance(replica.device, OnGpu) else None
        self._model = ModelCalls(events, device, replica.time, self._random)
        batching = replica.batching
        self._loops = [Interpreter(events, self._cpus) for _ in range(replica.processes)]
        self._batchers = [
            SimulatedBatcher(
                events,
                self._model.start,
                batching.max_batch_size,
                batching.max_wait_s,
                batching.concurrent_batches,
            )
            for _ in range(replica.processes)
        ]
        self._rows = rows
        # Half of it before the model, half after.
        self._loop_s = (replica.call_s + replica.row_s * rows) / 2
        self._way_s = replica.way_s / 2
        self._left = 0  # calls that are still to be made by callers
        self._done: list[tuple[float, float]] = []  # when it began and when it was answered

    def closed(self, callers: int, calls: int) -> ReplicaPoint:
        self._left = max(calls, callers)
        for caller in range(callers):
            self._left -= 1
            self._send(_Call(caller % len(self._loops), 0.0, True))
        self._events.run()
        return self._point(self._events.now)

    def open(self, arrived: Floats) -> ReplicaPoint:
        processes = self._random.integers(0, len(self._loops), len(arrived)).tolist()
        for time, process in zip(arrived.tolist(), processes, strict=True):
            self._events.at(time, self._send, _Call(process, time, False))
        self._events.run()
        return self._point(float(arrived[-1]))

    def _point(self, until: float) -> ReplicaPoint:
        began, ended = np.array(self._done).T
        since = _WARM_UP * until
        counted = (ended >= since) & (ended <= until)
        now = self._events.now
        return ReplicaPoint(
            float(counted.sum()) / (until - since),
            self._model.rows / self._model.calls,
            min(1.0, (self._cpus.used(now) + self._model.host_s) / (self._vcpus * now)),
            0.0 if self._gpu is None else self._gpu.busy(now) / now,
            np.sort((ended - began)[began >= since]),
        )

    def _send(self, call: _Call) -> None:
        self._events.at(self._events.now + self._way_s, self._arrive, call)

    def _arrive(self, call: _Call) -> None:
        self._loops[call.process].run(self._loop_s, self._queue, call)

    def _queue(self, call: _Call) -> None:
        self._batchers[call.process].submit(self._rows, self._answered, call)

    def _answered(self, call: _Call) -> None:
        self._loops[call.process].run(self._loop_s, self._return, call)

    def _return(self, call: _Call) -> None:
        self._events.at(self._events.now + self._way_s, self._receive, call)

    def _receive(self, call: _Call) -> None:
        now = self._events.now
        self._done.append((call.began, now))
        if call.caller and self._left:
            self._left -= 1
            self._send(_Call(call.process, now, True))
