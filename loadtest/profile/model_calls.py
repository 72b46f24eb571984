"""The calls of the model that the messages of a run shared."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from loadtest.raw_log import STAGES, Floats, RawLog

_QUEUE, _BATCH_WAIT, _INFERENCE = (STAGES.index(name) for name in ("queue", "batch_wait", "inference"))


@dataclass(frozen=True)
class ModelCalls:
    """Calls in the order of their starts.

    Attributes:
        size: [k] requests.
        ms: [k] time of the call, milliseconds.
        batch_wait_ms: [k] mean batch wait of its requests, milliseconds.
        started: [k] epoch seconds; as late as publishing a request takes before the truth.
        sent: [k] when the last of its requests was sent, epoch seconds.
    """

    size: Floats
    ms: Floats
    batch_wait_ms: Floats
    started: Floats
    sent: Floats

    def __len__(self) -> int:
        return len(self.size)

    def where(self, chosen: NDArray[np.bool_]) -> ModelCalls:
        """Return those of which `chosen` [k] is true."""
        return ModelCalls(*(getattr(self, one.name)[chosen] for one in fields(self)))


def model_calls(log: RawLog) -> ModelCalls:
    """Return the calls that results tell of; those of which a result is missing are left out.

    The requests of a call report the same size and the same time, to the microsecond. Calls that are alike in
    both are told apart by when they started.
    """
    messages = log.messages
    stages = messages.stages_ms
    known = (messages.batch_size >= 1) & ~np.isnan(stages[:, _INFERENCE]) & ~np.isnan(messages.sent_at)
    size, sent = messages.batch_size[known], messages.sent_at[known]
    queue, wait, ms = (stages[known, column] for column in (_QUEUE, _BATCH_WAIT, _INFERENCE))
    started = sent + (np.nan_to_num(queue) + np.nan_to_num(wait)) / 1e3
    order = np.lexsort((started, ms, size))
    rows = []
    first = 0
    while first < len(order):
        whole = int(size[order[first]])
        members = order[first : first + whole]
        same = (size[members] == size[members[0]]) & (ms[members] == ms[members[0]])
        if len(members) == whole and same.all():
            rows.append(_row(members, size, ms, wait, started, sent))
            first += whole
        else:
            first += max(1, int(same.sum()))
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    table = table[np.argsort(table[:, 3], kind="stable")]
    return ModelCalls(*table.T)


def _row(
    members: NDArray[np.int64], size: Floats, ms: Floats, wait: Floats, started: Floats, sent: Floats
) -> tuple[float, float, float, float, float]:
    one = members[0]
    return (
        float(size[one]),
        float(ms[one]),
        float(np.nanmean(wait[members])),
        float(np.median(started[members])),
        float(sent[members].max()),
    )
