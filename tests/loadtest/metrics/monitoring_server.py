"""Cloud Monitoring's `projects.timeSeries.list` on loopback, which refuses what the service refuses.

Its table of metrics is the list of Google's, written down apart from the one that is tested.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.loopback import QuietHandler, serving

# The time of the tests, epoch seconds: 2026-11-27T13:20:00Z.
T0 = 1795785600.0

Value = float | int | bool


@dataclass(frozen=True)
class Descriptor:
    kind: str
    value_type: str
    resource: str
    labels: tuple[str, ...]
    delay_s: float


_JOB = ("job_id",)
_MODEL = ("deployed_model_id", "spot", "model_display_name", "endpoint_display_name")
_REPLICA = ("deployed_model_id", "replica_id", "spot")
_DATAFLOW, _VERTEX = "dataflow.googleapis.com/", "aiplatform.googleapis.com/prediction/online/"
_ENDPOINT = "aiplatform.googleapis.com/Endpoint"

DESCRIPTORS = {
    f"{_DATAFLOW}job/active_worker_instances": Descriptor("GAUGE", "INT64", "dataflow_job", _JOB, 60),
    f"{_DATAFLOW}job/target_worker_instances": Descriptor("GAUGE", "INT64", "dataflow_job", _JOB, 60),
    f"{_DATAFLOW}job/current_num_vcpus": Descriptor("GAUGE", "INT64", "dataflow_job", _JOB, 240),
    f"{_DATAFLOW}job/horizontal_worker_scaling": Descriptor(
        "GAUGE", "BOOL", "dataflow_job", ("job_id", "rationale", "direction"), 60
    ),
    f"{_DATAFLOW}job/system_lag": Descriptor("GAUGE", "INT64", "dataflow_job", _JOB, 240),
    f"{_DATAFLOW}job/aggregated_worker_utilization": Descriptor("GAUGE", "DOUBLE", "dataflow_job", _JOB, 60),
    f"{_DATAFLOW}job/gpu_utilization": Descriptor("GAUGE", "INT64", "dataflow_job", _JOB, 60),
    f"{_DATAFLOW}job/gpu_memory_utilization": Descriptor("GAUGE", "INT64", "dataflow_job", _JOB, 60),
    f"{_DATAFLOW}worker/accelerator/gpu/memory/device_usage": Descriptor(
        "GAUGE", "INT64", "dataflow_worker", ("device_uuid", "device_number", "device_model"), 60
    ),
    "pubsub.googleapis.com/subscription/num_undelivered_messages": Descriptor(
        "GAUGE", "INT64", "pubsub_subscription", (), 120
    ),
    "pubsub.googleapis.com/subscription/oldest_unacked_message_age": Descriptor(
        "GAUGE", "INT64", "pubsub_subscription", (), 120
    ),
    f"{_VERTEX}replicas": Descriptor("GAUGE", "INT64", _ENDPOINT, _MODEL, 120),
    f"{_VERTEX}target_replicas": Descriptor("GAUGE", "INT64", _ENDPOINT, _MODEL, 120),
    f"{_VERTEX}cpu/utilization": Descriptor("GAUGE", "DOUBLE", _ENDPOINT, _REPLICA, 360),
    f"{_VERTEX}accelerator/duty_cycle": Descriptor("GAUGE", "DOUBLE", _ENDPOINT, _REPLICA, 360),
    f"{_VERTEX}accelerator/memory/bytes_used": Descriptor("GAUGE", "INT64", _ENDPOINT, _REPLICA, 360),
    f"{_VERTEX}prediction_latencies": Descriptor(
        "DELTA", "DISTRIBUTION", _ENDPOINT, (*_MODEL, "latency_type"), 60
    ),
    f"{_VERTEX}response_count": Descriptor("DELTA", "INT64", _ENDPOINT, (*_MODEL, "response_code"), 60),
    f"{_VERTEX}error_count": Descriptor("DELTA", "INT64", _ENDPOINT, _MODEL, 60),
}  # fmt: skip

RESOURCE_LABELS = {
    "dataflow_job": ("project_id", "region", "job_name"),
    "dataflow_worker": ("project_id", "region", "job_name", "job_id", "worker_id"),
    "pubsub_subscription": ("project_id", "subscription_id"),
    _ENDPOINT: ("resource_container", "location", "endpoint_id"),
}

_FIELD = {"INT64": "int64Value", "DOUBLE": "doubleValue", "BOOL": "boolValue"}


@dataclass
class Stored:
    """A series: points are (end, value), or (start, end, value) of an interval."""

    project: str
    type: str
    metric_labels: dict[str, str]
    resource_labels: dict[str, str]
    points: Sequence[tuple[float, ...]]


@dataclass
class Refusal:
    """An answer that is no 200, once."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def google_error(status: int, name: str, message: str, reason: str | None = None) -> Refusal:
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    error = {"code": status, "message": message, "status": name, "details": details}
    return Refusal(status, json.dumps({"error": error}).encode())


