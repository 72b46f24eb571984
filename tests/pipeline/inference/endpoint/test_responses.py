from __future__ import annotations

import json

import pytest

from pipeline.inference.endpoint.responses import HttpResponse, RefusedError, RetryError
from pipeline.request.errors import EndpointError

URL = "http://127.0.0.1:8080/predict"


def response(status: int, body: object = None, **headers: str) -> HttpResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpResponse(status, named, body if isinstance(body, bytes) else json.dumps(body).encode())


def google(code: int, message: str, status: str = "X") -> dict[str, object]:
    return {"error": {"code": code, "message": message, "status": status}}


def test_served() -> None:
    response(200, {}).check(URL)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_refused(status: int) -> None:
    with pytest.raises(RefusedError, match=f"^{status} instance 3: too long$"):
        response(status, google(status, "instance 3: too long")).check(URL)


@pytest.mark.parametrize(
    ("status", "congested"),
    [(408, False), (429, True), (500, False), (502, False), (503, True), (504, True)],
)
def test_tried_again(status: int, congested: bool) -> None:
    with pytest.raises(RetryError, match=f"{status} busy") as caught:
        response(status, google(status, "busy")).check(URL)
    assert caught.value.congested is congested
    assert not caught.value.not_ready
    assert caught.value.after_s == 0


def test_scaling_up() -> None:
    with pytest.raises(RetryError) as caught:
        response(429, google(429, "Model is not yet ready for inference. Try again.")).check(URL)
    assert caught.value.not_ready


@pytest.mark.parametrize(("text", "seconds"), [("7", 7.0), ("Fri, 31 Dec 1999 23:59:59 GMT", 0.0), ("", 0.0)])
def test_retry_after(text: str, seconds: float) -> None:
    with pytest.raises(RetryError) as caught:
        response(503, b"", retry_after=text).check(URL)
    assert caught.value.after_s == seconds


def test_expired_token() -> None:
    with pytest.raises(RetryError) as caught:
        response(401, google(401, "expired")).check(URL)
    assert caught.value.token_refused


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (403, "Grant .* aiplatform.endpoints.predict"),
        (404, "Check --endpoint"),
        (405, "Check --endpoint_protocol"),
        (302, "Check the endpoint"),
    ],
)
def test_the_endpoint_is_to_blame(status: int, hint: str) -> None:
    with pytest.raises(EndpointError, match=f"{URL} answered {status} no.* {hint}"):
        response(status, b"no").check(URL)


def test_what_a_container_said_to_the_front_end_is_read() -> None:
    inner = google(422, "instance 3: too long", "INVALID_ARGUMENT")
    body = google(400, json.dumps(json.dumps(inner)), "FAILED_PRECONDITION")
    with pytest.raises(RefusedError, match="^400 instance 3: too long$") as caught:
        response(400, body).check(URL)
    assert not caught.value.row.needs_others


def test_a_long_page_is_cut() -> None:
    with pytest.raises(RetryError) as caught:
        response(502, b"<html>" * 1000).check(URL)
    assert len(str(caught.value)) < 520


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("total;dur=12.5", 12.5),
        ("db;dur=3, total; dur=4", 4.0),
        ("total", None),
        ("", None),
        ("total;dur=.", None),
    ],
)
def test_server_time(header: str, expected: float | None) -> None:
    assert response(200, server_timing=header).server_ms == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"x_model_id": "m@1", "x_vertex_ai_deployed_model_id": "7"}, ("m@1", "7")),
        ({"x_vertex_ai_deployed_model_id": "7"}, (None, "7")),
        ({}, (None, None)),
    ],
)
def test_model_ids(headers: dict[str, str], expected: tuple[str | None, str | None]) -> None:
    answer = response(200, **headers)
    assert (answer.model_id, answer.deployed_model_id) == expected
