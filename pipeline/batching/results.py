"""From what a batch came to, to an answer for each request: a result, or a dead letter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.batching.batch_runner import BatchSlice, ForwardPass
from pipeline.request.errors import InferenceError
from pipeline.request.messages import DeadLetter, Request, Result


def answers(requests: Sequence[Request], share: BatchSlice, *, allow_nan: bool) -> list[Result | DeadLetter]:
    """One answer for each request of a block, in the same order.

    A request that the model failed on alone, or whose output holds NaN or infinity unless that is allowed, is
    a DeadLetter of the stage `inference`.
    """
    found: list[Result | DeadLetter] = []
    for each in share.passes:
        first = max(each.first - share.offset, 0)
        stop = min(each.stop - share.offset, len(requests))
        if first < stop:
            found += _of_pass(requests[first:stop], first + share.offset - each.first, each, share, allow_nan)
    return found


def _of_pass(
    requests: Sequence[Request], row: int, each: ForwardPass, share: BatchSlice, allow_nan: bool
) -> Iterator[Result | DeadLetter]:
    """`row`: the first request's, in the pass."""
    if each.batch is None:
        for request in requests:
            yield _refuse(
                request, f"the model failed ({each.model_id}): {each.failure}", each.end, each.failure
            )
        return
    stop = row + len(requests)
    good = [True] * len(requests) if allow_nan else each.batch.finite(row, stop)
    predictions = each.batch.predictions(row, stop)
    size = each.stop - each.first
    for request, prediction, is_finite in zip(requests, predictions, good, strict=True):
        times = request.timeline
        times.batched = share.batched
        times.inference_start = each.start
        times.inference_end = each.end
        if is_finite:
            yield Result(request, prediction, each.model_id, size)
        else:
            reason = "the model's output holds NaN or infinity (see --allow_nan)"
            yield _refuse(request, reason, each.end)


def _refuse(request: Request, reason: str, now: float, cause: Exception | None = None) -> DeadLetter:
    error = InferenceError(reason, request.request_id)
    error.__cause__ = cause
    return DeadLetter.of(error, request.data, request.attributes, now)
