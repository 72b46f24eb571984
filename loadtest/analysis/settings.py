"""What an analysis is told beside the raw log."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something that happened to the system, such as a change of its number of workers.

    Attributes:
        at: Epoch seconds.
        text: For people.
    """

    at: float
    text: str


@dataclass(frozen=True)
class Settings:
    """What an analysis is told.

    Attributes:
        deadline_s: An answer that takes longer is late, and a missing one counts as at least as long. None: a
            missing answer counts as the time that it was waited for, and none is late.
        tightest_objective_s: The shortest latency that is asked for; it bounds the schedule error.
        warm_up_floor_s: Seconds that are cut at least, up to half of the run: 10 on one machine, 60 in the
            cloud (measured on synthetic queues).
        events: In the order of their times; changes of the series `workers` and `replicas` are added.
    """

    deadline_s: float | None = None
    tightest_objective_s: float | None = None
    warm_up_floor_s: float = 10.0
    events: tuple[Event, ...] = ()
