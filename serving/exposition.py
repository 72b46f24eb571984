"""The text that Prometheus reads (https://prometheus.io/docs/instrumenting/exposition_formats/, 0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from serving.metrics import Distribution, Totals

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def exposition(totals: Totals) -> bytes:
    """Return the metrics of the whole container."""
    lines = [
        *_labelled(
            *(
                "serving_calls_total",
                "counter",
                "Answers, other than to health checks and scrapes.",
                "status",
            ),
            {str(status): value for status, value in totals.calls.items()},
        ),
        *_labelled(
            *("serving_failures_total", "counter", "Calls that were not answered with 200.", "reason"),
            {reason.value: value for reason, value in totals.failures.items()},
        ),
        *_single(
            *("serving_rows_total", "counter", "Rows that the model was called with."), totals.batch_rows.sum
        ),
        *_histogram("serving_batch_rows", "Rows of a batch.", totals.batch_rows),
        *_histogram(
            *("serving_queue_seconds", "Time of a call from its last byte to the beginning of its batch."),
            totals.queue_s,
        ),
        *_histogram("serving_compute_seconds", "Time of the model for a batch.", totals.compute_s),
        *_single("serving_calls_waiting", "gauge", "Calls that wait for their turn.", totals.waiting),
        *_single("serving_connections_open", "gauge", "Open connections.", totals.connections),
        *_single(
            *("serving_workers_ready", "gauge", "Worker processes whose model is loaded and warm."),
            totals.workers_ready,
        ),
        *_single(
            *("serving_worker_restarts_total", "counter", "Worker processes that ended and were replaced."),
            totals.restarts,
        ),
        *_labelled(
            *(
                "serving_model_info",
                "gauge",
                "The model that serves; during a swap there are two.",
                "model_id",
            ),
            dict.fromkeys(totals.model_ids, 1.0),
        ),
    ]
    return ("\n".join(lines) + "\n").encode()


def _head(name: str, kind: str, text: str) -> Iterable[str]:
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def _single(name: str, kind: str, text: str, value: float) -> Iterable[str]:
    return *_head(name, kind, text), f"{name} {_number(value)}"


def _labelled(name: str, kind: str, text: str, label: str, values: Mapping[str, float]) -> Iterable[str]:
    samples = [
        f'{name}{{{label}="{key.translate(_ESCAPES)}"}} {_number(value)}' for key, value in values.items()
    ]
    return *_head(name, kind, text), *samples


def _histogram(name: str, text: str, values: Distribution) -> Iterable[str]:
    bounds = [*map(_number, values.bounds), "+Inf"]
    buckets = zip(bounds, values.counts, strict=True)
    return (
        *_head(name, "histogram", text),
        *(f'{name}_bucket{{le="{bound}"}} {_number(number)}' for bound, number in buckets),
        f"{name}_sum {_number(values.sum)}",
        f"{name}_count {_number(values.counts[-1])}",
    )


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)
