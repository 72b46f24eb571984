"""Simulated time: events in their order, and stations whose jobs share what they do."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from math import inf
from typing import Any, TypeAlias

Then: TypeAlias = Callable[[Any], None]
"""Called with its argument once its time has come."""


class Station:
    """Jobs that run at once, all at one speed, which depends on how many there are: vCPUs, or a GPU.

    Processor sharing by a clock of its own, which runs at that speed: a job ends when the clock has gone on
    by its work. So a job that comes or goes moves the clock's speed, and no other job.

    Attributes:
        next_at: When the next job ends, seconds; infinite while there is none.
        demand: Sum of the jobs' weights.
    """

    __slots__ = (
        "_busy",
        "_clock",
        "_jobs",
        "_number",
        "_speed",
        "_speed_at",
        "_used",
        "_was",
        "demand",
        "next_at",
    )

    def __init__(self, speed_at: Callable[[float], float]) -> None:
        """Begin without a job, at time 0.

        Args:
            speed_at: Returns the speed of each job for a demand: 1 as alone, above 0.
        """
        self._speed_at = speed_at
        self._jobs: list[tuple[float, int, float, Then, Any]] = []
        self._number = 0  # of the next job: those that end at once do so in their order
        self._clock = self._was = self._used = self._busy = 0.0
        self._speed = 1.0
        self.demand = 0.0
        self.next_at = inf

    def start(self, now: float, work_s: float, weight: float, then: Then, argument: Any) -> None:
        """Begin a job, which takes `work_s` at a speed of 1; at its end, `then` is called."""
        self._advance(now)
        heappush(self._jobs, (self._clock + work_s, self._number, weight, then, argument))
        self._number += 1
        self._change(now, weight)

    def finish(self, now: float) -> None:
        """End the job that `next_at` is of."""
        self._advance(now)
        end, _, weight, then, argument = heappop(self._jobs)
        self._clock = end  # the same but for rounding
        self._change(now, -weight)
        then(argument)

    def used(self, now: float) -> float:
        """Return the weight x seconds of work that has been done until now."""
        return self._used + (now - self._was) * self._speed * self.demand

    def busy(self, now: float) -> float:
        """Return the seconds until now in which there was a job."""
        return self._busy + (now - self._was if self._jobs else 0.0)

    def _advance(self, now: float) -> None:
        if self._jobs:
            self._busy += now - self._was
        passed = (now - self._was) * self._speed
        self._clock += passed
        self._used += passed * self.demand
        self._was = now

    def _change(self, now: float, weight: float) -> None:
        if not self._jobs:
            self.demand = self._clock = 0.0  # so that neither drifts by rounding
            self.next_at = inf
            return
        self.demand += weight
        self._speed = self._speed_at(self.demand)
        self.next_at = max(now, now + (self._jobs[0][0] - self._clock) / self._speed)


class Events:
    """What happens next.

    Attributes:
        now: Seconds.
        count: Events so far.
    """

    __slots__ = ("_heap", "_number", "_stations", "count", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 0
        self._heap: list[tuple[float, int, Then, Any]] = []
        self._number = 0
        self._stations: list[Station] = []

    def station(self, speed_at: Callable[[float], float]) -> Station:
        """Return a new station, whose jobs end in these events' time."""
        station = Station(speed_at)
        self._stations.append(station)
        return station

    def at(self, time: float, then: Then, argument: Any = None) -> None:
        """Have `then` called at a time, not before now; those of one time in the order of these calls."""
        heappush(self._heap, (time, self._number, then, argument))
        self._number += 1

    def run(self) -> None:
        """Go on until nothing more happens."""
        heap, stations = self._heap, self._stations
        while True:
            time = heap[0][0] if heap else inf
            first: Station | None = None
            for station in stations:
                if station.next_at < time:
                    time, first = station.next_at, station
            if time == inf:
                return
            self.now = time
            self.count += 1
            if first is not None:
                first.finish(time)
            else:
                _, _, then, argument = heappop(heap)
                then(argument)


class Interpreter:
    """What holds one process's interpreter lock: one piece of work at a time, in order, on one vCPU.

    Pieces are shorter than the interpreter's switch interval of 5 ms, so that in order is how threads get it.
    """

    __slots__ = ("_busy", "_cpus", "_events", "_waiting")

    def __init__(self, events: Events, cpus: Station) -> None:
        self._events = events
        self._cpus = cpus
        self._busy = False
        self._waiting: deque[tuple[float, Then, Any]] = deque()

    def run(self, work_s: float, then: Then, argument: Any) -> None:
        """Do some work after all that waits, then call `then`; at once where there is none to do."""
        if work_s <= 0:
            then(argument)
        elif self._busy:
            self._waiting.append((work_s, then, argument))
        else:
            self._busy = True
            self._cpus.start(self._events.now, work_s, 1.0, self._done, (then, argument))

    def _done(self, done: tuple[Then, Any]) -> None:
        if self._waiting:
            work_s, then, argument = self._waiting.popleft()
            self._cpus.start(self._events.now, work_s, 1.0, self._done, (then, argument))
        else:
            self._busy = False
        done[0](done[1])
