"""Which batch sizes a law is measured at, and which calls of a run say how long a batch takes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from loadtest.profile.model_calls import ModelCalls
from loadtest.raw_log import RawLog
from loadtest.statistics.warm_up import mser5

# Jobs that are started for a law. Its scatter has two degrees of freedom fewer: with four jobs, Student's t
# is 4.3, with five 3.2, with six 2.8.
SIZES = 5


def sizes_up_to(largest: int) -> list[int]:
    """Return the sizes to measure, ascending: at most `SIZES`, from 1 to `largest` by equal factors."""
    return sorted({round(largest ** (number / (SIZES - 1))) for number in range(SIZES)})


def sizes_within(asked: Sequence[int], most: int | None) -> list[int]:
    """Return the sizes to measure where a call may have `most` instances; None for any number.

    Where some of `asked`, which ascend, are larger, others take their place up to `most`, itself among them:
    what is left of them may be one size alone, which makes no law.
    """
    return list(asked) if most is None or asked[-1] <= most else sizes_up_to(most)


def left_out(asked: Sequence[int], most: int | None) -> str:
    """Return what a profile says of the sizes of `asked` that are above `most`; empty where none is."""
    larger = ", ".join(str(size) for size in asked if most is not None and size > most)
    return larger and (
        f"{larger} are left out: the container takes at most {most:,} instances in a call (--max_batch_size)"
    )


def settled(calls: ModelCalls) -> bool:
    """Return whether the calls of a run came to take a steady time within its first half.

    MSER-5 over their logarithms: a single call of ten times the length is no trend.
    """
    return mser5(np.log(np.maximum(calls.ms, 1e-3))).steady


def calls_of_backlog(log: RawLog, calls: ModelCalls) -> ModelCalls:
    """Return the full batches among the calls that began once the last message was sent.

    From then on the job has its backlog before it, so that its flag sets the size of each batch, and the
    driver publishes no more: all sizes are measured in the same state of the machine. What is left over at
    the end of a bundle is a smaller batch, which takes its time for other reasons, too.
    """
    alone = calls.where(calls.started >= float(np.nanmax(log.messages.sent_at)))
    return alone.where(alone.size == alone.size.max(initial=0.0))
