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
# Of a call that extends: when a look finds a lease, 6 s of it are left at least, enough for a second call.
_EXTEND_TIMEOUT_S = 3.0
_RETRY_PAUSE_S = 0.2
# How long `close` tries to send what is due. Pub/Sub delivers again what was not acknowledged.
_CLOSE_WITHIN_S = 3.0


class AckManager:
    """The acknowledgements of one subscription, and the leases of the messages that are held.

    Invariant: an acknowledgement handed in is sent until it is accepted, refused for good, or `close` gives
    up; a message's lease is extended until its acknowledgement is accepted, it is given back, or it is
    `max_lease_s` old.

    Args:
        channel: To Pub/Sub; stays open.
        subscription: Its full name.
        max_lease_s: Seconds after which a message may go to another process.
        accepted: Called on another thread when fewer acknowledgements are `due` than before.
        monotonic: Seconds.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        subscription: str,
        max_lease_s: float,
        accepted: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._subscription = subscription
        self._monotonic = monotonic
        self._max_lease_s = max_lease_s
        self._accepted = accepted
        self._metadata = calls.routing("subscription", subscription)
        self._acknowledge = calls.acknowledge(channel)
        self._modify = calls.modify_ack_deadline(channel)
        self._condition = threading.Condition()
        self._due: dict[str, None] = {}  # a set in order: handed in, and not accepted yet
        self._closing = False
        # By ack id, in monotonic seconds: when the message came, when its lease ends. Those due are in it.
        self._held: dict[str, tuple[float, float]] = {}
        self._failing: dict[str, grpc.StatusCode] = {}  # by verb: how its last call failed
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
            self._due.update(dict.fromkeys(ack_ids))
            self._condition.notify_all()

    @property
    def due(self) -> int:
        """How many acknowledgements were handed in and are not accepted yet."""
        return len(self._due)

    def close(self) -> int:
        """Send the acknowledgements that are due, give back what is held, and return how many those are."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join(_CLOSE_WITHIN_S)
        with self._condition:
            held = [ack_id for ack_id in self._held if ack_id not in self._due]
            self._held.clear()
        for ids in _chunks(held):
            request = ModifyAckDeadlineRequest(subscription=self._subscription, ack_ids=ids)
            self._call(self._modify, request, "give back", _CLOSE_WITHIN_S)
        return len(held)

    def _send_acknowledgements(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._due or self._closing)
                ack_ids = list(self._due)
                closing = self._closing
            failed = False
            for ids in _chunks(ack_ids):
                request = AcknowledgeRequest(subscription=self._subscription, ack_ids=ids)
                if self._call(self._acknowledge, request, "acknowledge"):
                    self._forget(ids)
                else:
                    failed = True
            with self._condition:
                if closing and (failed or not self._due):
                    return
                if failed:
                    # What is handed in meanwhile waits, too: else each of many bundles would cause a call.
                    self._condition.wait_for(lambda: self._closing, _RETRY_PAUSE_S)

    def _forget(self, ack_ids: Sequence[str]) -> None:
        with self._condition:
            for ack_id in ack_ids:
                del self._due[ack_id]
                self._held.pop(ack_id, None)
        self._accepted()

    def _extend_leases(self) -> None:
        failed = False
        while True:
            with self._condition:
                if self._condition.wait_for(lambda: self._closing, _RETRY_PAUSE_S if failed else _ROUND_S):
                    return
                now = self._monotonic()
                ending = [
                    ack_id
                    for ack_id, (came, ends) in self._held.items()
                    if ends < now + ACK_DEADLINE_S / 2 and now - came < self._max_lease_s
                ]
            failed = False
            for ids in _chunks(ending):
                request = ModifyAckDeadlineRequest(
                    subscription=self._subscription, ack_ids=ids, ack_deadline_seconds=ACK_DEADLINE_S
                )
                if self._call(self._modify, request, "extend", _EXTEND_TIMEOUT_S):
                    self._extended(ids, now + ACK_DEADLINE_S)
                else:
                    failed = True

    def _extended(self, ack_ids: Sequence[str], ends: float) -> None:
        with self._condition:
            for ack_id in ack_ids:
                if ack_id in self._held:
                    self._held[ack_id] = (self._held[ack_id][0], ends)

    def _call(
        self, call: Callable[..., object], request: object, verb: str, timeout_s: float = _CALL_TIMEOUT_S
    ) -> bool:
        """Return whether the call is done with; False if it may be tried again. Log a spell once."""
        try:
            call(request, timeout=timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            code = error.code()
            if self._failing.get(verb) is not code:
                _LOGGER.warning("could not %s messages of %s: %s", verb, self._subscription, code.name)
            self._failing[verb] = code
            return code not in TRANSIENT
        if self._failing.pop(verb, None) is not None:
            _LOGGER.info("could %s messages of %s again", verb, self._subscription)
        return True


def _chunks(ack_ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ack_ids), MAX_ACK_IDS):
        yield ack_ids[start : start + MAX_ACK_IDS]
