"""Errors as the container answers them, in Google's shape."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson

from pipeline.request.wire_format import JSON_TYPE

# Seconds until a call that was answered with 503 may come again.
RETRY_AFTER_S = 1

# A message may quote the request or the model: none is longer.
_MOST_CHARACTERS = 1000

# google.rpc.Code by HTTP status, of every status that is answered here
# (https://cloud.google.com/apis/design/errors#handling_errors).
_CODES = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    406: "INVALID_ARGUMENT",
    408: "DEADLINE_EXCEEDED",
    413: "INVALID_ARGUMENT",
    415: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    431: "INVALID_ARGUMENT",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Refusal(Exception):
    """A call that is not served.

    Attributes:
        status: Of the HTTP answer.
        headers: Of it, beside those that every error of this status has.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


class DeviceLost(Refusal):
    """A call during which the device was lost: this process can compute nothing more on it."""


def error_content(status: int, message: str) -> bytes:
    """Return the JSON body of an error."""
    error: dict[str, Any] = {
        "code": status,
        "message": message[:_MOST_CHARACTERS],
        "status": _CODES[status],
    }
    return orjson.dumps({"error": error})


def error_headers(status: int) -> dict[str, str]:
    """Return the headers that an error of this status has beside those of its body."""
    return {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}


def error_response(status: int, message: str) -> bytes:
    """Return a whole HTTP/1.1 response, after which the connection is closed."""
    content = error_content(status, message)
    headers = {
        "Content-Type": JSON_TYPE,
        "Content-Length": str(len(content)),
        "Connection": "close",
        **error_headers(status),
    }
    head = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*head, "", ""]).encode("ascii") + content
