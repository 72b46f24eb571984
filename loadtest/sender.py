"""Sending what is due, when it is due, however slow the broker is."""

from __future__ import annotations

import heapq
import threading
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from loadtest.clock import Clock
from loadtest.pubsub import request_message
from loadtest.records import MAX_BODY_BYTES
from pipeline.pubsub.calls import routing
from pipeline.pubsub.codes import TRANSIENT, explain
from pipeline.pubsub.limits import MAX_PUBLISH_MESSAGES
from pipeline.pubsub.protos import PublishRequest

WAKE_INTERVAL_S = 0.002  # at high rates, messages that fall due within this time leave together
ATTEMPT_TIMEOUT_S = 10.0
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 2.0


@dataclass(order=True)
class _Batch:
    """One Publish request and what became of it; ordered by when it is to be retried.

    Attributes:
        retry_at: Epoch seconds.
        first: Sequence of its first message; they are consecutive.
        request: A raw PublishRequest.
        count: Of its messages.
        deadline: Epoch seconds after which it is not retried.
        attempts: So far.
    """

    retry_at: float
    first: int
    request: Any = field(compare=False)
    count: int = field(compare=False)
    deadline: float = field(compare=False)
    attempts: int = field(compare=False, default=0)


class Sender:
    """A thread that publishes message k at `intended[k]`.

    Invariant: each message handed over is in flight, waiting for a retry, published or failed, and in one of
    these only. Publish calls are futures, so a slow broker delays no later message.

    Attributes:
        sent_at: [n] epoch seconds at which each message was handed to gRPC; NaN if it was not (yet).
        sent: Messages handed over so far, whatever became of them.
        published: Messages that the broker has accepted.
        publish_errors: Messages given up: a permanent error, the deadline passed, or the run closed before an
            answer.
        last_error: The status and details of the last failure.
        finished: Set once all is sent (or `stop` was called) and each message is published or failed.
    """

    def __init__(
        self,
        publish: Any,
        topic: str,
        run_id: str,
        bodies: list[bytes],
        intended: NDArray[np.float64],
        clock: Clock,
        publish_deadline_s: float = 60.0,
    ) -> None:
        """Prepare to send.

        Args:
            publish: The Publish call (`pubsub.Calls.publish`).
            topic: Full name.
            run_id: Prefix of the request ids; message k gets RUN-k.
            bodies: Request bodies; message k carries `bodies[k % len(bodies)]`.
            intended: [n] epoch seconds, ascending.
            clock: Epoch seconds, the one that `intended` was computed with.
            publish_deadline_s: How long a message is retried before it counts as failed.
        """
        self._publish = publish
        self._topic = topic
        self._metadata = routing("topic", topic)
        self._run_id = run_id
        self._bodies = bodies
        self._intended = intended
        self._clock = clock
        self._publish_deadline_s = publish_deadline_s
        self._wake = threading.Condition()
        self._stopping = self._closed = False
        self._in_flight: dict[int, tuple[Any, _Batch]] = {}  # by first sequence
        self._retries: list[_Batch] = []
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self.sent_at = np.full(len(intended), np.nan)
        self.sent = 0
        self.published = 0
        self.publish_errors = 0
        self.last_error: str | None = None
        self.finished = threading.Event()

    def start(self) -> None:
        """Start sending."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread is at work; false before `finished` is set means that it has died."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Send nothing new; what was handed over is still awaited and retried."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def close(self) -> None:
        """End the thread and give up what has no answer yet, which then counts as `publish_errors`."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread.ident is not None:  # it was started
            self._thread.join()
        with self._wake:
            abandoned = [batch for _, batch in self._in_flight.values()] + self._retries
            calls = [call for call, _ in self._in_flight.values()]
            self._in_flight, self._retries = {}, []
            for batch in abandoned:
                self.publish_errors += batch.count
                self.last_error = self.last_error or "no answer from the broker"
        for call in calls:
            call.cancel()

    def _run(self) -> None:
        while True:
            woken = self._clock()
            if not self._stopping:
                due = int(np.searchsorted(self._intended, woken, side="right"))
                while self.sent < due and not self._closed:
                    self._send_next(due)
            for batch in self._due_retries():
                self._start(batch)
            with self._wake:
                all_sent = self._stopping or self.sent == len(self._intended)
                if all_sent and not self._in_flight and not self._retries:
                    self.finished.set()
                    return
                if self._closed:
                    return
                self._wake.wait(self._time_to_wake(woken, all_sent))

    def _time_to_wake(self, woken: float, all_sent: bool) -> float | None:
        times = [self._retries[0].retry_at] if self._retries else []
        if not all_sent:
            times.append(max(float(self._intended[self.sent]), woken + WAKE_INTERVAL_S))
        return max(0.0, min(times) - self._clock()) if times else None

    def _send_next(self, due: int) -> None:
        """Publish one request of the next messages, up to sequence `due` or what a request can hold."""
        first = self.sent
        now = self._clock()
        messages: list[Any] = []
        size, sequence = 0, first
        while sequence < due and sequence - first < MAX_PUBLISH_MESSAGES:
            body = self._bodies[sequence % len(self._bodies)]
            size += len(body) + 200  # attributes and framing
            if messages and size > MAX_BODY_BYTES:
                break
            messages.append(
                request_message(body, f"{self._run_id}-{sequence}", float(self._intended[sequence]), now)
            )
            sequence += 1
        request = PublishRequest(topic=self._topic, messages=messages)
        self._start(_Batch(now, first, request, len(messages), now + self._publish_deadline_s))
        # After the hand-over: building the batch is the driver's own delay and belongs in its error.
        self.sent_at[first:sequence] = self._clock()
        self.sent = sequence

    def _start(self, batch: _Batch) -> None:
        batch.attempts += 1
        remaining = max(0.1, batch.deadline - self._clock())
        call = self._publish.future(
            batch.request, timeout=min(ATTEMPT_TIMEOUT_S, remaining), metadata=self._metadata
        )
        with self._wake:
            self._in_flight[batch.first] = (call, batch)
        call.add_done_callback(partial(self._done, batch))

    def _done(self, batch: _Batch, call: Any) -> None:
        code = call.code()
        with self._wake:
            if self._in_flight.pop(batch.first, None) is None:
                return  # given up by close()
            if code == grpc.StatusCode.OK:
                self.published += batch.count
            else:
                self._failed(batch, code, explain(call))
            if self._retries or not self._in_flight:
                self._wake.notify()

    def _failed(self, batch: _Batch, code: grpc.StatusCode, reason: str) -> None:
        self.last_error = reason
        retry_at = self._clock() + min(FIRST_BACKOFF_S * 2 ** (batch.attempts - 1), MAX_BACKOFF_S)
        if code in TRANSIENT and retry_at < batch.deadline:
            batch.retry_at = retry_at
            heapq.heappush(self._retries, batch)
        else:
            self.publish_errors += batch.count

    def _due_retries(self) -> list[_Batch]:
        due = []
        with self._wake:
            while self._retries and self._retries[0].retry_at <= self._clock():
                due.append(heapq.heappop(self._retries))
        return due
