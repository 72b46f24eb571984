"""What Pub/Sub refuses in a request."""

from __future__ import annotations

import re

from broker.errors import InvalidArgumentError
from pipeline.pubsub.limits import (
    MAX_ACK_DEADLINE_S,
    MAX_ATTRIBUTE_KEY_BYTES,
    MAX_ATTRIBUTE_VALUE_BYTES,
    MAX_ATTRIBUTES,
    MAX_ORDERING_KEY_BYTES,
    MAX_PUBLISH_BYTES,
    MAX_PUBLISH_MESSAGES,
    MIN_ACK_DEADLINE_S,
)
from pipeline.pubsub.protos import Proto

_ACK_ID = re.compile(r"[0-9]+:[0-9]+")


def check_publish(request: Proto) -> None:
    """Refuse a PublishRequest that the service would refuse.

    Raises:
        InvalidArgumentError: Names the limit, the message's index and what was found.
    """
    count = len(request.messages)
    if count == 0:
        raise InvalidArgumentError("a Publish request needs at least one message; it has none")
    if count > MAX_PUBLISH_MESSAGES:
        raise InvalidArgumentError(
            f"a Publish request holds at most {MAX_PUBLISH_MESSAGES} messages; it has {count}: split it"
        )
    size = request.ByteSize()
    if size > MAX_PUBLISH_BYTES:
        raise InvalidArgumentError(
            f"a Publish request holds at most {MAX_PUBLISH_BYTES:,} bytes; it has {size:,}: split it, or "
            "make its messages smaller"
        )
    ordering_key = request.messages[0].ordering_key
    for index, message in enumerate(request.messages):
        _check_message(index, message)
        if message.ordering_key != ordering_key:
            raise InvalidArgumentError(
                f"messages[{index}] has the ordering key {message.ordering_key[:80]!r} and messages[0] "
                f"{ordering_key[:80]!r}: all messages of a Publish request must have the same one"
            )
    if (size := len(ordering_key.encode())) > MAX_ORDERING_KEY_BYTES:
        raise InvalidArgumentError(
            f"an ordering key holds at most {MAX_ORDERING_KEY_BYTES} bytes; it has {size}"
        )


def check_ack_deadline(seconds: int, field: str) -> None:
    """Refuse an ack deadline outside 10 to 600 seconds with an InvalidArgumentError that names `field`."""
    if not MIN_ACK_DEADLINE_S <= seconds <= MAX_ACK_DEADLINE_S:
        raise InvalidArgumentError(
            f"{field} must be {MIN_ACK_DEADLINE_S} to {MAX_ACK_DEADLINE_S} seconds; it is {seconds}"
        )


def check_deadline_extension(seconds: int, field: str) -> None:
    """Refuse a new deadline outside 0 (nack) to 600 seconds (see `check_ack_deadline`)."""
    if not 0 <= seconds <= MAX_ACK_DEADLINE_S:
        raise InvalidArgumentError(
            f"{field} must be 0 (give the message back) to {MAX_ACK_DEADLINE_S} seconds; it is {seconds}"
        )


def check_ack_id(ack_id: str) -> None:
    """Refuse an ack id that no broker gave out with an InvalidArgumentError."""
    if not _ACK_ID.fullmatch(ack_id):
        raise InvalidArgumentError(
            f"{ack_id[:80]!r} is not an ack id of this broker: pass one from a received message"
        )


def _check_message(index: int, message: Proto) -> None:
    attributes = message.attributes
    if not message.data and not attributes:
        raise InvalidArgumentError(
            f"messages[{index}] is empty: a message needs data or at least one attribute"
        )
    if len(attributes) > MAX_ATTRIBUTES:
        raise InvalidArgumentError(
            f"messages[{index}] has {len(attributes)} attributes; at most {MAX_ATTRIBUTES} are allowed"
        )
    for key, value in attributes.items():
        if key.startswith("goog"):
            raise InvalidArgumentError(f"messages[{index}]: attribute key {key!r} must not start with 'goog'")
        # No character takes more than four bytes, so short text needs no encoding to know that it fits.
        if len(key) * 4 > MAX_ATTRIBUTE_KEY_BYTES and len(key.encode()) > MAX_ATTRIBUTE_KEY_BYTES:
            raise InvalidArgumentError(
                f"messages[{index}]: attribute key {key[:20]!r}… has {len(key.encode())} bytes; at most "
                f"{MAX_ATTRIBUTE_KEY_BYTES} are allowed"
            )
        if len(value) * 4 > MAX_ATTRIBUTE_VALUE_BYTES and len(value.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
            raise InvalidArgumentError(
                f"messages[{index}]: the value of attribute {key!r} has {len(value.encode())} bytes; at most "
                f"{MAX_ATTRIBUTE_VALUE_BYTES} are allowed"
            )
