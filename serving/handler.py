"""What a connection hands its calls to."""

from __future__ import annotations

from typing import Protocol

from serving.exchange import Answer, Exchange


class Handler(Protocol):
    """What answers calls."""

    @property
    def draining(self) -> bool:
        """Whether connections are not to be kept after an answer."""

    def begin(self, exchange: Exchange) -> None:
        """Take the head of a call, and set its `body` where one is wanted.

        Raises:
            Refusal: The call is not served.
        """

    def handle(self, exchange: Exchange) -> Answer | None:
        """Return the answer to a call that has come whole; None: `Exchange.answer` gets it later.

        Raises:
            Refusal: It is not served after all.
        """

    def answered(self, exchange: Exchange, answer: Answer) -> None:
        """Take note of an answer that is on its way, other than those that `handle` returns."""

    def left(self) -> None:
        """Take note of a call whose client has left before its answer."""
