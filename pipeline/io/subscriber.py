"""A streaming pull on one subscription: messages in, held under lease until acknowledged or given back."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.cloud.pubsub_v1.subscriber.message import Message
from google.cloud.pubsub_v1.subscriber.scheduler import Scheduler

from pipeline.errors import TransientError
from pipeline.io.clients import subscriber_client

_LOGGER = logging.getLogger(__name__)

# Bounds on what one process holds unacknowledged. The client stops reading at either.
MAX_HELD_MESSAGES = 4_000
MAX_HELD_BYTES = 100 * 1024 * 1024
# How long a message may be held in all, its lease extended meanwhile, before Pub/Sub may deliver it again.
MAX_LEASE_S = 3600


class _Inline(Scheduler):
    """Calls back on the client's own receiving thread: the callback only appends to a queue."""

    def __init__(self) -> None:
        self._queue: queue.Queue = queue.Queue()

    @property
    def queue(self) -> queue.Queue:
        return self._queue

    def schedule(self, callback: Callable[..., Any], *args: Any) -> None:  # type: ignore[override]
        callback(*args)

    def shutdown(self, await_msg_callbacks: bool = False) -> list[Message]:
        return []


class Subscriber:
    """The messages of one subscription, in order of arrival.

    Invariant: a message that was received is held (its lease extended by the client, counted by its flow
    control) until `acknowledge` or `close`. `close` gives back whatever is still held.
    """

    def __init__(
        self,
        subscription: str,
        *,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._subscription = subscription
        self._stopping = stopping
        self._clock = clock
        self._arrived: deque[Message] = deque()
        self._held: dict[str, Message] = {}
        self._lock = threading.Lock()
        self._something = threading.Event()
        self._client = subscriber_client()
        self._future = self._client.subscribe(
            subscription,
            callback=self._receive,
            flow_control=pubsub_v1.types.FlowControl(
                max_messages=MAX_HELD_MESSAGES,
                max_bytes=MAX_HELD_BYTES,
                max_lease_duration=MAX_LEASE_S,
            ),
            scheduler=_Inline(),
        )
        self._future.add_done_callback(lambda _: self._something.set())

    def take(self, most: int, wait_s: float) -> list[Message]:
        """Up to `most` messages; waits up to `wait_s` seconds for the first. Empty once it is to stop.

        Raises:
            TransientError: the stream broke for a reason that may pass.
            GoogleAPICallError: it broke for one that will not, such as a missing subscription.
        """
        deadline = time.monotonic() + wait_s
        while not self._stopping():
            with self._lock:
                if self._arrived:
                    return [self._arrived.popleft() for _ in range(min(most, len(self._arrived)))]
                self._something.clear()
            if self._future.done():
                self._raise_cause()
            left = deadline - time.monotonic()
            if left <= 0:
                break
            # In slices, so that a stop is seen soon: a signal handler must not touch this event's lock.
            self._something.wait(min(left, 0.05))
        return []

    def watermark(self) -> float:
        """Epoch seconds up to which nothing is held: the oldest held message's publish time, else now."""
        with self._lock:
            oldest = min((m.publish_time.timestamp() for m in self._held.values()), default=None)
        return self._clock() if oldest is None else oldest

    def acknowledge(self, messages: list[Message]) -> None:
        """Acknowledges messages whose results have been accepted."""
        with self._lock:
            for message in messages:
                self._held.pop(message.ack_id, None)
        for message in messages:
            message.ack()

    def close(self) -> None:
        """Gives back every message still held, sends what acknowledgements are due, and disconnects."""
        with self._lock:
            held = list(self._held.values())
            self._held.clear()
            self._arrived.clear()
        for message in held:
            message.nack()
        if held:
            _LOGGER.info("%d messages given back to %s", len(held), self._subscription)
        self._future.cancel()
        try:
            self._future.result()
        except exceptions.GoogleAPICallError as error:
            _LOGGER.info("the stream had ended before: %s", error)
        self._client.close()

    def _receive(self, message: Message) -> None:
        with self._lock:
            self._held[message.ack_id] = message
            self._arrived.append(message)
            self._something.set()

    def _raise_cause(self) -> None:
        error = self._future.exception()
        if isinstance(error, exceptions.ServerError | exceptions.TooManyRequests):
            raise TransientError(f"reading {self._subscription} failed: {error}") from error
        if error is not None:
            raise error
