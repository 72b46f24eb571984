"""Acknowledging, extending and giving back messages, on threads of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import grpc

from pipeline.pubsub import calls
from pipeline.pubsub.codes import TRANSIENT
from pipeline.pubsub.limits import MAX_ACK_IDS
from pipeline.pubsub.protos import AcknowledgeRequest, ModifyAckDeadlineRequest

_LOGGER = logging.getLogger(__name__)

# What the stream asks for, and what an extension grants. Short, because the messages of a killed process come
# again only when it is over. Few messages are held long enough to need an extension.
ACK_DEADLINE_S = 20
# Leases are checked this often, and extended when less than half of the deadline is left.
_ROUND_S = 4.0
_CALL_TIMEOUT_S = 10.0
_RETRY_PAUSE_S = 0.2
# How long `close` tries to send what is due. Pub/Sub delivers again what was not acknowledged.
_CLOSE_WITHIN_S = 3.0


class AckManager:
    """The acknowledgements of one subscription, and the leases of the messages that are held.

    Invariant: an acknowledgement handed in is sent until it is accepted, refused for good, or `close` gives
    up; a held message's lease is extended until it is acknowledged, given back, or `max_lease_s` old.

    Args:
        channel: To Pub/Sub; stays open.
        subscription: Its full name.
        max_lease_s: Seconds after which a message may go to another process.
        monotonic: Seconds.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        subscription: str,
        max_lease_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._subscription = subscription
        self._monotonic = monotonic
        self._max_lease_s = max_lease_s
        self._metadata = calls.routing("subscription", subscription)
        self._acknowledge = calls.acknowledge(channel)
        self._modify = calls.modify_ack_deadline(channel)
        self._condition = threading.Condition()
        self._due: list[str] = []
        self._closing = False
        # By ack id, in monotonic seconds: when the message came, and when its lease ends.
        self._held: dict[str, tuple[float, float]] = {}
        self._threads = [
            threading.Thread(target=self._send_acknowledgements, name="acknowledge", daemon=True),
            threading.Thread(target=self._extend_leases, name="extend-leases", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def hold(self, ack_ids: Sequence[str]) -> None:
        """Keep the leases of messages that have just arrived."""
        now = self._monotonic()
        with self._condition:
            self._held.update(dict.fromkeys(ack_ids, (now, now + ACK_DEADLINE_S)))

    def acknowledge(self, ack_ids: Sequence[str]) -> None:
        """Hand in acknowledgements, to be sent at once."""
        with self._condition:
            for ack_id in ack_ids:
                self._held.pop(ack_id, None)
            self._due.extend(ack_ids)
            self._condition.notify_all()

    def close(self) -> int:
        """Send the acknowledgements that are due, give back what is held, and return how many those are."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join(_CLOSE_WITHIN_S)
        with self._condition:
            held = list(self._held)
            self._held.clear()
        for ids in _chunks(held):
            request = ModifyAckDeadlineRequest(subscription=self._subscription, ack_ids=ids)
            self._call(self._modify, request, "give back", _CLOSE_WITHIN_S)
        return len(held)

    def _send_acknowledgements(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._due or self._closing)
                ack_ids, self._due = self._due, []
                closing = self._closing
            failed: list[str] = []
            for ids in _chunks(ack_ids):
                request = AcknowledgeRequest(subscription=self._subscription, ack_ids=ids)
                if not self._call(self._acknowledge, request, "acknowledge"):
                    failed += ids
            with self._condition:
                self._due[:0] = failed
                if closing and (failed or not self._due):
                    return
                if failed:
                    self._condition.wait(_RETRY_PAUSE_S)

    def _extend_leases(self) -> None:
        while True:
            with self._condition:
                if self._condition.wait_for(lambda: self._closing, _ROUND_S):
                    return
                now = self._monotonic()
                ending = [
                    ack_id
                    for ack_id, (came, ends) in self._held.items()
                    if ends < now + ACK_DEADLINE_S / 2 and now - came < self._max_lease_s
                ]
            for ids in _chunks(ending):
                request = ModifyAckDeadlineRequest(
                    subscription=self._subscription, ack_ids=ids, ack_deadline_seconds=ACK_DEADLINE_S
                )
                if self._call(self._modify, request, "extend"):
                    self._extended(ids, now + ACK_DEADLINE_S)

    def _extended(self, ack_ids: Sequence[str], ends: float) -> None:
        with self._condition:
            for ack_id in ack_ids:
                if ack_id in self._held:
                    self._held[ack_id] = (self._held[ack_id][0], ends)

    def _call(
        self, call: Callable[..., object], request: object, verb: str, timeout_s: float = _CALL_TIMEOUT_S
    ) -> bool:
        """Return whether the call is done with; False if it may be tried again."""
        try:
            call(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            _LOGGER.warning("could not %s messages of %s: %s", verb, self._subscription, error.code().name)
            return error.code() not in TRANSIENT
        return True


def _chunks(ack_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ack_ids), MAX_ACK_IDS):
        yield ack_ids[start : start + MAX_ACK_IDS]
