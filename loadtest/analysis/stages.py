"""Where the time of a request went, and how large the batches were."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from loadtest.analysis.timeline import Bools, Timeline
from loadtest.raw_log import REPORTED, STAGES, Floats, RawLog

# Of the requests, by latency: what the slowest wait for is often not what most wait for.
_SLOWEST = 0.01


@dataclass(frozen=True)
class Stage:
    """The time in one stage, milliseconds.

    Attributes:
        name: queue, batch_wait, inference, server (a part of inference) or rest.
        mean: Over all results that report it. Those of all stages but server add up to the mean latency.
        p50: Median.
        p99: 99th percentile.
        share: Of the mean latency, 0 to 1.
        share_of_slowest: The same among the slowest 1 % of the results.
    """

    name: str
    mean: float
    p50: float
    p99: float
    share: float
    share_of_slowest: float


@dataclass(frozen=True)
class Batches:
    """The batches that the model was called with.

    Attributes:
        mean: Requests in a batch, over batches.
        largest: Requests in the largest.
        requests_by_size: Requests that were in a batch of each size, by size.
    """

    mean: float
    largest: int
    requests_by_size: tuple[tuple[int, int], ...]


def stage_times(log: RawLog, messages: Timeline) -> dict[str, Floats]:
    """Return, by name, [n] milliseconds of each message in a stage; NaN where it is not reported.

    `rest` is what is left of the corrected latency once queue, batch wait and inference are taken off.

    Args:
        log: Of the run.
        messages: Of the same run.
    """
    reported = log.messages.stages_ms[messages.order]
    in_turn = reported[:, : len(STAGES)]
    known = ~np.isnan(in_turn).all(axis=1)
    result_at = log.messages.result_at[messages.order] - log.facts.started
    end_to_end = (result_at - messages.intended) * 1e3
    rest = np.where(known, end_to_end - np.nansum(in_turn, axis=1), np.nan)
    return {name: reported[:, column] for column, name in enumerate(REPORTED)} | {"rest": rest}


def stages(times: dict[str, Floats], latency: Floats, window: Bools) -> tuple[Stage, ...]:
    """Return the stages that any result of the window reports.

    Args:
        times: As `stage_times` returns them.
        latency: [n] corrected, milliseconds.
        window: [n] the messages that count.
    """
    known = window & ~np.isnan(times["rest"])
    if not known.any():
        return ()
    whole = latency[known]
    slowest = whole >= np.quantile(whole, 1 - _SLOWEST)
    found = []
    for name, values in times.items():
        chosen = values[known]
        reported = chosen[~np.isnan(chosen)]
        if len(reported):
            p50, p99 = np.quantile(reported, (0.5, 0.99)).tolist()
            share = float(np.nansum(chosen) / whole.sum())
            of_slowest = float(np.nansum(chosen[slowest]) / whole[slowest].sum())
            found.append(Stage(name, float(reported.mean()), p50, p99, share, of_slowest))
    return tuple(found)


def batches(sizes: Floats) -> Batches | None:
    """Return the batches of a window, or None where no result tells of its own.

    Args:
        sizes: [n] requests that shared each message's batch, NaN where unknown. A batch of b counts b times.
    """
    known = sizes[sizes >= 1]
    if not len(known):
        return None
    values, counts = np.unique(known.astype(np.int64), return_counts=True)
    return Batches(
        mean=float(len(known) / (1 / known).sum()),
        largest=int(values[-1]),
        requests_by_size=tuple(zip(values.tolist(), counts.tolist(), strict=True)),
    )
