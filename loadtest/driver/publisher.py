"""What a pacer publishes through: calls that are begun at once, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import grpc


@dataclass(frozen=True)
class Written:
    """A call has been written to the socket, to its last byte.

    Attributes:
        call: Its number.
        at: Epoch seconds, read right after: on a busy machine an answer can be noted before.
    """

    call: int
    at: float


@dataclass(frozen=True)
class Ended:
    """A call has an answer, or will have none.

    Attributes:
        call: Its number.
        code: Its status.
        reason: The status and its details in one line.
    """

    call: int
    code: grpc.StatusCode
    reason: str


class Publisher(Protocol):
    """A connection for Publish calls, used by one thread. No method waits for the broker, but for `wait`."""

    def send(self, call: int, request: bytes) -> None:
        """Begin a call.

        Args:
            call: A number that no call had before.
            request: A PublishRequest, serialised.
        """

    def cancel(self, call: int) -> None:
        """Forget a call that has not ended: it will neither be written nor end."""

    def wait(self, seconds: float) -> list[Written | Ended]:
        """Return what has happened since the last time; wait for at most `seconds` if it is nothing."""

    def close(self) -> None:
        """Give up all calls, and the connection."""
