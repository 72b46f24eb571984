"""One subscription: its backlog, its leases and the consumers that share it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count

from broker.checks import check_ack_id
from broker.dead_letters import DeliveryAttempts
from broker.filters import parse_filter
from broker.leases import Consumer, Lease, LeaseTable, Message
from broker.ordering import OrderedKeys
from broker.retention import MessageLog, divide
from broker.settings import duration_s
from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto

MAX_BATCH_MESSAGES = 1000
# Below the 4 MiB that a gRPC client takes by default, so that only a single larger message can exceed it.
MAX_BATCH_BYTES = 3_000_000


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


class Subscription:
    """Hands the messages of its topic to its consumers.

    Invariant: each message published since creation that passes the filter is in the backlog, waits behind
    another of its ordering key, is leased, acknowledged, forwarded as a dead letter, or past its retention.
    Not thread-safe: the server calls it from its event loop only.

    Args:
        settings: As `subscription_settings` made them.
        clock: Seconds since the epoch.
        uid: Tells the ack ids of two subscriptions apart, even of two with the same name.
        duplicate_next: Called for each message about to be delivered; whether to deliver it twice.
        forward: Called with a message and the number of its attempts; publishes it to the dead-letter
            topic, and returns False if there is none.

    Raises:
        InvalidArgumentError: The filter breaks the grammar.

    Attributes:
        name: Its full name.
        settings: The current ones; `configure` changes them.
        deleted: Whether it was deleted while consumers were attached.
    """

    def __init__(
        self,
        settings: Proto,
        clock: Callable[[], float],
        *,
        uid: int = 0,
        duplicate_next: Callable[[], bool] = lambda: False,
        forward: Callable[[Subscription, Message, int], bool] = lambda *_: False,
    ) -> None:
        self.name: str = settings.name
        self.deleted = False
        self._clock = clock
        self._uid = uid
        self._duplicate_next = duplicate_next
        self._forward = forward
        self._backlog: deque[Message] = deque()
        self._repeats: deque[Message] = deque()  # second copies, delivered next
        self._leases = LeaseTable()
        self._consumers: deque[Consumer] = deque()
        self._acknowledged = 0
        self._lease_numbers = count(1)
        self._active_at = clock()
        self._matches = parse_filter(settings.filter) if settings.filter else None
        self._ordered = OrderedKeys(self._leases) if settings.enable_message_ordering else None
        self._attempts: DeliveryAttempts | None = None
        self._retained: MessageLog | None = None
        self.configure(settings)

    def configure(self, settings: Proto) -> None:
        """Take new settings; name, filter and ordering are those of the beginning."""
        self.settings = settings
        self.ack_deadline_s: int = settings.ack_deadline_seconds
        self._retention_s = duration_s(settings.message_retention_duration)
        self._expires_after_s: float | None = None
        if settings.expiration_policy.HasField("ttl"):
            self._expires_after_s = duration_s(settings.expiration_policy.ttl)
        if not settings.HasField("dead_letter_policy"):
            self._attempts = None
        elif self._attempts is None:
            self._attempts = DeliveryAttempts(settings.dead_letter_policy.max_delivery_attempts)
        else:
            self._attempts.max_attempts = settings.dead_letter_policy.max_delivery_attempts
        if not settings.retain_acked_messages:
            self._retained = None
        elif self._retained is None:
            self._retained = MessageLog()
        # Most subscriptions have none of these, and need not look at each message that is done with.
        self._follows_messages = (
            self._ordered is not None or self._attempts is not None or self._retained is not None
        )

    @property
    def topic(self) -> str:
        """Full name of its topic."""
        return str(self.settings.topic)

    def enqueue(self, messages: Iterable[Message]) -> None:
        """Add newly published messages; the filter counts."""
        self._backlog.extend(messages if self._matches is None else filter(self._passes, messages))
        self._wake_consumers()

    def attach(self, consumer: Consumer) -> None:
        """Let `consumer` hear of new work until it is detached."""
        self._consumers.append(consumer)

    def detach(self, consumer: Consumer) -> None:
        """Forget `consumer`. What it holds stays leased until acknowledged or past its deadline."""
        self._consumers.remove(consumer)
        self._active_at = self._clock()

    def take(self, consumer: Consumer) -> list[Lease]:
        """Lease the next messages to `consumer`, as many as one response and its flow control allow."""
        leases: list[Lease] = []
        batch_bytes = 0
        ordered, attempts = self._ordered, self._attempts
        self._active_at = now = self._clock()
        deadline = now + consumer.ack_deadline_s
        retained_from = now - self._retention_s
        while (source := self._repeats or self._backlog) and len(leases) < MAX_BATCH_MESSAGES:
            message = source[0]
            if message.published_at < retained_from:
                self._discard(source.popleft())
                continue
            size = len(message.payload)
            if not consumer.has_room_for(size) or (leases and batch_bytes + size > MAX_BATCH_BYTES):
                break
            source.popleft()
            order = ordered if message.ordering_key else None
            if order is not None and order.must_wait(message, consumer):
                continue
            if source is self._backlog and self._duplicate_next():
                self._repeats.append(message)
            lease = Lease(f"{self._uid}:{next(self._lease_numbers)}", message, consumer)
            if order is not None:
                order.deliver(lease)
            if attempts is not None:
                lease.attempt = attempts.number(message)
            self._leases.grant(lease, deadline)
            leases.append(lease)
            batch_bytes += size
        return leases

    def give_back(self, leases: Sequence[Lease]) -> None:
        """Return messages that were taken and never sent; they are the next to be delivered."""
        for lease in reversed(leases):
            if self._leases.end(lease.ack_id) is not None:
                order = self._order_of(lease.message)
                self._put_first([lease.message] if order is None else order.take_back(lease))
        self._wake_consumers()

    def acknowledge(self, ack_ids: Iterable[str]) -> None:
        """Forget the messages. Ids whose lease has ended are ignored, as the service does.

        Raises:
            InvalidArgumentError: An id that no broker gave out; those before it are acknowledged.
        """
        self._active_at = self._clock()
        for ack_id in ack_ids:
            lease = self._leases.end(ack_id)
            if lease is None:
                check_ack_id(ack_id)
                continue
            self._acknowledged += 1
            if self._follows_messages:
                self._settle(lease)
        self._wake_consumers()

    def modify_deadline(self, ack_ids: Iterable[str], seconds: int) -> None:
        """Let leases end `seconds` from now; 0 gives the messages back at once. Otherwise as `acknowledge`.

        Messages given back go to the end of the backlog, so that one that fails forever starves no other;
        those with an order to keep go to its front.
        """
        self._active_at = now = self._clock()
        deadline = now + seconds
        for ack_id in ack_ids:
            if seconds == 0:
                lease = self._leases.end(ack_id)
                if lease is not None:
                    self._redeliver(lease)
                    continue
            elif self._leases.extend(ack_id, deadline):
                continue
            check_ack_id(ack_id)
        self._wake_consumers()

    def expire_leases(self) -> None:
        """Put messages whose ack deadline has passed back, as `modify_deadline` with 0 does."""
        expired = self._leases.end_expired(self._clock())
        if expired:
            for lease in expired:
                self._redeliver(lease)
            self._wake_consumers()

    def expire_messages(self) -> None:
        """Forget what is past its retention. What is behind a younger message goes later."""
        retained_from = self._clock() - self._retention_s
        while self._backlog and self._backlog[0].published_at < retained_from:
            self._discard(self._backlog.popleft())
        if self._retained is not None:
            self._retained.drop_before(retained_from)

    def has_expired(self) -> bool:
        """Return whether it was left alone for longer than its expiration policy allows."""
        if self._expires_after_s is None or self._consumers:
            return False
        return self._clock() - self._active_at > self._expires_after_s

    def seek(self, time: float, published: Iterable[Message]) -> None:
        """Acknowledge what was published before `time`, and deliver what was published since once more.

        Only what is still there can be: the backlog, what is out, and acknowledged messages that are kept.
        The backlog is then in the order of publishing. What is out stays out, except for messages with an
        order to keep.

        Args:
            time: Clock seconds.
            published: What the topic keeps.
        """
        self._active_at = now = self._clock()
        if self._ordered is not None:
            self._put_first(self._ordered.take_all_back())
        older = [lease for lease in self._leases if lease.message.published_at < time]
        for lease in older:
            self._leases.end(lease.ack_id)
        restored = [] if self._retained is None else self._retained.take_since(now - self._retention_s)
        kept = (*restored, *filter(self._passes, published))
        waiting = (*self._repeats, *self._backlog, *(lease.message for lease in older))
        out = {lease.message.message_id for lease in self._leases}
        done, unacknowledged = divide(time, (*waiting, *kept), out)
        self._repeats.clear()
        self._backlog = deque(unacknowledged)
        for message in done:
            self._done(message)
        self._wake_consumers()

    def delete(self) -> None:
        """Mark as deleted and wake the consumers, which then see `deleted`."""
        self.deleted = True
        for consumer in self._consumers:
            consumer.wake()

    def stats(self) -> SubscriptionStats:
        """Return what the subscription holds now."""
        waiting = 0 if self._ordered is None else self._ordered.waiting
        return SubscriptionStats(
            backlog=len(self._backlog) + len(self._repeats) + waiting,
            outstanding=len(self._leases),
            acknowledged=self._acknowledged,
            streams=len(self._consumers),
        )

    def _passes(self, message: Message) -> bool:
        # Parsed here: where it is published, every subscription without a filter would pay for it.
        if self._matches is None:
            return True
        return self._matches(protos.PubsubMessage.FromString(message.payload).attributes)

    def _redeliver(self, lease: Lease) -> None:
        """Put the message of a lease that ended without an acknowledgement back, or forward it."""
        message = lease.message
        failures = 0 if self._attempts is None else self._attempts.fail(message)
        order = self._order_of(message)
        if order is not None and not order.is_out(lease):
            return  # it went back with one before it
        if (
            self._attempts is not None
            and failures >= self._attempts.max_attempts
            and self._forward(self, message, failures)
        ):
            self._settle(lease)
        elif order is not None:
            self._put_first(order.take_back(lease))
        else:
            self._backlog.append(message)

    def _settle(self, lease: Lease) -> None:
        """Do what follows an acknowledgement."""
        order = self._order_of(lease.message)
        if order is None:
            self._done(lease.message)
            return
        done, released = order.acknowledge(lease)
        for message in done:
            self._done(message)
        self._put_first(released)

    def _done(self, message: Message) -> None:
        if self._retained is not None:
            self._retained.add(message)
        self._discard(message)

    def _discard(self, message: Message) -> None:
        if self._attempts is not None:
            self._attempts.forget(message)

    def _order_of(self, message: Message) -> OrderedKeys | None:
        return self._ordered if message.ordering_key else None

    def _put_first(self, messages: Sequence[Message]) -> None:
        self._backlog.extendleft(reversed(messages))

    def _wake_consumers(self) -> None:
        if not self._backlog and not self._repeats:
            return
        # Another consumer first each time: the first to wake takes what there is.
        self._consumers.rotate(-1)
        for consumer in self._consumers:
            consumer.wake()
