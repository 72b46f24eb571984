"""What a codec is: rows become a call's body, a response becomes predictions, or is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from pipeline.request.input_spec import Inputs


class BadResponseError(Exception):
    """A successful response that cannot be decoded."""


class SplitError(BadResponseError):
    """A response to a call of several instances that smaller calls may get right."""


class WrongCountError(SplitError):
    """A response whose number of predictions is not the number of instances."""


class TooLargeError(SplitError):
    """A response with more bytes than are read."""


class EncodedCall(NamedTuple):
    """A call as it is sent.

    Attributes:
        body: The body.
        headers: Those that say what it is.
    """

    body: bytes
    headers: Mapping[str, str]


class Predictions(NamedTuple):
    """The content of a response's body.

    Attributes:
        rows: One prediction for each instance, in order; None for one that is null, NaN or infinite.
        model_id: What the body says of the model that made them; None if it says nothing.
    """

    rows: list[Any]
    model_id: str | None


class Codec(Protocol):
    """The encoder of requests and decoder of responses of one protocol."""

    def encode(self, rows: Sequence[Inputs]) -> EncodedCall:
        """Return a call for these rows, in this order."""

    def decode(self, body: bytes, headers: Mapping[str, str], count: int) -> Predictions:
        """Return the `count` predictions of a response, whose headers' names are in lower case.

        Raises:
            BadResponseError: The body is not what the protocol says.
            WrongCountError: It holds another number of predictions.
        """
