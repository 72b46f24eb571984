"""Reading time series over HTTP: pages, kinds of values, refusals, retries, and where the token goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.metrics.monitoring_api import MonitoringApi, Point, ReadError, TimeSeries
from pipeline.inference.endpoint.token import TokenSource
from tests.loadtest.metrics.conftest import FakeTime, ListedCredentials
from tests.loadtest.metrics.monitoring_server import T0, MonitoringServer, Refusal, google_error, serve
from tests.waiting import wait_until

JOB = {"job_id": "2026-11-27_05_00_00-123"}
DATAFLOW = "dataflow.googleapis.com/job"


def filter_of(name: str) -> str:
    return f'metric.type="{DATAFLOW}/{name}" AND resource.type="dataflow_job"'


def read(api: MonitoringApi, name: str) -> tuple[TimeSeries, ...]:
    return api.list_time_series("shop", filter_of(name), T0 - 600, T0, None).series


class TestValues:
    def test_a_double_is_read_as_one_and_never_as_integer(
        self, api: MonitoringApi, server: MonitoringServer
    ) -> None:
        # A published reader asked for int64_value first, which such objects always have: 0.0 for all.
        server.put(f"{DATAFLOW}/aggregated_worker_utilization", [(T0 - 60, 0.83), (T0, 0.0)], metric=JOB)
        (series,) = read(api, "aggregated_worker_utilization")
        assert [point.value for point in series.points] == [0.83, 0.0]

    def test_integers_come_as_text_and_truth_values_as_such(
        self, api: MonitoringApi, server: MonitoringServer
    ) -> None:
        server.put(f"{DATAFLOW}/system_lag", [(T0 - 60, 12), (T0, 2**53)], metric=JOB)
        server.put(f"{DATAFLOW}/horizontal_worker_scaling", [(T0 - 60, False), (T0, True)], metric=JOB)
        assert [point.value for point in read(api, "system_lag")[0].points] == [12.0, 2.0**53]
        assert [point.value for point in read(api, "horizontal_worker_scaling")[0].points] == [0.0, 1.0]

    def test_no_number_is_left_out_rather_than_zero(
        self, api: MonitoringApi, server: MonitoringServer
    ) -> None:
        server.put(f"{DATAFLOW}/aggregated_worker_utilization", [(T0 - 60, "NaN"), (T0, 0.5)], metric=JOB)  # type: ignore[list-item]
        (series,) = read(api, "aggregated_worker_utilization")
        assert series.points == (Point(T0, T0, 0.5),)

    def test_a_distribution_is_no_number(self, api: MonitoringApi, server: MonitoringServer) -> None:
        type_ = "aiplatform.googleapis.com/prediction/online/prediction_latencies"
        server.put(type_, [(T0 - 60, T0, 12.5)], metric={"latency_type": "total"})
        with pytest.raises(ReadError, match="distributionValue, where a number") as raised:
            api.list_time_series("shop", f'metric.type="{type_}"', T0 - 600, T0, None)
        assert raised.value.final

    def test_points_are_ordered_and_the_interval_is_half_open(
        self, api: MonitoringApi, server: MonitoringServer
    ) -> None:
        points = [(T0 - 600, 1), (T0 - 540, 2), (T0 - 0.5, 3), (T0, 4), (T0 + 60, 5)]
        server.put(f"{DATAFLOW}/system_lag", points, metric=JOB)
        (series,) = read(api, "system_lag")
        assert [(point.end, point.value) for point in series.points] == [
            (T0 - 540, 2), (T0 - 0.5, 3), (T0, 4)
        ]  # fmt: skip


def test_pages_are_joined_also_within_a_series(api: MonitoringApi, server: MonitoringServer) -> None:
    for job in ("a", "b"):
        points = [(T0 - 60 * i, i) for i in range(5)]
        server.put(f"{DATAFLOW}/system_lag", points, metric={"job_id": job})
    server.page_points = 3
    first, second = read(api, "system_lag")
    assert (first.labels, second.labels) == ({"job_id": "a"}, {"job_id": "b"})
    assert [point.value for point in first.points] == [4, 3, 2, 1, 0]
    assert [point.value for point in second.points] == [4, 3, 2, 1, 0]
    assert [request.get("pageToken") for request in server.requests] == [None, ["3"], ["6"], ["9"]]
    assert len({request["interval.endTime"][0] for request in server.requests}) == 1


def test_pages_without_end_are_bounded_and_told(
    api: MonitoringApi, server: MonitoringServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loadtest.metrics.monitoring_api._MOST_PAGES", 2)
    server.put(f"{DATAFLOW}/system_lag", [(T0 - i, i) for i in range(5)], metric=JOB)
    server.page_points = 1
    answer = api.list_time_series("shop", filter_of("system_lag"), T0 - 600, T0, None)
    assert answer.incomplete == "only the first 2 pages were read"
    assert len(server.requests) == 2


def test_what_the_service_could_not_read_is_told(api: MonitoringApi, server: MonitoringServer) -> None:
    server.put(f"{DATAFLOW}/system_lag", [(T0, 1)], metric=JOB)
    server.execution_errors = [{"code": 14, "message": "one zone is unreachable"}]
    answer = api.list_time_series("shop", filter_of("system_lag"), T0 - 600, T0, None)
    assert answer.incomplete == "one zone is unreachable"
    assert len(answer.series) == 1


REFUSED = [
    (
        google_error(403, "PERMISSION_DENIED", "Permission monitoring.timeSeries.list denied."),
        "needs roles/monitoring.viewer on project shop",
        True,
    ),
    (
        google_error(403, "PERMISSION_DENIED", "Cloud Monitoring API is off.", "SERVICE_DISABLED"),
        "gcloud services enable monitoring.googleapis.com --project=shop",
        True,
    ),
    (
        google_error(403, "PERMISSION_DENIED", "Caller does not have access.", "USER_PROJECT_DENIED"),
        "roles/serviceusage.serviceUsageConsumer",
        True,
    ),
    (google_error(400, "INVALID_ARGUMENT", "Could not parse."), "400 INVALID_ARGUMENT: Could not", True),
    (google_error(404, "NOT_FOUND", "Cannot find metric(s)"), "404 NOT_FOUND: Cannot find metric", False),
    (Refusal(403, b"<html>no</html>"), "403 Forbidden; the account needs roles/monitoring.viewer", True),
    (Refusal(302, b"", {"Location": "http://127.0.0.1:1/"}), "a redirect. It was not followed", True),
    (Refusal(200, b"[]"), "not a JSON object", True),
    (Refusal(200, b"<html>"), "not a JSON object", True),
    (Refusal(200, b'{"timeSeries": [{"points": [{"value": {"int64Value": "1"}}]}]}'), "not understood", True),
]  # fmt: skip


@pytest.mark.parametrize(("refusal", "told", "final"), REFUSED)
def test_what_is_refused_is_asked_once_and_told(
    api: MonitoringApi, server: MonitoringServer, time: FakeTime, refusal: Refusal, told: str, final: bool
) -> None:
    server.refusals = [refusal]
    with pytest.raises(ReadError) as raised:
        read(api, "system_lag")
    assert told in str(raised.value)
    assert raised.value.final is final
    assert len(server.requests) == 1
    assert time.waits == []


def test_a_filter_of_the_wrong_resource_is_refused(api: MonitoringApi) -> None:
    wrong = f'metric.type="{DATAFLOW}/system_lag" AND resource.type="dataflow_worker"'
    with pytest.raises(ReadError, match="valid combination of metric and monitored resource"):
        api.list_time_series("shop", wrong, T0 - 600, T0, None)


class TestRetries:
    def test_quota_and_servers_in_trouble_are_waited_for(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        server.put(f"{DATAFLOW}/system_lag", [(T0, 1)], metric=JOB)
        quota = google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded")
        quota.headers["Retry-After"] = "7"
        server.refusals = [quota, Refusal(503, b""), Refusal(500, b"{}")]
        assert len(read(api, "system_lag")) == 1
        assert time.waits == [7.0, 2.0, 4.0]

    def test_they_are_bounded(self, api: MonitoringApi, server: MonitoringServer, time: FakeTime) -> None:
        server.refusals = [google_error(429, "RESOURCE_EXHAUSTED", "Quota exceeded")] * 9
        with pytest.raises(
            ReadError, match=r"429 RESOURCE_EXHAUSTED: Quota exceeded \(tried 5 times\)"
        ) as raised:
            read(api, "system_lag")
        assert not raised.value.final
        assert len(server.requests) == 5
        assert time.waits == [1.0, 2.0, 4.0, 8.0]

    def test_a_long_retry_after_is_not_obeyed(
        self, api: MonitoringApi, server: MonitoringServer, time: FakeTime
    ) -> None:
        server.put(f"{DATAFLOW}/system_lag", [(T0, 1)], metric=JOB)
        server.refusals = [Refusal(429, b"", {"Retry-After": "86400"})]
        read(api, "system_lag")
        assert time.waits == [30.0]

    def test_a_user_who_stops_waiting_ends_them(self, server: MonitoringServer) -> None:
        tokens = TokenSource(ListedCredentials(["good-token"]), request=object())
        api = MonitoringApi(tokens, server.url, wait=lambda seconds: True)
        server.refusals = [Refusal(503, b"")] * 9
        with pytest.raises(ReadError, match="tried once"):
            read(api, "system_lag")
        api.close()
        tokens.close()
        assert len(server.requests) == 1

    def test_no_connection(self, time: FakeTime) -> None:
        with serve() as gone:
            url = gone.url
        tokens = TokenSource(ListedCredentials(["good-token"]), request=object())
        api = MonitoringApi(tokens, url, wait=time.wait)
        with pytest.raises(ReadError, match=r"no answer of .*tried 5 times"):
            read(api, "system_lag")
        api.close()
        tokens.close()


class TestToken:
    def test_a_refused_token_is_renewed(self, server: MonitoringServer) -> None:
        tokens = TokenSource(ListedCredentials(["old-token", "good-token"]), request=object())

        def renewed(seconds: float) -> bool:
            wait_until(lambda: tokens.current == "good-token")
            return False

        api = MonitoringApi(tokens, server.url, wait=renewed)
        server.put(f"{DATAFLOW}/system_lag", [(T0, 1)], metric=JOB)
        assert len(read(api, "system_lag")) == 1
        sent = [headers["authorization"] for headers in server.headers]
        assert sent == ["Bearer old-token", "Bearer good-token"]
        api.close()
        tokens.close()

    def test_whom_to_count_the_calls_for(self, server: MonitoringServer) -> None:
        tokens = TokenSource(ListedCredentials(["good-token"]), request=object())
        tokens.quota_project = "payer"
        api = MonitoringApi(tokens, server.url)
        read(api, "system_lag")
        assert server.headers[0]["x-goog-user-project"] == "payer"
        api.close()
        tokens.close()

    def test_it_does_not_follow_a_redirect(self, api: MonitoringApi, server: MonitoringServer) -> None:
        with serve() as elsewhere:
            server.refusals = [
                Refusal(307, b"", {"Location": f"{elsewhere.url}/v3/projects/shop/timeSeries"})
            ]
            with pytest.raises(ReadError, match="not followed"):
                read(api, "system_lag")
            assert elsewhere.requests == []

    def test_no_proxy_and_no_netrc_for_this_machine(
        self, api: MonitoringApi, server: MonitoringServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        netrc = tmp_path / "netrc"
        netrc.write_text("machine 127.0.0.1 login somebody password secret\n")
        monkeypatch.setenv("NETRC", str(netrc))
        with serve() as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("http_proxy", proxy.url)
            read(api, "system_lag")
            assert proxy.requests == []
        assert server.headers[0]["authorization"] == "Bearer good-token"

    @pytest.mark.parametrize("url", ["http://monitoring.example.com", "ftp://127.0.0.1", "monitoring"])
    def test_it_never_goes_in_clear_text(self, url: str) -> None:
        tokens = TokenSource(ListedCredentials(["good-token"]), request=object())
        with pytest.raises(ValueError, match="in clear text: use https|is not a URL"):
            MonitoringApi(tokens, url)
        tokens.close()
