"""A streaming pull on one subscription: messages in, held under lease until acknowledged or given back.

Not the client library's `subscribe`: that answers every response of the stream with a call of its own before
it reads the next, which capped this job at about 600 messages a second when they came one by one.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import grpc

from pipeline.io.ack_manager import ACK_DEADLINE_S, AckManager
from pipeline.pubsub import calls
from pipeline.pubsub.channels import subscriber_channel
from pipeline.pubsub.codes import TRANSIENT, explain
from pipeline.pubsub.emulator import VARIABLE
from pipeline.pubsub.protos import StreamingPullRequest
from pipeline.request.errors import SubscriptionError, TransientError

_LOGGER = logging.getLogger(__name__)

# Bounds on what one process holds unacknowledged; at either, nothing more is read.
MAX_HELD_MESSAGES = 4_000
MAX_HELD_BYTES = 100 * 1024 * 1024
# How long a message may be held in all before Pub/Sub may deliver it to another process.
MAX_LEASE_S = 3600.0
# When nothing has arrived for so long, the backlog counts as read.
QUIET_S = 5.0
# Proxies on the way cut a stream that carries nothing; the client library beats this often as well.
_HEARTBEAT_S = 30.0
# How long the server may take to end a stream whose request side was closed.
_HALF_CLOSE_S = 1.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 10.0
# How long Pub/Sub may be away, so that no stream brings anything or lasts, before the job is to start again.
AWAY_S = 60.0

# By the status code that ended the stream for good; with any other, the flag may still be wrong.
_FIXES = {
    grpc.StatusCode.NOT_FOUND: "create it, or check --input_subscription",
    grpc.StatusCode.PERMISSION_DENIED: "grant this account roles/pubsub.subscriber on it",
    grpc.StatusCode.UNAUTHENTICATED: "log in: gcloud auth application-default login",
}
_OTHER_FIX = "check --input_subscription"


class Subscriber:
    """The messages of one subscription, in order of arrival, as raw `ReceivedMessage` protocol buffers.

    Invariant: a message that arrived is held, its lease extended, until `acknowledge` or `close`, which gives
    back whatever is still held.
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
        self._channel = subscriber_channel()
        self._condition = threading.Condition()
        self._ack_manager = AckManager(self._channel, subscription, MAX_LEASE_S, self._look_for_room)
        self._arrived: deque[Any] = deque()
        self._held: dict[str, tuple[int, int]] = {}  # by ack id: publish time (epoch microseconds), bytes
        self._held_bytes = 0
        self._error: Exception | None = None
        self._closed = threading.Event()
        self._stream: Any = None
        self._last_event = time.monotonic()  # a message arrived, or the stream was opened
        self._requests_end = threading.Event()
        self._reader = threading.Thread(target=self._read, name="streaming-pull", daemon=True)
        self._reader.start()

    def take(self, most: int, wait_s: float) -> list[Any]:
        """Take up to `most` messages; wait up to `wait_s` seconds for the first. Empty once it is to stop.

        Raises:
            SubscriptionError: The subscription does not exist or may not be read.
            TransientError: Pub/Sub has been away for `AWAY_S` seconds.
        """
        deadline = time.monotonic() + wait_s
        with self._condition:
            while not self._stopping():
                if self._arrived:
                    return [self._arrived.popleft() for _ in range(min(most, len(self._arrived)))]
                if self._error is not None:
                    raise self._error
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                # In slices: what asks for a stop may be a signal handler, which must not need this lock.
                self._condition.wait(min(left, 0.05))
        return []

    def watermark(self) -> int | None:
        """Return up to which epoch microseconds no message is unanswered here; None where that is not known.

        It is the oldest publish time that is held. With nothing held it is now, but only once nothing has
        arrived for five seconds of an open stream: Pub/Sub does not say how old the next message may be.
        """
        with self._condition:
            if self._held:
                return min(published for published, _ in self._held.values())
            quiet = time.monotonic() - self._last_event >= QUIET_S
            return int(self._clock() * 1e6) if quiet else None

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Acknowledge messages whose results have been accepted."""
        # First, so that the message counts against the limit all the time.
        self._ack_manager.acknowledge(ack_ids)
        with self._condition:
            for ack_id in ack_ids:
                _, size = self._held.pop(ack_id, (0, 0))
                self._held_bytes -= size
            self._condition.notify_all()

    def close(self) -> None:
        """Give back every message still held, send the acknowledgements that are due, and disconnect."""
        self._closed.set()
        with self._condition:
            self._condition.notify_all()
        # First the request side alone, which makes the server end the stream. Google's emulator takes a
        # cancelled stream for alive for some time, and sends messages down it.
        self._requests_end.set()
        self._reader.join(_HALF_CLOSE_S)
        if self._reader.is_alive():
            with self._condition:
                self._stream.cancel()
            self._reader.join()
        given_back = self._ack_manager.close()
        if given_back:
            _LOGGER.info("%d messages given back to %s", given_back, self._subscription)
        self._channel.close()

    def _read(self) -> None:
        call = calls.streaming_pull(self._channel)
        metadata = calls.routing("subscription", self._subscription)
        pause = _FIRST_PAUSE_S
        last_good = time.monotonic()
        while not self._closed.is_set():
            ended = threading.Event()
            opened = time.monotonic()
            try:
                with self._condition:
                    self._requests_end = ended
                    if self._closed.is_set():
                        return
                    self._stream = call(self._requests(ended), metadata=metadata)
                    self._last_event = opened
                for response in self._stream:
                    pause = _FIRST_PAUSE_S
                    last_good = time.monotonic()
                    self._receive(response.received_messages)
                    del response  # a large one would live until the next
                    self._await_room()
            except grpc.RpcError as error:
                if self._closed.is_set():
                    return
                if error.code() not in TRANSIENT:
                    self._fail(error)
                    return
                now = time.monotonic()
                if now - opened > _HEARTBEAT_S:
                    pause = _FIRST_PAUSE_S
                    last_good = now
                reason = f"{explain(error)}{_where()}"
                if now - last_good >= AWAY_S:
                    away = f"cannot read {self._subscription} for {AWAY_S:g} s: {reason}"
                    self._end(TransientError(away))
                    return
                # The service ends streams now and then; the first end of one is no trouble yet.
                level = logging.INFO if pause == _FIRST_PAUSE_S else logging.WARNING
                _LOGGER.log(
                    level, "the stream of %s ended (%s): opening it again", self._subscription, reason
                )
            except Exception as error:
                # Else the job would go on for ever without reading.
                self._end(error)
                return
            finally:
                ended.set()
            self._closed.wait(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _requests(self, ended: threading.Event) -> Iterator[Any]:
        yield StreamingPullRequest(
            subscription=self._subscription,
            stream_ack_deadline_seconds=ACK_DEADLINE_S,
            client_id=str(uuid.uuid4()),
            max_outstanding_messages=MAX_HELD_MESSAGES,
            max_outstanding_bytes=MAX_HELD_BYTES,
        )
        while not ended.wait(_HEARTBEAT_S):
            yield StreamingPullRequest()

    def _receive(self, messages: Any) -> None:
        self._ack_manager.hold([received.ack_id for received in messages])
        with self._condition:
            for received in messages:
                size = received.ByteSize()
                self._held[received.ack_id] = (received.message.publish_time.ToMicroseconds(), size)
                self._held_bytes += size
            self._arrived.extend(messages)
            self._last_event = time.monotonic()
            self._condition.notify_all()

    def _look_for_room(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def _await_room(self) -> None:
        """Wait while too much is held: the stream is then not read, and gRPC holds back the sender.

        An acknowledgement that is not accepted yet counts as a message: else they would pile up while Pub/Sub
        takes none.
        """
        with self._condition:
            self._condition.wait_for(
                lambda: (
                    self._closed.is_set()
                    or (
                        len(self._held) + self._ack_manager.due < MAX_HELD_MESSAGES
                        and self._held_bytes < MAX_HELD_BYTES
                    )
                )
            )

    def _fail(self, error: grpc.RpcError) -> None:
        code = error.code()
        fix = _FIXES.get(code, _OTHER_FIX)
        reason = f"cannot read {self._subscription}: {explain(error)}; {fix}"
        self._end(SubscriptionError(reason))

    def _end(self, error: Exception) -> None:
        with self._condition:
            self._error = error
            self._condition.notify_all()


def _where() -> str:
    """Return what names the address, where it is not the service's own."""
    host = os.environ.get(VARIABLE)
    return f"; {VARIABLE}={host}: does a broker listen there?" if host else ""
