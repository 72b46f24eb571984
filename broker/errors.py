"""What a request can be refused for. Each class has its gRPC status, which the REST face translates."""

from __future__ import annotations

import grpc


class RequestError(Exception):
    """A request that the broker refuses. The text is meant for the person who sent it.

    Attributes:
        status: What the client is told.
    """

    status: grpc.StatusCode


class InvalidArgumentError(RequestError):
    """The request breaks a rule of Pub/Sub itself."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(RequestError):
    """The topic or subscription named in the request does not exist."""

    status = grpc.StatusCode.NOT_FOUND


class AlreadyExistsError(RequestError):
    """The topic or subscription to create exists."""

    status = grpc.StatusCode.ALREADY_EXISTS


class UnsupportedError(RequestError):
    """Pub/Sub can do this and the embedded broker cannot."""

    status = grpc.StatusCode.UNIMPLEMENTED


class StreamDroppedError(RequestError):
    """A test asked for all open streams to be broken."""

    status = grpc.StatusCode.UNAVAILABLE


class InjectedError(RequestError):
    """A test asked for this call to fail."""

    def __init__(self, status: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.status = status
