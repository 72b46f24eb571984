"""Collecting the metrics of a run: which are asked for, for how long, and what is told missing."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from loadtest.metrics.cloud import CloudMetrics, CloudSamples
from loadtest.metrics.cloud_metrics import (
    DATAFLOW_JOB,
    DATAFLOW_WORKERS,
    SUBSCRIPTION,
    VERTEX_ENDPOINT,
    Watched,
    of_endpoint,
    of_input_subscription,
    of_job,
)
from loadtest.metrics.monitoring_api import MonitoringApi
from loadtest.raw_log import Series
from tests.loadtest.metrics.conftest import FakeTime
from tests.loadtest.metrics.monitoring_server import (
    DESCRIPTORS,
    T0,
    MonitoringServer,
    Refusal,
    google_error,
)

JOB_ID = "2026-11-27_05_00_00-123"
JOB = {"job_id": JOB_ID}
NAMED = {"job_name": "classify", "region": "us-central1", "project_id": "shop"}
DATAFLOW = "dataflow.googleapis.com/job"
PUBSUB = "pubsub.googleapis.com/subscription"
VERTEX = "aiplatform.googleapis.com/prediction/online"
ENDPOINT = {"endpoint_id": "4711", "location": "us-central1", "resource_container": "shop"}
MODEL = {"deployed_model_id": "1"}

# A run of ten minutes that ends at the tests' time.
START, END = T0 - 600, T0
MINUTES = [T0 + 60.0 * i for i in range(-12, 10)]


def collect(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime, watched: Sequence[Watched]
) -> CloudSamples:
    time.server, server.now = server, time.now
    return CloudMetrics(api, watched, time.clock, time.wait).collect(START, END)


def only(watched: Sequence[Watched], *names: str) -> list[Watched]:
    """Return what is watched, with the metrics of these series alone."""
    return [
        Watched(one.what, one.project, one.clause, chosen)
        for one in watched
        if (chosen := tuple(metric for metric in one.metrics if metric.series in names))
    ]


def values(found: CloudSamples, name: str) -> list[float]:
    return [sample.value for sample in found.samples if sample.series == name]


def reason(found: CloudSamples, name: str) -> str:
    (series,) = [one for one in found.series if one.name == name]
    return series.unavailable


class TestTable:
    def test_each_metric_is_one_of_the_lists_by_kind_resource_and_labels(self) -> None:
        for metric in (*DATAFLOW_JOB, *DATAFLOW_WORKERS, *SUBSCRIPTION, *VERTEX_ENDPOINT):
            listed = DESCRIPTORS[metric.type]
            assert metric.resource == listed.resource
            assert set(metric.labels) <= set(listed.labels)
            assert (metric.combine == "count") == (listed.kind == "DELTA" and metric.aggregation is None)
            assert (metric.aggregation is not None) == (listed.value_type == "DISTRIBUTION")
            assert metric.period_s is None or metric.delay_s == listed.delay_s

    def test_the_server_takes_every_filter(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        watched = [
            *of_job("shop", JOB_ID),
            *of_job("shop", "classify"),
            *of_input_subscription("projects/shop/subscriptions/requests"),
            *of_endpoint("shop", "4711"),
        ]
        time.now = T0 + 3600
        found = collect(api, server, time, watched)
        assert found.samples == ()
        assert all("has no value of" in one.unavailable for one in found.series)
        assert len(found.series) == 2 * (len(DATAFLOW_JOB) + len(DATAFLOW_WORKERS)) + 2 + len(VERTEX_ENDPOINT)


def test_a_job_by_its_id(api: MonitoringApi, server: MonitoringServer, time: FakeTime) -> None:
    workers = [(at, 1 if at < T0 - 300 else 3) for at in MINUTES]
    server.put(f"{DATAFLOW}/active_worker_instances", workers, metric=JOB, resource=NAMED)
    server.put(
        f"{DATAFLOW}/active_worker_instances", [(T0, 50)], metric={"job_id": "another"}, resource=NAMED
    )
    server.put(f"{DATAFLOW}/gpu_utilization", [(at, 40) for at in MINUTES], metric=JOB, resource=NAMED)
    scaling = {"direction": "Upscale number of workers", "rationale": "High backlog", **JOB}
    server.put(f"{DATAFLOW}/horizontal_worker_scaling", [(T0 - 330, True), (T0 + 60, False)], metric=scaling)
    found = collect(api, server, time, of_job("shop", JOB_ID))
    # From before the run, so that the count at its start is known.
    assert values(found, "job/workers") == [1] * 6 + [3] * 6
    assert values(found, "job/gpu_utilization") == [pytest.approx(0.4)] * 12
    assert values(found, "job/scaling/Upscale number of workers/High backlog") == [1.0, 0.0]
    (series,) = [one for one in found.series if one.name == "job/workers"]
    assert series == Series("job/workers", "1", "Cloud Monitoring", "")
    assert [sample.at for sample in found.samples] == sorted(sample.at for sample in found.samples)


def test_a_job_by_its_name(api: MonitoringApi, server: MonitoringServer, time: FakeTime) -> None:
    server.put(f"{DATAFLOW}/system_lag", [(at, 8) for at in MINUTES], metric=JOB, resource=NAMED)
    found = collect(api, server, time, only(of_job("shop", "classify"), "job/system_lag_s"))
    assert set(values(found, "job/system_lag_s")) == {8.0}


def test_the_system_lag_is_in_seconds(api: MonitoringApi, server: MonitoringServer, time: FakeTime) -> None:
    # Published tests compared it with limits in ms, so that their rule for Dataflow could never strike.
    server.put(f"{DATAFLOW}/system_lag", [(at, 90) for at in MINUTES], metric=JOB)
    found = collect(api, server, time, only(of_job("shop", JOB_ID), "job/system_lag_s"))
    (series,) = found.series
    assert (series.name, series.unit) == ("job/system_lag_s", "s")
    assert set(values(found, "job/system_lag_s")) == {90.0}


def test_cpu_is_the_double_that_was_sent(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime
) -> None:
    # Published tests read the integer that proto-plus always shows: 0.0 at any load.
    points = [(at, 0.97) for at in MINUTES]
    server.put(f"{DATAFLOW}/aggregated_worker_utilization", points, metric=JOB)
    found = collect(api, server, time, only(of_job("shop", JOB_ID), "job/cpu"))
    assert set(values(found, "job/cpu")) == {0.97}


def test_the_backlog_is_that_of_the_input_subscription(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime
) -> None:
    # Published tests read the output's.
    for name, project, backlog in (
        ("requests", "upstream", 5000), ("requests", "shop", 70), ("results", "upstream", 3)
    ):  # fmt: skip
        of = {"subscription_id": name, "project_id": project}
        points = [(at, backlog) for at in MINUTES]
        server.put(f"{PUBSUB}/num_undelivered_messages", points, project=project, resource=of)
    found = collect(api, server, time, of_input_subscription("projects/upstream/subscriptions/requests"))
    assert set(values(found, "subscription/backlog")) == {5000.0}
    assert reason(found, "subscription/oldest_unacked_s").startswith(
        "not available: the subscription projects/upstream/subscriptions/requests has no value of "
        "pubsub.googleapis.com/subscription/oldest_unacked_message_age; its delay of up to 120 s has passed"
    )


@pytest.mark.parametrize(
    "name", ["requests", "projects/shop/topics/requests", "projects/a/b/subscriptions/c"]
)
def test_what_is_no_subscription_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not projects/PROJECT/subscriptions/NAME"):
        of_input_subscription(name)


class TestEndpoint:
    def test_replicas_of_all_models_cpu_of_all_replicas(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        for model, replicas in (("1", 2.0), ("2", 3.0)):
            labels = {"deployed_model_id": model}
            points = [(at, replicas) for at in MINUTES]
            server.put(f"{VERTEX}/replicas", points, metric=labels, resource=ENDPOINT)
        for replica, cpu in (("a", 0.5), ("b", 1.5)):
            labels = {**MODEL, "replica_id": replica}
            points = [(at, cpu) for at in MINUTES]
            server.put(f"{VERTEX}/cpu/utilization", points, metric=labels, resource=ENDPOINT)
        watched = only(of_endpoint("shop", "4711"), "endpoint/replicas", "endpoint/cpu")
        found = collect(api, server, time, watched)
        assert set(values(found, "endpoint/replicas")) == {5.0}
        assert set(values(found, "endpoint/cpu")) == {1.0}

    def test_latency_by_type_and_errors_by_code(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        for kind, ms in (("total", 30.0), ("model", 22.0), ("overhead", 8.0)):
            labels = {**MODEL, "latency_type": kind}
            points: list[tuple[float, ...]] = [(at - 60, at, ms) for at in MINUTES]
            self.put(server, "prediction_latencies", points, labels)
        for code, count in (("2xx", 600), ("4xx", 6)):
            points = [(at - 60, at, float(count)) for at in MINUTES]
            self.put(server, "response_count", points, {**MODEL, "response_code": code})
        name = "projects/shop-project/locations/us-central1/endpoints/4711"
        found = collect(api, server, time, of_endpoint("another", name))
        assert set(values(found, "endpoint/latency_p99_ms/model")) == {22.0}
        assert set(values(found, "endpoint/latency_p50_ms/overhead")) == {8.0}
        # Cumulative, from 0 at the start of the first interval.
        assert values(found, "endpoint/responses/4xx") == [6.0 * i for i in range(13)]
        assert values(found, "endpoint/responses/2xx")[-1] == 600.0 * 12
        reducers = [request.get("aggregation.crossSeriesReducer") for request in server.requests]
        assert ["REDUCE_PERCENTILE_50"] in reducers
        assert ["REDUCE_PERCENTILE_99"] in reducers

    def put(
        self, server: MonitoringServer, name: str, points: list[tuple[float, ...]], labels: dict[str, str]
    ) -> None:
        server.put(f"{VERTEX}/{name}", points, project="shop-project", metric=labels, resource=ENDPOINT)

    def test_no_errors_is_not_zero_errors(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        server.unknown = {f"{VERTEX}/error_count"}
        found = collect(api, server, time, only(of_endpoint("shop", "4711"), "endpoint/errors"))
        assert found.samples == ()
        assert reason(found, "endpoint/errors").startswith(
            "not available: Cloud Monitoring answered 404 NOT_FOUND: Cannot find metric(s) that match type"
        )


class TestCombining:
    def test_a_replica_that_is_gone_counts_no_longer(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        for replica, shift, last in (("a", 0.0, 30), ("b", 20.0, 6)):
            points = [(at + shift, 100) for at in MINUTES[:last]]
            labels = {**MODEL, "replica_id": replica}
            server.put(f"{VERTEX}/accelerator/memory/bytes_used", points, metric=labels, resource=ENDPOINT)
        watched = only(of_endpoint("shop", "4711"), "endpoint/gpu_memory_bytes")
        found = collect(api, server, time, watched)
        # Until b has begun, and once its last value is more than 90 s old, there is a alone.
        assert values(found, "endpoint/gpu_memory_bytes") == [100.0] + [200.0] * 11 + [100.0] * 7

    def test_values_of_one_moment_are_one_sample(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        for job, lag in (("old", 5), ("new", 9)):
            points = [(at, lag) for at in MINUTES]
            server.put(f"{DATAFLOW}/system_lag", points, metric={"job_id": job}, resource=NAMED)
        found = collect(api, server, time, only(of_job("shop", "classify"), "job/system_lag_s"))
        assert values(found, "job/system_lag_s") == [9.0] * 12


class TestWaiting:
    def put(self, server: MonitoringServer, until: float = float("inf")) -> None:
        of = {"subscription_id": "requests", "project_id": "shop"}
        lags = [(at, 4) for at in MINUTES if at <= until]
        backlog = [(at, 10) for at in MINUTES if at <= until]
        server.put(f"{DATAFLOW}/system_lag", lags, metric=JOB)
        server.put(f"{PUBSUB}/num_undelivered_messages", backlog, resource=of)

    def watched(self) -> list[Watched]:
        lag = only(of_job("shop", JOB_ID), "job/system_lag_s")
        subscription = of_input_subscription("projects/shop/subscriptions/requests")
        return lag + only(subscription, "subscription/backlog")

    def test_each_metric_as_long_as_its_own_delay(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        self.put(server)
        found = collect(api, server, time, self.watched())
        assert [one.unavailable for one in found.series] == ["", ""]
        # The backlog of the run's end shows after 120 s, the lag after 240: nothing is asked for after that.
        assert time.now - T0 == 240
        asked = [request["filter"][0].split('"')[1] for request in server.requests]
        assert asked.count(f"{PUBSUB}/num_undelivered_messages") == 1 + 120 / 30
        assert asked.count(f"{DATAFLOW}/system_lag") == 1 + 240 / 30

    def test_nothing_is_waited_for_long_after_the_run(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        self.put(server, until=T0 - 120)
        time.now = T0 + 3600
        found = collect(api, server, time, self.watched())
        assert time.waits == []
        assert reason(found, "job/system_lag_s") == (
            "partly not available: nothing after 13:18:00 UTC; its delay of up to 240 s has passed"
        )
        assert values(found, "job/system_lag_s") == [4.0] * 10

    def test_what_never_comes_is_given_up_a_delay_after_the_next_sampling(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        found = collect(api, server, time, self.watched())
        assert time.now - T0 == 60 + 240
        assert found.samples == ()
        assert all("has passed" in one.unavailable for one in found.series)

    def test_the_user_is_told_what_for_and_can_stop(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        self.put(server)
        server.now = T0
        told: list[str] = []
        metrics = CloudMetrics(api, self.watched(), time.clock, lambda seconds: True, told.append)
        found = metrics.collect(START, END)
        assert told == [
            "Cloud Monitoring does not show yet, and until 13:25:00 UTC at most: "
            "job/system_lag_s, subscription/backlog"
        ]
        assert reason(found, "subscription/backlog") == (
            "partly not available: nothing after 13:18:00 UTC; its delay of up to 120 s had not passed yet"
        )

    def test_a_stopped_wait_is_told_also_where_no_sampling_is_stated(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        server.put(f"{DATAFLOW}/active_worker_instances", [(T0 - 300, 2)], metric=JOB)
        server.now = T0
        watched = only(of_job("shop", JOB_ID), "job/workers")
        found = CloudMetrics(api, watched, time.clock, lambda seconds: True).collect(START, END)
        assert "had not passed yet" in reason(found, "job/workers")


class TestFailures:
    def test_no_permission_is_not_waited_for_and_the_rest_is_read(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        points = [(at, 2) for at in MINUTES]
        server.put(f"{DATAFLOW}/target_worker_instances", points, metric=JOB)
        server.refusals = [google_error(403, "PERMISSION_DENIED", "no")]
        watched = only(of_job("shop", JOB_ID), "job/workers", "job/target_workers")
        found = collect(api, server, time, watched)
        asked = [request["filter"][0].split('"')[1] for request in server.requests]
        assert asked.count(f"{DATAFLOW}/active_worker_instances") == 1
        assert asked.count(f"{DATAFLOW}/target_worker_instances") > 1
        assert reason(found, "job/workers") == (
            "not available: Cloud Monitoring answered 403 PERMISSION_DENIED: no; the account needs "
            "roles/monitoring.viewer on project shop"
        )
        assert reason(found, "job/target_workers") == ""

    def test_a_failure_in_between_keeps_what_was_read_and_passes(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        server.put(f"{DATAFLOW}/system_lag", [(at, 4) for at in MINUTES], metric=JOB)
        watched = only(of_job("shop", JOB_ID), "job/system_lag_s")
        server.refusals = [Refusal(503, b"")] * 5
        found = collect(api, server, time, watched)
        assert reason(found, "job/system_lag_s") == ""
        assert values(found, "job/system_lag_s") == [4.0] * 12

    def test_a_partial_answer_is_asked_for_again_and_told_at_last(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        server.put(f"{DATAFLOW}/system_lag", [(at, 4) for at in MINUTES], metric=JOB)
        server.execution_errors = [{"code": 14, "message": "one zone is unreachable"}]
        found = collect(api, server, time, only(of_job("shop", JOB_ID), "job/system_lag_s"))
        assert len(server.requests) > 1
        assert reason(found, "job/system_lag_s") == (
            "partly not available: Cloud Monitoring answered in part: one zone is unreachable"
        )
        assert len(values(found, "job/system_lag_s")) == 13


def test_quotes_in_a_name_do_not_leave_the_filter(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime
) -> None:
    server.put(f"{DATAFLOW}/system_lag", [(at, 4) for at in MINUTES], metric=JOB, resource=NAMED)
    hostile = 'x" OR resource.labels.job_name="classify'
    time.now = T0 + 3600
    found = collect(api, server, time, only(of_job("shop", hostile), "job/system_lag_s"))
    # The filter was understood, and no job has this name.
    assert "has no value of" in reason(found, "job/system_lag_s")
