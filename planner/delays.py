"""How long messages take: the fluid layer's wait, and the time inside one worker at the load of then.

Message n of a first-in, first-out queue waits D^-1(n) - A^-1(n): from the moment by which n had come to the
one by which n were answered. The time inside a worker, its batches and its chance queues included, is drawn
from the kernel's sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.fluid import Job
from planner.timeline import Timeline

Floats = NDArray[np.float64]

MESSAGES = 20_000
"""Messages drawn of each Monte-Carlo draw: 200 lie beyond the p99."""


@dataclass(frozen=True, eq=False)
class Latencies:
    """Messages of a run, drawn evenly over all that came.

    Attributes:
        arrived_s: [draws, n] seconds after the start at which each came.
        seconds: [draws, n] from then to its answer.
        unanswered: [draws, n] whether there was none by the end of the run: `seconds` then is what it had
            waited, at least.
    """

    arrived_s: Floats
    seconds: Floats
    unanswered: NDArray[np.bool_]

    def percentiles(self, percents: Sequence[float]) -> Floats:
        """Return percentiles of all messages, [percents, draws] seconds."""
        return np.asarray(np.percentile(self.seconds, list(percents), axis=1))

    def over_time(self, edges: Floats, percent: float) -> Floats:
        """Return a percentile of the messages between each two of [m + 1] arrival times, [m, draws] seconds.

        NaN where none came.
        """
        found = np.full((len(edges) - 1, len(self.seconds)), np.nan)
        for draw, (times, seconds) in enumerate(zip(self.arrived_s, self.seconds, strict=True)):
            order = np.argsort(times, kind="stable")
            bounds = np.searchsorted(times[order], edges)
            for part in range(len(edges) - 1):
                chosen = seconds[order[bounds[part] : bounds[part + 1]]]
                if len(chosen):
                    found[part, draw] = np.percentile(chosen, percent)
        return found


def waits(
    timeline: Timeline, draw: int, group: int, numbers: Floats
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return when messages came, how long they waited, and which had no answer by the end; all [n].

    Args:
        timeline: A run.
        draw: Of it.
        group: Of workers.
        numbers: [n] of the messages, counted in the order of their coming.
    """
    came = np.interp(numbers, timeline.arrived[:, draw, group], timeline.times)
    served = timeline.served[:, draw, group]
    unanswered = numbers > served[-1]
    answered = np.where(unanswered, timeline.times[-1], np.interp(numbers, served, timeline.times))
    return came, np.maximum(answered - came, 0.0), unanswered


def latencies(timeline: Timeline, job: Job, messages: int = MESSAGES, seed: int = 1) -> Latencies:
    """Draw messages of a run with their latencies.

    Args:
        timeline: The run.
        job: That it was of.
        messages: How many of each draw.
        seed: Of the samples of a worker's own time; the same seed gives the same latencies.
    """
    shape = (timeline.draws, messages)
    came, seconds = np.empty(shape), np.empty(shape)
    unanswered = np.zeros(shape, dtype=np.bool_)
    generator = np.random.default_rng([seed, messages])
    uniform, uniform_replica = generator.random(messages), generator.random(messages)
    for draw in range(timeline.draws):
        totals = timeline.arrived[-1, draw]
        # Every 1/n-th message, counted through the groups one after the other.
        numbers = (np.arange(messages) + 0.5) / messages * totals.sum()
        ends = np.cumsum(totals)
        groups = np.minimum(np.searchsorted(ends, numbers, side="right"), len(totals) - 1)
        for group in np.unique(groups):
            chosen = groups == group
            own = numbers[chosen] - (ends[group] - totals[group])
            came[draw, chosen], seconds[draw, chosen], unanswered[draw, chosen] = waits(
                timeline, draw, group, own
            )
        # The groups' order must not go with the sample's.
        order = generator.permutation(messages)
        left = came[draw] + seconds[draw]
        seconds[draw] += _own_time(timeline, job, draw, left, uniform[order], uniform_replica[order])
    return Latencies(came, seconds, unanswered)


def _own_time(
    timeline: Timeline, job: Job, draw: int, left: Floats, uniform: Floats, uniform_replica: Floats
) -> Floats:
    """Return the time inside worker and replica, [n] seconds, of messages that left the queue at some times.

    The wait in a queue that grows is the fluid layer's. So no load counts above the highest with which a
    worker keeps
    up: the kernel's sample of an overload has that wait in it, too.
    """
    record = np.minimum((left / timeline.record_s).astype(np.int64), len(timeline.times) - 2)
    done = timeline["done_per_s"][record, draw]
    workers = np.maximum(timeline["workers"][record, draw], 1.0)
    found = job.worker.latencies(np.minimum(done / workers, job.worker.kept_up), uniform)
    if job.endpoint:
        replica = job.endpoint.replica
        replicas = np.maximum(timeline["replicas"][record, draw], 1.0)
        loaded = replica.latencies(np.minimum(done / replicas, replica.kept_up), uniform_replica)
        # What the worker's own sample has of the call already is that of an idle replica.
        found = found + np.maximum(loaded - np.median(replica.latency_s[0]), 0.0)
    return found
