"""The metrics of a Dataflow job, of its input subscription and of a Vertex AI endpoint, as Google lists them.

Names, kinds, units, labels and delays: https://docs.cloud.google.com/monitoring/api/metrics_gcp_d_h for
dataflow (generated 2026-04-10), metrics_gcp_a_b for aiplatform, metrics_gcp_p_z for pubsub.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from loadtest.metrics.monitoring_api import Aggregation
from pipeline.options.address import parse_endpoint

Combine = Literal["sum", "mean", "max", "count"]
"""How several series become one: values of one moment by sum, mean or maximum; counts of intervals add up."""

# Where the list states no delay: the longest that it states for another metric of the service.
_DATAFLOW_DELAY_S = 240.0
_VERTEX_DELAY_S = 360.0

_MIB = 2.0**20
_PERCENT = 0.01

_JOB_ID = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}_[0-9]{2}_[0-9]{2}_[0-9]{2}-[0-9]+")
_SUBSCRIPTION = re.compile(r"projects/([^/]+)/subscriptions/([^/]+)")


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        series: Of the raw log. The values of `labels` follow it, after slashes.
        type: Cloud Monitoring's name.
        resource: The monitored resource's type.
        unit: Of the series, after `scale`.
        combine: How its series become one.
        period_s: How often it is sampled; None where the list does not say.
        delay_s: After its sampling, a value may stay invisible for so long.
        labels: Labels of the metric whose values stay apart.
        scale: From Google's unit to `unit`.
        aggregation: What Cloud Monitoring makes of it first; None for the points as they are.
    """

    series: str
    type: str
    resource: str
    unit: str
    combine: Combine
    period_s: float | None
    delay_s: float
    labels: tuple[str, ...] = ()
    scale: float = 1.0
    aggregation: Aggregation | None = None


@dataclass(frozen=True)
class Watched:
    """Metrics of one thing.

    Attributes:
        what: It, in words.
        project: Whose metrics they are.
        clause: Of the filter, that picks it.
        metrics: Its metrics.
    """

    what: str
    project: str
    clause: str
    metrics: tuple[Metric, ...]

    def filter(self, metric: Metric) -> str:
        """Return the filter for one of its metrics."""
        return f'metric.type="{metric.type}" AND resource.type="{metric.resource}" AND {self.clause}'


def _dataflow(
    series: str,
    name: str,
    unit: str,
    combine: Combine,
    period_s: float | None,
    labels: tuple[str, ...] = (),
    scale: float = 1.0,
) -> Metric:
    type_ = f"dataflow.googleapis.com/job/{name}"
    return Metric(
        f"job/{series}", type_, "dataflow_job", unit, combine, period_s, _DATAFLOW_DELAY_S, labels, scale
    )


DATAFLOW_JOB = (
    # Of jobs with Streaming Engine only; vcpus stands in where there is none.
    _dataflow("workers", "active_worker_instances", "1", "sum", None),
    _dataflow("target_workers", "target_worker_instances", "1", "sum", None),
    _dataflow("vcpus", "current_num_vcpus", "1", "sum", 60.0),
    # True where a decision was made for this reason, false where it does not take effect.
    _dataflow("scaling", "horizontal_worker_scaling", "1", "max", None, ("direction", "rationale")),
    _dataflow("system_lag_s", "system_lag", "s", "max", 60.0),
    _dataflow("cpu", "aggregated_worker_utilization", "1", "mean", None),
    _dataflow("gpu_utilization", "gpu_utilization", "1", "mean", None, scale=_PERCENT),
    # The share of time in which memory was read or written, not how much is in use.
    _dataflow("gpu_memory_activity", "gpu_memory_utilization", "1", "mean", None, scale=_PERCENT),
)

DATAFLOW_WORKERS = (
    Metric(
        "job/gpu_memory_bytes",
        "dataflow.googleapis.com/worker/accelerator/gpu/memory/device_usage",
        "dataflow_worker",
        "bytes",
        "sum",
        None,
        _DATAFLOW_DELAY_S,
        scale=_MIB,
    ),
)


def _subscription(series: str, name: str, unit: str, combine: Combine) -> Metric:
    type_ = f"pubsub.googleapis.com/subscription/{name}"
    return Metric(f"subscription/{series}", type_, "pubsub_subscription", unit, combine, 60.0, 120.0)


SUBSCRIPTION = (
    _subscription("backlog", "num_undelivered_messages", "1", "sum"),
    _subscription("oldest_unacked_s", "oldest_unacked_message_age", "s", "max"),
)


