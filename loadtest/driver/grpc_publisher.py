"""Publish calls by gRPC, for Google Cloud: TLS, tokens and proxies are its matter."""

from __future__ import annotations

import threading
from typing import Any

import grpc

from loadtest.clock import Clock
from loadtest.driver.publisher import Ended, Written
from pipeline.pubsub import calls
from pipeline.pubsub.calls import routing
from pipeline.pubsub.codes import explain


class GrpcPublisher:
    """A `Publisher` on a channel. A call counts as written once gRPC has taken it."""

    def __init__(self, channel: grpc.Channel, topic: str, clock: Clock) -> None:
        """Prepare to publish.

        Args:
            channel: To Pub/Sub; closed with this.
            topic: Full name.
            clock: Epoch seconds.
        """
        self._channel = channel
        self._publish = calls.publish_serialised(channel)
        self._metadata = routing("topic", topic)
        self._clock = clock
        self._calls: dict[int, Any] = {}
        self._events: list[Written | Ended] = []
        self._happened = threading.Condition()

    def send(self, call: int, request: bytes) -> None:
        """See `Publisher`."""
        future = self._publish.future(request, metadata=self._metadata)
        with self._happened:
            self._calls[call] = future
            self._events.append(Written(call, self._clock()))
        future.add_done_callback(lambda ended: self._done(call, ended))

    def cancel(self, call: int) -> None:
        """See `Publisher`."""
        with self._happened:
            future = self._calls.pop(call, None)
        if future is not None:
            future.cancel()

    def wait(self, seconds: float) -> list[Written | Ended]:
        """See `Publisher`."""
        with self._happened:
            if not self._events:
                self._happened.wait(max(0.0, seconds))
            events, self._events = self._events, []
        return events

    def close(self) -> None:
        """See `Publisher`."""
        with self._happened:
            self._calls.clear()
        self._channel.close()

    def _done(self, call: int, ended: Any) -> None:
        with self._happened:
            if self._calls.pop(call, None) is None:
                return  # cancelled
            code = ended.code()
            reason = code.name if code == grpc.StatusCode.OK else explain(ended)
            self._events.append(Ended(call, code, reason))
            self._happened.notify()
