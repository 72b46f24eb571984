"""Turns the forward passes of a batch into an outcome for each request: a result, or a dead letter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.batching.batch_runner import BatchSlice, ForwardPass
from pipeline.model.failure import said
from pipeline.request.errors import InferenceError, TransientError
from pipeline.request.messages import DeadLetter, Request, Result


def outcomes(
    requests: Sequence[Request], batch_slice: BatchSlice, *, allow_nan: bool
) -> list[Result | DeadLetter]:
    """Return one outcome for each request of a bundle, in the same order.

    A request becomes a DeadLetter of the stage `inference` if the model failed on it alone, or if its output
    holds NaN or infinity and `allow_nan` is not set.

    Raises:
        TransientError: The model failed on a request of the bundle, which is not to blame.
    """
    found: list[Result | DeadLetter] = []
    offset = batch_slice.offset
    for each in batch_slice.passes:
        first = max(each.first - offset, 0)
        stop = min(each.stop - offset, len(requests))
        if first < stop:
            row = first + offset - each.first
            found += _of_pass(requests[first:stop], row, each, batch_slice.batched, allow_nan)
    return found


def _of_pass(
    requests: Sequence[Request], row: int, each: ForwardPass, batched: float, allow_nan: bool
) -> Iterator[Result | DeadLetter]:
    """Yield the outcomes of `requests`, the first of which is row `row` of the pass."""
    if isinstance(each.failure, TransientError):
        raise each.failure
    if each.outputs is None:
        assert each.failure is not None  # for mypy: without outputs there is one
        for request in requests:
            reason = f"the model failed ({each.model_id}): {said(each.failure)}"
            yield _dead_letter(request, reason, each.end, each.failure)
        return
    stop = row + len(requests)
    good = [True] * len(requests) if allow_nan else each.outputs.finite(row, stop)
    predictions = each.outputs.predictions(row, stop)
    size = each.stop - each.first
    for request, prediction, is_good in zip(requests, predictions, good, strict=True):
        times = request.timeline
        times.batched = batched
        times.inference_start = each.start
        times.inference_end = each.end
        if is_good:
            yield Result(request, prediction, each.model_id, size)
        else:
            reason = "the model's output holds NaN or infinity (see --allow_nan)"
            yield _dead_letter(request, reason, each.end)


def _dead_letter(request: Request, reason: str, now: float, cause: Exception | None = None) -> DeadLetter:
    error = InferenceError(reason, request.request_id)
    error.__cause__ = cause
    return DeadLetter.of(error, request.data, request.attributes, now)
