"""The job's Beam metrics. docs/operations.md says what each tells.

Count on bundle threads only: on any other thread Beam silently drops the values.
"""

from __future__ import annotations

from apache_beam.metrics import Metrics

from pipeline.request.messages import Result

NAMESPACE = "inference"

_queue_ms = Metrics.distribution(NAMESPACE, "queue_ms")
_batch_wait_ms = Metrics.distribution(NAMESPACE, "batch_wait_ms")
_inference_ms = Metrics.distribution(NAMESPACE, "inference_ms")
_total_ms = Metrics.distribution(NAMESPACE, "total_ms")
_batch_size = Metrics.distribution(NAMESPACE, "batch_size")
_results = Metrics.counter(NAMESPACE, "results")
_model_swaps = Metrics.counter(NAMESPACE, "model_swaps")
_model_refusals = Metrics.counter(NAMESPACE, "model_refusals")
_dead_letters = {
    stage: Metrics.counter(NAMESPACE, f"dead_letters_{stage}")
    for stage in ("decode", "inference", "encode", "write")
}
_dead_letters_dropped = Metrics.counter(NAMESPACE, "dead_letters_dropped")
# Dataflow's autoscaler reads the counter of this name: workers that wait for a full endpoint are not short of
# processors. Beam's own connectors count it, too (ThrottlingSignaler).
_throttled_s = Metrics.counter(NAMESPACE, "cumulativeThrottlingSeconds")


def count_result(result: Result, emitted: float) -> None:
    """Count a result, and add a value to each distribution, in whole milliseconds: Beam has integers only.

    Args:
        result: The result.
        emitted: Epoch seconds at which it was emitted.
    """
    times = result.request.timeline
    _results.inc()
    _batch_size.update(result.batch_size)
    if times.published is not None:
        _total_ms.update(round(1000 * (emitted - times.published)))
        if times.received is not None:
            _queue_ms.update(round(1000 * (times.received - times.published)))
    if times.inference_start is not None and times.inference_end is not None:
        _inference_ms.update(round(1000 * (times.inference_end - times.inference_start)))
        if times.received is not None:
            _batch_wait_ms.update(round(1000 * (times.inference_start - times.received)))


def count_dead_letter(stage: str) -> None:
    """Count a dead letter of `stage`."""
    _dead_letters[stage].inc()


def count_dropped_dead_letter() -> None:
    """Count a dead letter that came in as a request and was dropped."""
    _dead_letters_dropped.inc()


def count_throttled(seconds: int) -> None:
    """Count seconds for which a bundle waited because the endpoint would not take its calls."""
    _throttled_s.inc(seconds)


def count_models(swaps: int, refusals: int) -> None:
    """Count swaps of the model, and candidates that were refused."""
    if swaps:
        _model_swaps.inc(swaps)
    if refusals:
        _model_refusals.inc(refusals)
