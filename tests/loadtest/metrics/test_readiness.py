"""Waiting for workers and replicas: until all are up, or it cannot be told, or the time is over."""

from __future__ import annotations

import pytest

from loadtest.metrics.cloud_metrics import of_endpoint, of_input_subscription, of_job
from loadtest.metrics.monitoring_api import MonitoringApi
from loadtest.metrics.readiness import NotUpError, wait_until_up
from tests.loadtest.metrics.conftest import FakeTime
from tests.loadtest.metrics.monitoring_server import T0, MonitoringServer, google_error

JOB_ID = "2026-11-27_05_00_00-123"
JOB = {"job_id": JOB_ID}
WORKERS = "dataflow.googleapis.com/job/active_worker_instances"
TARGET = "dataflow.googleapis.com/job/target_worker_instances"
REPLICAS = "aiplatform.googleapis.com/prediction/online/replicas"
ENDPOINT = {"endpoint_id": "4711"}
MODEL = {"deployed_model_id": "1"}
MINUTES = [T0 + 60.0 * i for i in range(-12, 20)]


@pytest.fixture
def told() -> list[str]:
    return []


def wait(api: MonitoringApi, server: MonitoringServer, time: FakeTime, told: list[str]) -> None:
    time.server, server.now = server, time.now
    watched = [*of_job("shop", JOB_ID), *of_input_subscription("projects/shop/subscriptions/requests")]
    wait_until_up(api, watched, time.clock, time.wait, told.append, 600.0)


def put_workers(server: MonitoringServer, up_at: float) -> None:
    server.put(TARGET, [(at, 5) for at in MINUTES], metric=JOB)
    server.put(WORKERS, [(at, 5 if at >= up_at else 3) for at in MINUTES], metric=JOB)


def test_all_up_needs_no_wait(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime, told: list[str]
) -> None:
    put_workers(server, up_at=T0 - 300)
    wait(api, server, time, told)
    assert (time.waits, told) == ([], [])


def test_it_waits_for_the_last_worker(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime, told: list[str]
) -> None:
    put_workers(server, up_at=T0 + 120)
    wait(api, server, time, told)
    # A value of T0 + 120 is visible a minute later.
    assert T0 + 180 <= time.now < T0 + 200
    assert all(f"3 of 5 workers of the Dataflow job {JOB_ID} are up" in line for line in told)
    assert len(told) == len(time.waits)


def test_too_few_at_the_end_are_an_error(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime, told: list[str]
) -> None:
    put_workers(server, up_at=T0 + 3600)
    with pytest.raises(NotUpError, match="3 of 5 workers of .* are up after 600 s.*--workers_timeout"):
        wait(api, server, time, told)
    assert time.now == T0 + 600


def test_a_job_that_has_no_such_metric_is_waited_for_and_then_used(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime, told: list[str]
) -> None:
    """It may be starting, or be one without Streaming Engine."""
    wait(api, server, time, told)
    assert time.now == T0 + 600
    assert told[-1].startswith(f"cannot tell whether all workers of the Dataflow job {JOB_ID} are up: ")
    assert f"has no value of {WORKERS} in the last 600 s" in told[-1]


def test_what_may_not_be_read_is_not_waited_for(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime, told: list[str]
) -> None:
    server.refusals = [google_error(403, "PERMISSION_DENIED", "Permission monitoring.timeSeries.list denied")]
    wait(api, server, time, told)
    assert time.waits == []
    (line,) = told
    assert "roles/monitoring.viewer on project shop" in line


def test_an_interrupt_ends_the_wait(api: MonitoringApi, server: MonitoringServer, time: FakeTime) -> None:
    put_workers(server, up_at=T0 + 3600)
    waits: list[float] = []

    def interrupted(seconds: float) -> bool:
        waits.append(seconds)
        return True

    wait_until_up(api, of_job("shop", JOB_ID), time.clock, interrupted, lambda text: None, 600.0)
    assert len(waits) == 1


def test_replicas_of_an_endpoint(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime, told: list[str]
) -> None:
    for name, number in (("replicas", 1), ("target_replicas", 2)):
        type_ = REPLICAS.replace("replicas", name)
        server.put(type_, [(at, number) for at in MINUTES], metric=MODEL, resource=ENDPOINT)
    time.server, server.now = server, time.now
    with pytest.raises(NotUpError, match="1 of 2 replicas of the endpoint 4711 are up after 60 s"):
        wait_until_up(api, of_endpoint("shop", "4711"), time.clock, time.wait, told.append, 60.0)
