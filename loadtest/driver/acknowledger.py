"""Acknowledging in batches, off the path on which answers are received."""

from __future__ import annotations

import threading
from typing import Any

import grpc

from pipeline.pubsub.calls import routing
from pipeline.pubsub.codes import TRANSIENT, explain
from pipeline.pubsub.limits import MAX_ACK_IDS
from pipeline.pubsub.protos import AcknowledgeRequest

INTERVAL_S = 0.02
BACKOFF_S = 0.2
ATTEMPT_TIMEOUT_S = 5.0


class Acknowledger:
    """A thread that acknowledges what `add` is given; transient failures are retried.

    Attributes:
        acknowledged: Ack ids that the broker has taken back.
        refused: Ack ids that the broker has refused for good.
        last_error: The status and details of the last failure.
    """

    def __init__(self, acknowledge: Any, subscription: str) -> None:
        """Prepare to acknowledge.

        Args:
            acknowledge: The Acknowledge call (`pubsub.Calls.acknowledge`).
            subscription: Full name.
        """
        self._acknowledge = acknowledge
        self._subscription = subscription
        self._metadata = routing("subscription", subscription)
        self._changed = threading.Condition()
        self._pending: list[str] = []
        self._closing = threading.Event()
        self._give_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name="acknowledger", daemon=True)
        self.acknowledged = 0
        self.refused = 0
        self.last_error: str | None = None

    @property
    def outstanding(self) -> int:
        """How many ack ids are not yet acknowledged; those of a request in flight are among them."""
        return len(self._pending)

    def start(self) -> None:
        """Start acknowledging."""
        self._thread.start()

    def add(self, ack_ids: list[str]) -> None:
        """Queue ack ids; return at once."""
        with self._changed:
            self._pending += ack_ids
            self._changed.notify()

    def close(self, timeout_s: float = 5.0) -> None:
        """Acknowledge what is queued, for at most `timeout_s` seconds, and end the thread."""
        with self._changed:
            self._closing.set()
            self._changed.notify()
        self._thread.join(timeout_s)
        self._give_up.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._give_up.is_set():
            with self._changed:
                while not self._pending and not self._closing.is_set():
                    self._changed.wait()
                batch = self._pending[:MAX_ACK_IDS]
            if not batch:
                return
            if not self._send(batch):
                self._give_up.wait(BACKOFF_S)
            elif not self._pending[MAX_ACK_IDS:]:
                self._closing.wait(INTERVAL_S)  # lets a batch gather

    def _send(self, batch: list[str]) -> bool:
        request = AcknowledgeRequest(subscription=self._subscription, ack_ids=batch)
        try:
            self._acknowledge(request, timeout=ATTEMPT_TIMEOUT_S, metadata=self._metadata)
        except grpc.RpcError as error:
            self.last_error = explain(error)
            if error.code() in TRANSIENT:
                return False
            self.refused += len(batch)
        else:
            self.acknowledged += len(batch)
        with self._changed:
            del self._pending[: len(batch)]
        return True
