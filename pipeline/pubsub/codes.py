"""Which errors of Pub/Sub are transient, and an error in one line."""

from __future__ import annotations

import grpc
from google.api_core.exceptions import GoogleAPICallError

TRANSIENT = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNKNOWN,
    }
)
"""Status codes after which the same call may succeed: those that Google's client retries a Publish on."""


def is_transient(error: BaseException) -> bool:
    """Return whether an error that a client of Google's library raised may go away by itself."""
    return isinstance(error, GoogleAPICallError) and error.grpc_status_code in TRANSIENT


def explain(error: grpc.RpcError) -> str:
    """Return the status code and its details in one line."""
    details = " ".join((error.details() or "").split())
    return f"{error.code().name}: {details}" if details else error.code().name
