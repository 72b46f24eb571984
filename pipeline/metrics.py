"""The job's Beam metrics. docs/operations.md says what each tells.

All are counted on bundle threads: anywhere else Beam drops them in silence.
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


def count_result(result: Result, emitted: float) -> None:
    """One result, one value in each distribution. Milliseconds are whole: Beam has integers only."""
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
    _dead_letters[stage].inc()


def count_models(swaps: int, refusals: int) -> None:
    if swaps:
        _model_swaps.inc(swaps)
    if refusals:
        _model_refusals.inc(refusals)
