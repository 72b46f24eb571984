"""The loopback server says what it was asked, and refuses as Google's APIs do."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.launch.cloud import JOB_ID, PROJECT, REGION, Cloud
from tests.waiting import LIMIT_S

JOBS = f"/v1b3/projects/{PROJECT}/locations/{REGION}/jobs"


def call(cloud: Cloud, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(cloud.address + path, data, {"Authorization": "Bearer x"}, method=method)
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        return json.load(answer)


def test_calls_are_recorded_in_order() -> None:
    with Cloud() as cloud:
        call(
            cloud, "PUT", f"{JOBS}/{JOB_ID}?updateMask=a,b&alt=json", {"requestedState": "JOB_STATE_DRAINED"}
        )
        call(cloud, "GET", JOBS)
    first, second = cloud.requests
    assert (first.method, first.path, first.token) == ("PUT", f"{JOBS}/{JOB_ID}", "Bearer x")
    assert first.query == {"updateMask": ["a,b"], "alt": ["json"]}
    assert first.body == {"requestedState": "JOB_STATE_DRAINED"}
    assert second.body == {}
    assert cloud.sent("GET", f"{JOBS}.*") == [second]
    assert cloud.sent("GET", "/v1b3") == []


def test_the_newest_answer_wins_and_may_depend_on_the_request() -> None:
    with Cloud() as cloud:
        assert call(cloud, "PUT", f"{JOBS}/1", {"requestedState": "JOB_STATE_DRAINED"})["currentState"] == (
            "JOB_STATE_DRAINING"
        )
        cloud.answer("PUT", f"{JOBS}/[0-9]+", lambda request: {"echo": request.body})
        assert call(cloud, "PUT", f"{JOBS}/1", {"a": 1}) == {"echo": {"a": 1}}


@pytest.mark.parametrize(
    ("status", "reason"),
    [(403, "PERMISSION_DENIED"), (404, "NOT_FOUND"), (409, "ALREADY_EXISTS"), (429, "RESOURCE_EXHAUSTED")],
)
def test_refusals_are_in_the_form_of_google(status: int, reason: str) -> None:
    with Cloud() as cloud:
        cloud.refuse("GET", JOBS, status, "no")
        with pytest.raises(urllib.error.HTTPError) as caught:
            call(cloud, "GET", JOBS)
        with caught.value as answer:
            assert answer.code == status
            assert json.load(answer) == {"error": {"code": status, "message": "no", "status": reason}}


def test_what_nobody_answers_is_not_found() -> None:
    with Cloud() as cloud:
        with pytest.raises(urllib.error.HTTPError) as caught:
            call(cloud, "GET", "/v1/unheard-of")
        with caught.value as answer:
            assert answer.code == 404
            assert "GET /v1/unheard-of" in json.load(answer)["error"]["message"]


def test_gcloud_is_led_to_the_server_and_nowhere_else(tmp_path: Path) -> None:
    with Cloud() as cloud:
        environment = cloud.environment(tmp_path)
        overrides = [value for name, value in environment.items() if "ENDPOINT_OVERRIDES" in name]
        assert len(overrides) == 8
        assert all(value.startswith(cloud.address) for value in overrides)
    assert Path(environment["CLOUDSDK_AUTH_ACCESS_TOKEN_FILE"]).read_text().strip()
    assert list(Path(environment["CLOUDSDK_CONFIG"]).iterdir()) == []