def _vertex(
    series: str,
    name: str,
    unit: str,
    combine: Combine,
    period_s: float | None,
    delay_s: float,
    labels: tuple[str, ...] = (),
    aggregation: Aggregation | None = None,
) -> Metric:
    return Metric(
        f"endpoint/{series}",
        f"aiplatform.googleapis.com/prediction/online/{name}",
        "aiplatform.googleapis.com/Endpoint",
        unit,
        combine,
        period_s,
        delay_s,
        labels,
        aggregation=aggregation,
    )


def _latency(series: str, reducer: str) -> Metric:
    # The distributions of all replicas and models are merged before the percentile is taken.
    by_type = Aggregation("ALIGN_DELTA", reducer, ("metric.labels.latency_type",))
    name, labels = "prediction_latencies", ("latency_type",)
    return _vertex(series, name, "ms", "max", None, _VERTEX_DELAY_S, labels, by_type)


VERTEX_ENDPOINT = (
    _vertex("replicas", "replicas", "1", "sum", 60.0, 120.0),
    _vertex("target_replicas", "target_replicas", "1", "sum", 60.0, 120.0),
    # Of one vCPU: above 1 where a replica has several.
    _vertex("cpu", "cpu/utilization", "1", "mean", 60.0, 360.0),
    _vertex("duty_cycle", "accelerator/duty_cycle", "1", "mean", 60.0, 360.0),
    _vertex("gpu_memory_bytes", "accelerator/memory/bytes_used", "bytes", "sum", 60.0, 360.0),
    _latency("latency_p50_ms", "REDUCE_PERCENTILE_50"),
    _latency("latency_p99_ms", "REDUCE_PERCENTILE_99"),
    _vertex("responses", "response_count", "1", "count", None, _VERTEX_DELAY_S, ("response_code",)),
    _vertex("errors", "error_count", "1", "count", None, _VERTEX_DELAY_S),
)


# The number of workers or replicas that there are, and the one that is wanted.
TARGETS = {"job/workers": "job/target_workers", "endpoint/replicas": "endpoint/target_replicas"}


def of_job(project: str, job: str, region: str = "") -> list[Watched]:
    """Return the metrics of a Dataflow job.

    Args:
        project: Of the job.
        job: Its id or its name.
        region: Of the job, which tells jobs of one name apart; empty for any.
    """
    what = f"the Dataflow job {job}"
    in_region = f" AND resource.labels.region={_quoted(region)}" if region else ""
    if _JOB_ID.fullmatch(job):
        clauses = f"metric.labels.job_id={_quoted(job)}", f"resource.labels.job_id={_quoted(job)}"
    else:
        clauses = (f"resource.labels.job_name={_quoted(job)}",) * 2
    return [
        Watched(what, project, clauses[0] + in_region, DATAFLOW_JOB),
        Watched(what, project, clauses[1] + in_region, DATAFLOW_WORKERS),
    ]


def of_input_subscription(name: str) -> list[Watched]:
    """Return the metrics of the subscription that a job reads, whose backlog is the job's.

    Args:
        name: projects/PROJECT/subscriptions/NAME; the project need not be the job's.

    Raises:
        ValueError: It is not such a name.
    """
    parts = _SUBSCRIPTION.fullmatch(name)
    if parts is None:
        raise ValueError(f"{name!r} is not projects/PROJECT/subscriptions/NAME")
    clause = f"resource.labels.subscription_id={_quoted(parts[2])}"
    return [Watched(f"the subscription {name}", parts[1], clause, SUBSCRIPTION)]


def of_endpoint(project: str, endpoint: str) -> list[Watched]:
    """Return the metrics of a Vertex AI endpoint.

    Args:
        project: Of an endpoint that is given by its id.
        endpoint: Its id, or projects/PROJECT/locations/REGION/endpoints/ID.

    Raises:
        ValueError: `endpoint` is neither.
    """
    parts = parse_endpoint(endpoint).split("/")
    clause = f"resource.labels.endpoint_id={_quoted(parts[-1])}"
    owner = parts[1] if len(parts) > 1 else project
    return [Watched(f"the endpoint {endpoint}", owner, clause, VERTEX_ENDPOINT)]


def _quoted(text: str) -> str:
    # https://docs.cloud.google.com/monitoring/api/v3/filters: strings in double quotes, with backslashes.
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
