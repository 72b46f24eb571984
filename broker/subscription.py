"""One subscription: its backlog, its leases and the consumers that share it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from broker.errors import InvalidArgumentError
from broker.leases import Consumer, Lease, LeaseTable, Message

MAX_BATCH_MESSAGES = 1000
# Below the 4 MiB that a gRPC client takes by default, so that only a single larger message can exceed it.
MAX_BATCH_BYTES = 3_000_000

_ACK_ID = re.compile(r"[0-9]+:[0-9]+")


@dataclass(frozen=True, slots=True)
class SubscriptionStats:
    """What a subscription holds at one moment.

    Attributes:
        backlog: Messages waiting to be delivered, for the first time or again.
        outstanding: Messages delivered and neither acknowledged nor given back.
        acknowledged: Acknowledgements so far that ended a lease.
        streams: Consumers attached now: open StreamingPulls and waiting Pulls.
    """

    backlog: int
    outstanding: int
    acknowledged: int
    streams: int


@dataclass(eq=False)
class Subscription:
    """Invariant: each message published since creation is in the backlog, leased, or acknowledged.

    Not thread-safe: the server calls it from its event loop only.

    Attributes:
        name: Its full name.
        topic: That of its topic.
        ack_deadline_s: Seconds that a lease lasts unless its consumer says otherwise.
        clock: Seconds.
        uid: Tells the ack ids of two subscriptions apart, even of two with the same name.
        labels: As they were created.
        duplicate_next: Called for each message about to be delivered; whether to deliver it twice.
        deleted: Whether it was deleted while consumers were attached.
    """

    name: str
    topic: str
    ack_deadline_s: int
    clock: Callable[[], float]
    uid: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)
    duplicate_next: Callable[[], bool] = lambda: False
    deleted: bool = False

    def __post_init__(self) -> None:
        self._backlog: deque[Message] = deque()
        self._repeats: deque[Message] = deque()  # second copies, delivered next
        self._leases = LeaseTable()
        self._consumers: deque[Consumer] = deque()
        self._acknowledged = 0
        self._lease_numbers = count(1)

    def enqueue(self, messages: Iterable[Message]) -> None:
        """Add newly published messages."""
        self._backlog.extend(messages)
        self._wake_consumers()

    def attach(self, consumer: Consumer) -> None:
        """Let `consumer` hear of new work until it is detached."""
        self._consumers.append(consumer)

    def detach(self, consumer: Consumer) -> None:
        """Forget `consumer`. What it holds stays leased until acknowledged or past its deadline."""
        self._consumers.remove(consumer)

    def take(self, consumer: Consumer) -> list[Lease]:
        """Lease the next messages to `consumer`, as many as one response and its flow control allow."""
        leases: list[Lease] = []
        batch_bytes = 0
        deadline = self.clock() + consumer.ack_deadline_s
        while (source := self._repeats or self._backlog) and len(leases) < MAX_BATCH_MESSAGES:
            message = source[0]
            size = len(message.payload)
            if not consumer.has_room_for(size) or (leases and batch_bytes + size > MAX_BATCH_BYTES):
                break
            source.popleft()
            if source is self._backlog and self.duplicate_next():
                self._repeats.append(message)
            lease = Lease(f"{self.uid}:{next(self._lease_numbers)}", message, consumer)
            self._leases.grant(lease, deadline)
            leases.append(lease)
            batch_bytes += size
        return leases

    def give_back(self, leases: Sequence[Lease]) -> None:
        """Return messages that were taken and never sent; they are the next to be delivered."""
        live = [lease for lease in leases if self._leases.end(lease.ack_id)]
        self._backlog.extendleft(lease.message for lease in reversed(live))
        self._wake_consumers()

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """Forget the messages. Ids whose lease has ended are ignored, as the service does.

        Raises:
            InvalidArgumentError: An id that no broker gave out; those before it are acknowledged.
        """
        for ack_id in ack_ids:
            if self._leases.end(ack_id) is not None:
                self._acknowledged += 1
            else:
                _check_ack_id(ack_id)
        self._wake_consumers()

    def modify_deadline(self, ack_ids: Iterable[str], seconds: int) -> None:
        """Let leases end `seconds` from now; 0 gives the messages back at once. Otherwise as `acknowledge`.

        Messages given back go to the end of the backlog, so that one that fails forever starves no other.
        """
        deadline = self.clock() + seconds
        for ack_id in ack_ids:
            if seconds == 0:
                lease = self._leases.end(ack_id)
                if lease is not None:
                    self._backlog.append(lease.message)
                    continue
            elif self._leases.extend(ack_id, deadline):
                continue
            _check_ack_id(ack_id)
        self._wake_consumers()

    def expire_leases(self) -> None:
        """Put messages whose ack deadline has passed back, at the end of the backlog."""
        expired = self._leases.end_expired(self.clock())
        if expired:
            self._backlog.extend(lease.message for lease in expired)
            self._wake_consumers()

    def delete(self) -> None:
        """Mark as deleted and wake the consumers, which then see `deleted`."""
        self.deleted = True
        for consumer in self._consumers:
            consumer.wake()

    def stats(self) -> SubscriptionStats:
        """Return what the subscription holds now."""
        return SubscriptionStats(
            backlog=len(self._backlog) + len(self._repeats),
            outstanding=len(self._leases),
            acknowledged=self._acknowledged,
            streams=len(self._consumers),
        )

    def _wake_consumers(self) -> None:
        if not self._backlog and not self._repeats:
            return
        # Another consumer first each time: the first to wake takes what there is.
        self._consumers.rotate(-1)
        for consumer in self._consumers:
            consumer.wake()


def _check_ack_id(ack_id: str) -> None:
    if not _ACK_ID.fullmatch(ack_id):
        raise InvalidArgumentError(
            f"{ack_id[:80]!r} is not an ack id of this broker: pass one from a received message"
        )
