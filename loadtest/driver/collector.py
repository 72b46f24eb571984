"""Collecting results and dead letters: a stream for each subscription, one thread that accounts for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc

from loadtest.clock import Clock
from loadtest.driver.acknowledger import Acknowledger
from loadtest.driver.answers import AnswerKind, Answers
from loadtest.driver.pubsub import Calls
from pipeline.pubsub.calls import routing
from pipeline.pubsub.codes import TRANSIENT, explain
from pipeline.pubsub.protos import StreamingPullRequest

# Lease of a delivery: this run's are acknowledged in milliseconds; any other comes again once in this time.
ACK_DEADLINE_S = 60
HEARTBEAT_S = 30.0  # an idle stream is kept open by an empty request
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.05, 2.0
FLUSH_INTERVAL_S = 1.0


@dataclass(frozen=True)
class _Delivery:
    kind: AnswerKind
    collected: float
    messages: Any  # raw ReceivedMessages
    acknowledger: Acknowledger


class Stream:
    """The stream of one subscription, opened anew after a transient error.

    Messages of others are not acknowledged, not nacked and not counted against a limit: nacking would bring
    them back at once, over and over, and a limit on outstanding messages would stop the stream for good. So
    the stream is opened without one; gRPC's own flow control still bounds what is in the air.

    Attributes:
        subscription: Full name.
        acknowledger: Of this subscription.
        reopened: How often the stream was opened anew.
        error: Why the stream has ended for good, if it has.
    """

    def __init__(
        self,
        calls: Calls,
        subscription: str,
        kind: AnswerKind,
        clock: Clock,
        deliveries: queue.SimpleQueue[_Delivery | None],
    ) -> None:
        self._calls = calls
        self.subscription = subscription
        self._kind: AnswerKind = kind
        self._clock = clock
        self._deliveries = deliveries
        self._closed = threading.Event()
        self._call: Any = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name=f"stream {kind}", daemon=True)
        self.acknowledger = Acknowledger(calls.acknowledge, subscription)
        self.reopened = 0
        self.error: str | None = None

    def start(self) -> None:
        """Start receiving and acknowledging."""
        self._thread.start()
        self.acknowledger.start()

    def close(self) -> None:
        """End the stream; what it has delivered is still in the queue."""
        with self._lock:
            self._closed.set()
            if self._call is not None:
                self._call.cancel()
        self._thread.join()

    def _run(self) -> None:
        backoff = FIRST_BACKOFF_S
        while not self._closed.is_set():
            ended = threading.Event()
            try:
                for response in self._open(ended):
                    self._deliveries.put(
                        _Delivery(self._kind, self._clock(), response.received_messages, self.acknowledger)
                    )
                    backoff = FIRST_BACKOFF_S
            except grpc.RpcError as error:
                if not self._closed.is_set() and error.code() not in TRANSIENT:
                    self.error = f"{self.subscription}: {explain(error)}"
                    return
            finally:
                ended.set()
            self.reopened += not self._closed.is_set()
            self._closed.wait(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_S)

    def _open(self, ended: threading.Event) -> Any:
        with self._lock:  # so that close() finds the call, or this finds the stream closed
            if self._closed.is_set():
                return ()
            self._call = self._calls.streaming_pull(
                self._requests(ended), metadata=routing("subscription", self.subscription)
            )
            return self._call

    def _requests(self, ended: threading.Event) -> Iterator[Any]:
        yield StreamingPullRequest(
            subscription=self.subscription,
            stream_ack_deadline_seconds=ACK_DEADLINE_S,
            max_outstanding_messages=0,  # no limit
            max_outstanding_bytes=0,
        )
        while not ended.wait(HEARTBEAT_S):
            yield StreamingPullRequest()


class Collector:
    """A thread that feeds all deliveries into `answers` and has those of this run acknowledged.

    A delivery is acknowledged only after it is accounted for.

    Attributes:
        streams: One for each subscription.
    """

    def __init__(
        self, calls: Calls, subscriptions: dict[str, AnswerKind], answers: Answers, clock: Clock
    ) -> None:
        """Prepare to collect.

        Args:
            calls: Pub/Sub.
            subscriptions: The kind of answer that each subscription carries, by its full name.
            answers: Only this collector's thread writes to them.
            clock: Epoch seconds.
        """
        self._answers = answers
        self._clock = clock
        self._deliveries: queue.SimpleQueue[_Delivery | None] = queue.SimpleQueue()
        self.streams = [
            Stream(calls, name, kind, clock, self._deliveries) for name, kind in subscriptions.items()
        ]
        self._thread = threading.Thread(target=self._run, name="collector", daemon=True)

    @property
    def error(self) -> str | None:
        """Why answers can no longer be collected, if so."""
        if self._thread.ident is not None and not self._thread.is_alive():
            return "the collecting thread has died; its traceback is above"
        return next((stream.error for stream in self.streams if stream.error), None)

    @property
    def unacknowledged(self) -> int:
        """Deliveries of this run that could not be acknowledged (so far)."""
        return sum(s.acknowledger.outstanding + s.acknowledger.refused for s in self.streams)

    def start(self) -> None:
        """Start collecting."""
        self._thread.start()
        for stream in self.streams:
            stream.start()

    def close(self) -> None:
        """End the streams, account for all that was delivered, and acknowledge it."""
        for stream in self.streams:
            stream.close()
        self._deliveries.put(None)
        self._thread.join()
        for stream in self.streams:
            stream.acknowledger.close()

    def _run(self) -> None:
        flush_at = self._clock() + FLUSH_INTERVAL_S
        while True:
            try:
                delivery = self._deliveries.get(timeout=FLUSH_INTERVAL_S)
                if delivery is None:
                    return
                own = self._answers.add(delivery.kind, delivery.collected, delivery.messages)
                if own:
                    delivery.acknowledger.add(own)
            except queue.Empty:
                pass
            if self._clock() >= flush_at:
                self._answers.flush()
                flush_at = self._clock() + FLUSH_INTERVAL_S
