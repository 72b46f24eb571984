"""Sending what is due, when it is due, however slow the broker is."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import grpc
import numpy as np

from loadtest.clock import Clock
from loadtest.driver.publisher import Ended, Publisher
from loadtest.driver.pubsub import request_message
from loadtest.driver.sender_state import Count, Order, SenderState
from loadtest.records import MAX_BODY_BYTES
from pipeline.pubsub.codes import TRANSIENT
from pipeline.pubsub.limits import MAX_PUBLISH_MESSAGES
from pipeline.pubsub.protos import Proto, PublishRequest

# Messages that fall due within this time of the last call leave together. At 5,000 msg/s to the embedded
# broker, a call for each message takes the broker 0.9 of a core and this 0.5 (`benchmarks.pacing`).
GATHER_S = 0.0005

ATTEMPT_TIMEOUT_S = 10.0
FIRST_BACKOFF_S, MAX_BACKOFF_S = 0.1, 2.0

# How often a sender that has nothing to do looks for orders.
LOOK_S = 0.02


@dataclass(frozen=True)
class Share:
    """What one sender of several sends: message k of its own is number `first + k * stride` of the run.

    Attributes:
        topic: Full name.
        run_id: Prefix of the request ids; message k gets RUN-number.
        bodies: Request bodies, by number and then from the start again.
        first: Number of its first message.
        stride: From one of its messages to the next.
        publish_deadline_s: How long a message is retried before it counts as failed.
    """

    topic: str
    run_id: str
    bodies: list[bytes]
    first: int = 0
    stride: int = 1
    publish_deadline_s: float = 60.0


@dataclass
class _Batch:
    """One Publish request and what became of it.

    Attributes:
        first: Place of its first message in the sender's share; they are consecutive.
        count: Of its messages.
        request: Serialised.
        deadline: Epoch seconds after which it is not retried.
        attempts: So far.
        written: Whether `sent_at` has the time of its messages.
    """

    first: int
    count: int
    request: bytes
    deadline: float
    attempts: int = 0
    written: bool = False


class Pacer:
    """Publishes message k at `state.intended[k]`.

    Invariant: each message handed over is in flight, waiting for a retry, published or failed, and in one of
    these only. Nothing here waits for an answer, so a slow broker delays no later message.
    """

    def __init__(self, publisher: Publisher, share: Share, state: SenderState, clock: Clock) -> None:
        """Prepare to send.

        Args:
            publisher: Closed at the end.
            share: What to send.
            state: When to send it, and where to tell what became of it.
            clock: Epoch seconds, the one that `state.intended` was computed with.
        """
        self._publisher = publisher
        self._share = share
        self._state = state
        self._clock = clock
        self._sent = 0
        self._last_call_at = -np.inf
        self._calls = 0
        self._in_flight: dict[int, _Batch] = {}  # by call
        self._timeouts: list[tuple[float, int]] = []  # heap of when a call is given up
        self._retries: list[tuple[float, int, _Batch]] = []  # heap of when; the call decides between equals

    def run(self) -> None:
        """Follow the orders of `state`, until all is sent and each message published or failed, or CLOSE."""
        self._state.counts[Count.READY] = 1
        try:
            while (order := self._state.order) != Order.CLOSE:
                if order == Order.SEND:
                    self._send_due()
                self._retry_due()
                self._time_out()
                all_sent = order == Order.STOP or self._sent == len(self._state.intended)
                if order != Order.WAIT and all_sent and not self._in_flight and not self._retries:
                    self._state.counts[Count.FINISHED] = 1
                    return
                self._wait(sending=order == Order.SEND and not all_sent)
        finally:
            self._give_up()
            self._publisher.close()

    def _send_due(self) -> None:
        now = self._clock()
        if now < self._last_call_at + GATHER_S:
            return
        due = int(np.searchsorted(self._state.intended, now, side="right"))
        while self._sent < due:
            self._send_next(due, now)
            self._last_call_at = now
            now = self._clock()

    def _send_next(self, due: int, now: float) -> None:
        """Publish one request of the next messages, up to place `due` or what a request can hold."""
        first, share = self._sent, self._share
        messages: list[Proto] = []
        size = 0
        for place in range(first, min(due, first + MAX_PUBLISH_MESSAGES)):
            number = share.first + place * share.stride
            body = share.bodies[number % len(share.bodies)]
            size += len(body) + 200  # attributes and framing
            if messages and size > MAX_BODY_BYTES:
                break
            intended = float(self._state.intended[place])
            messages.append(request_message(body, f"{share.run_id}-{number}", intended, now))
        request = PublishRequest(topic=share.topic, messages=messages).SerializeToString()
        batch = _Batch(first, len(messages), request, now + share.publish_deadline_s)
        # Before the call: an answer may come at once, and none is for a message that was not sent.
        self._sent += len(messages)
        self._state.counts[Count.SENT] = self._sent
        self._start(batch)

    def _start(self, batch: _Batch) -> None:
        batch.attempts += 1
        call, self._calls = self._calls, self._calls + 1
        self._state.counts[Count.CALLS] = self._calls
        self._in_flight[call] = batch
        now = self._clock()
        heapq.heappush(self._timeouts, (min(now + ATTEMPT_TIMEOUT_S, max(now + 0.1, batch.deadline)), call))
        self._publisher.send(call, batch.request)

    def _wait(self, *, sending: bool) -> None:
        """Wait until there is something to do, and take in what has happened."""
        times = [self._clock() + LOOK_S]
        if sending:
            times.append(max(float(self._state.intended[self._sent]), self._last_call_at + GATHER_S))
        if self._retries:
            times.append(self._retries[0][0])
        if self._timeouts:
            times.append(self._timeouts[0][0])
        for event in self._publisher.wait(min(times) - self._clock()):
            if isinstance(event, Ended):
                self._ended(event)
            elif batch := self._in_flight.get(event.call):
                self._note_sent(batch, event.at)

    def _note_sent(self, batch: _Batch, at: float) -> None:
        if not batch.written:
            batch.written = True
            self._state.sent_at[batch.first : batch.first + batch.count] = at

    def _ended(self, event: Ended) -> None:
        batch = self._in_flight.pop(event.call, None)
        if batch is None:
            return
        if event.code == grpc.StatusCode.OK:
            self._state.counts[Count.PUBLISHED] += batch.count
            return
        now = self._clock()
        self._note_sent(batch, now)
        self._state.note(event.reason)
        retry_at = now + min(FIRST_BACKOFF_S * 2 ** (batch.attempts - 1), MAX_BACKOFF_S)
        if event.code in TRANSIENT and retry_at < batch.deadline:
            heapq.heappush(self._retries, (retry_at, event.call, batch))
        else:
            self._state.counts[Count.ERRORS] += batch.count

    def _retry_due(self) -> None:
        while self._retries and self._retries[0][0] <= self._clock():
            self._start(heapq.heappop(self._retries)[2])

    def _time_out(self) -> None:
        while self._timeouts and (
            self._timeouts[0][1] not in self._in_flight or self._timeouts[0][0] <= self._clock()
        ):
            _, call = heapq.heappop(self._timeouts)
            if call in self._in_flight:
                self._publisher.cancel(call)
                late = grpc.StatusCode.DEADLINE_EXCEEDED
                self._ended(Ended(call, late, f"{late.name}: no answer within {ATTEMPT_TIMEOUT_S:g} s"))

    def _give_up(self) -> None:
        abandoned = [*self._in_flight.values(), *(batch for _, _, batch in self._retries)]
        for batch in abandoned:
            self._note_sent(batch, self._clock())
            self._state.counts[Count.ERRORS] += batch.count
        if abandoned and self._state.last_error is None:
            self._state.note("no answer from the broker")