class MonitoringServer:
    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.series: list[Stored] = []
        self.now = float("inf")
        self.token = "good-token"
        # As if nobody had written it in this project.
        self.unknown: set[str] = set()
        self.page_points = 100_000
        self.refusals: list[Refusal] = []
        self.execution_errors: list[dict[str, Any]] = []
        self.requests: list[dict[str, list[str]]] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []

    def put(
        self,
        type_: str,
        points: Sequence[tuple[float, ...]],
        *,
        project: str = "shop",
        metric: dict[str, str] | None = None,
        resource: dict[str, str] | None = None,
    ) -> None:
        self.series.append(Stored(project, type_, metric or {}, resource or {}, points))

    def answer(self, path: str, query: dict[str, list[str]], authorization: str | None) -> Refusal | bytes:
        if self.refusals:
            return self.refusals.pop(0)
        if authorization != f"Bearer {self.token}":
            return google_error(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        match = re.fullmatch(r"/v3/projects/([^/]+)/timeSeries", path)
        if match is None:
            return google_error(404, "NOT_FOUND", "Requested entity was not found.")
        try:
            return self._list(unquote(match[1]), query)
        except _RefusedError as error:
            return error.refusal

    def _list(self, project: str, query: dict[str, list[str]]) -> bytes:
        clauses = _clauses(_one(query, "filter"))
        type_ = clauses.pop("metric.type", None)
        if type_ is None:
            raise _invalid("The supplied filter must specify a metric type.")
        descriptor = DESCRIPTORS.get(type_)
        if descriptor is None or type_ in self.unknown:
            raise _RefusedError(
                google_error(
                    404,
                    "NOT_FOUND",
                    f'Cannot find metric(s) that match type = "{type_}". If a metric was created recently, '
                    "it could take up to 10 minutes to become available. Please try again soon.",
                )
            )
        _check_labels(clauses, descriptor)
        start, end = _time(_one(query, "interval.startTime")), _time(_one(query, "interval.endTime"))
        if start > end:
            raise _invalid("interval.startTime is after interval.endTime")
        aggregated = _check_aggregation(query, descriptor)
        rows = []
        for stored in self.series:
            if stored.project != project or stored.type != type_:
                continue
            if not _matches(clauses, stored):
                continue
            shown = [
                point
                for point in sorted(stored.points, key=lambda point: -point[-2])
                if start < point[-2] <= end and point[-2] + descriptor.delay_s <= self.now
            ]
            rows += [(stored, point) for point in shown]
        first = int(query.get("pageToken", ["0"])[0])
        page = rows[first : first + self.page_points]
        body: dict[str, Any] = {"timeSeries": _grouped(page, descriptor, aggregated), "unit": "1"}
        if first + self.page_points < len(rows):
            body["nextPageToken"] = str(first + self.page_points)
        if self.execution_errors:
            body["executionErrors"] = self.execution_errors
        if not page:
            del body["timeSeries"]  # as proto3's JSON leaves out what is empty
        return json.dumps(body).encode()


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


def _invalid(message: str) -> _RefusedError:
    return _RefusedError(google_error(400, "INVALID_ARGUMENT", message))


def _one(query: dict[str, list[str]], name: str) -> str:
    if len(query.get(name, [])) != 1:
        raise _invalid(f"Field {name} had an invalid value.")
    return query[name][0]


def _time(text: str) -> float:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z", text):
        raise _invalid(f"Illegal timestamp format: {text}")
    return datetime.fromisoformat(text).timestamp()


def _clauses(text: str) -> dict[str, str]:
    clauses: dict[str, str] = {}
    for part in re.split(r"\s+AND\s+(?=[a-z])", text):
        match = re.fullmatch(r'([a-z_.]+)\s*=\s*"((?:[^"\\]|\\.)*)"', part)
        if match is None:
            raise _invalid(f"Field filter had an invalid value of {text!r}: Could not parse filter.")
        if match[1] in clauses:
            raise _invalid("The supplied filter must specify exactly one metric type.")
        clauses[match[1]] = re.sub(r"\\(.)", r"\1", match[2])
    return clauses


def _check_labels(clauses: dict[str, str], descriptor: Descriptor) -> None:
    for name, value in clauses.items():
        if name == "resource.type":
            known = value == descriptor.resource
        else:
            of, _, label = name.partition(".labels.")
            known = (
                label in {"metric": descriptor.labels, "resource": RESOURCE_LABELS[descriptor.resource]}[of]
            )
        if not known:
            raise _invalid(
                "The supplied filter does not specify a valid combination of metric and monitored resource "
                f"descriptors. The query will not return any time series. ({name})"
            )


def _check_aggregation(query: dict[str, list[str]], descriptor: Descriptor) -> str | None:
    """Return the label that groups; None where the points are to be as they are."""
    names = {name for name in query if name.startswith("aggregation.")}
    if not names:
        return None
    aligner = _one(query, "aggregation.perSeriesAligner")
    reducer = _one(query, "aggregation.crossSeriesReducer")
    period = re.fullmatch(r"(\d+)s", _one(query, "aggregation.alignmentPeriod"))
    if period is None or int(period[1]) < 60:
        raise _invalid("The alignment period must be at least 60 seconds.")
    if aligner == "ALIGN_DELTA" and descriptor.kind == "GAUGE":
        raise _invalid("The aligner cannot be applied to metrics with kind GAUGE and value type INT64.")
    if descriptor.value_type == "DISTRIBUTION" and not reducer.startswith("REDUCE_PERCENTILE_"):
        raise _invalid(f"The reducer {reducer} cannot be applied here.")
    label = _one(query, "aggregation.groupByFields")
    assert label.startswith("metric.labels.")
    return label.removeprefix("metric.labels.")


def _matches(clauses: dict[str, str], stored: Stored) -> bool:
    for name, value in clauses.items():
        of, _, label = name.partition(".labels.")
        if (
            label
            and {"metric": stored.metric_labels, "resource": stored.resource_labels}[of].get(label) != value
        ):
            return False
    return True


def _grouped(
    page: Sequence[tuple[Stored, tuple[float, ...]]], descriptor: Descriptor, grouped_by: str | None
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    before: Stored | None = None
    for stored, point in page:
        if stored is not before:
            labels = stored.metric_labels
            if grouped_by is not None:
                labels = {grouped_by: labels[grouped_by]}
            value_type = descriptor.value_type if grouped_by is None else "DOUBLE"
            found.append(
                {
                    "metric": {"type": stored.type, "labels": labels},
                    "resource": {"type": descriptor.resource, "labels": stored.resource_labels},
                    "metricKind": descriptor.kind,
                    "valueType": value_type,
                    "points": [],
                }
            )
            before = stored
        *start, end, value = point
        # Of a GAUGE, both ends of the interval are the moment.
        interval = {"startTime": _text(start[0] if start else end), "endTime": _text(end)}
        kind = "DOUBLE" if grouped_by is not None else descriptor.value_type
        found[-1]["points"].append({"interval": interval, "value": _typed(kind, value)})
    return found


def _typed(value_type: str, value: Value) -> dict[str, Any]:
    if value_type == "DISTRIBUTION":
        return {"distributionValue": {"count": "3", "mean": value}}
    if value_type == "INT64":
        return {"int64Value": str(int(value))}
    return {_FIELD[value_type]: bool(value) if value_type == "BOOL" else value}


def _text(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


@contextmanager
def serve() -> Iterator[MonitoringServer]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"
        # Head and body leave together: apart, the second waits 40 ms for the acknowledgement of the first.
        wbufsize = -1

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = parse_qs(parts.query, keep_blank_values=True)
            found.requests.append(query)
            found.paths.append(parts.path)
            found.headers.append({name.lower(): value for name, value in self.headers.items()})
            answer = found.answer(parts.path, query, self.headers["Authorization"])
            status, body, headers = 200, b"", {}
            if isinstance(answer, Refusal):
                status, body, headers = answer.status, answer.body, answer.headers
            else:
                body = answer
            self.send_response(status)
            for name, value in {"Content-Type": "application/json", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = MonitoringServer(server.server_port)
    with serving(server):
        yield found
