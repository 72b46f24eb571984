"""Errors as the container answers them, in Google's shape."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
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
ERROR_STATUSES = tuple(_CODES)


class Reason(StrEnum):
    """Why a call failed, as metrics and logs name it.

    Attributes:
        BODY: It is not what is expected.
        TOO_LARGE: It has too many bytes, instances, lists or numbers.
        TYPE: Its type or encoding is not taken, or the answer cannot have that type.
        HTTP: The call is not HTTP/1.1, or its head is too large.
        ROUTE: There is no such path, or it does not take that method.
        SLOW: The client did not send the whole call in time.
        GONE: The client left before the answer.
        MODEL: The model failed on it.
        NOT_FINITE: The model's output holds NaN or infinity.
        MEMORY: There was not enough for the model.
        BUFFER_FULL: The bodies of all calls fill their memory.
        QUEUE_FULL: Too many calls wait.
        DEADLINE: The time that the client gave was over.
        TIMEOUT: The call of the model, or the wait for it, took too long.
        DEVICE: The device was lost.
        NOT_READY: The process loads its model, is being replaced, or ends.
        DEFECT: The server itself failed.
    """

    BODY = "body"
    TOO_LARGE = "too_large"
    TYPE = "type"
    HTTP = "http"
    ROUTE = "route"
    SLOW = "slow"
    GONE = "gone"
    MODEL = "model"
    NOT_FINITE = "not_finite"
    MEMORY = "memory"
    BUFFER_FULL = "buffer_full"
    QUEUE_FULL = "queue_full"
    DEADLINE = "deadline"
    TIMEOUT = "timeout"
    DEVICE = "device"
    NOT_READY = "not_ready"
    DEFECT = "defect"


# Of a refusal that names none.
_REASONS = {
    400: Reason.BODY,
    404: Reason.ROUTE,
    405: Reason.ROUTE,
    406: Reason.TYPE,
    408: Reason.SLOW,
    413: Reason.TOO_LARGE,
    415: Reason.TYPE,
    422: Reason.MODEL,
    431: Reason.HTTP,
    500: Reason.DEFECT,
    503: Reason.NOT_READY,
    504: Reason.DEADLINE,
}


class Refusal(Exception):
    """A call that is not served.

    Attributes:
        status: Of the HTTP answer.
        headers: Of it, beside those that every error of this status has.
        reason: Why it is not served.
    """

    def __init__(
        self,
        status: int,
        message: str,
        headers: Mapping[str, str] | None = None,
        *,
        reason: Reason | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.reason = reason or _REASONS[status]


class DeviceLost(Refusal):
    """A call during which the device was lost: this process can compute nothing more on it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message, reason=Reason.DEVICE)


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
