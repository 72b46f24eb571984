"""What a request can be refused for; `broker.service` maps each class to one gRPC status code."""

from __future__ import annotations


class RequestError(Exception):
    """A request that the broker refuses. The text is meant for the person who sent it."""


class InvalidArgumentError(RequestError):
    """The request breaks a rule of Pub/Sub itself."""


class NotFoundError(RequestError):
    """The topic or subscription named in the request does not exist."""


class AlreadyExistsError(RequestError):
    """The topic or subscription to create exists."""


class UnsupportedError(RequestError):
    """Pub/Sub can do this and the embedded broker cannot."""


class StreamDroppedError(RequestError):
    """A test asked for all open streams to be broken."""
