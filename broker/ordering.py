"""Order within an ordering key: what of a key is out, and what waits behind it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from broker.leases import Consumer, Lease, LeaseTable, Message


@dataclass(eq=False, slots=True)
class _Key:
    """Messages of one key.

    Attributes:
        holder: The consumer that has all that is out.
        out: Deliveries by ack id, in order, up to the first that all before it are acknowledged.
        acknowledged: Ack ids among `out` that wait for one before them.
        waiting: What another consumer came across meanwhile, in order.
    """

    holder: Consumer
    out: dict[str, Lease] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    waiting: deque[Message] = field(default_factory=deque)


class OrderedKeys:
    """Keeps the messages of each ordering key in the order in which they were published.

    What is out of a key is out to one consumer. When a message goes back, so do those of its key that were
    delivered after it, acknowledged or not, as the service documents.

    Args:
        leases: Where the leases of what goes back are ended.
    """

    def __init__(self, leases: LeaseTable) -> None:
        self._leases = leases
        self._keys: dict[str, _Key] = {}

    @property
    def waiting(self) -> int:
        """Messages that wait behind others of their key."""
        return sum(len(key.waiting) for key in self._keys.values())

    def must_wait(self, message: Message, consumer: Consumer) -> bool:
        """Keep a message for later and return True, if `consumer` may not have it now."""
        key = self._keys.get(message.ordering_key)
        if key is None or (key.holder is consumer and not key.waiting):
            return False
        key.waiting.append(message)
        return True

    def deliver(self, lease: Lease) -> None:
        """Note a delivery, for which `must_wait` returned False."""
        key = self._keys.setdefault(lease.message.ordering_key, _Key(lease.consumer))
        key.out[lease.ack_id] = lease

    def is_out(self, lease: Lease) -> bool:
        """Return whether a delivery neither went back nor was acknowledged with all before it."""
        key = self._keys.get(lease.message.ordering_key)
        return key is not None and lease.ack_id in key.out

    def acknowledge(self, lease: Lease) -> tuple[list[Message], list[Message]]:
        """Note an acknowledgement.

        Returns:
            The messages that are done with, as all before them are, too; and those that need wait no
            longer, in order, for the front of the backlog.
        """
        key = self._keys[lease.message.ordering_key]
        key.acknowledged.add(lease.ack_id)
        done = []
        for ack_id, each in list(key.out.items()):
            if ack_id not in key.acknowledged:
                break
            del key.out[ack_id]
            key.acknowledged.remove(ack_id)
            done.append(each.message)
        return done, self._release(lease.message.ordering_key)

    def take_back(self, lease: Lease) -> list[Message]:
        """Take back a delivery and all of its key that came after it, and end their leases.

        Returns:
            For the front of the backlog, their messages and those that waited.
        """
        key = self._keys[lease.message.ordering_key]
        ack_ids = list(key.out)
        back = ack_ids[ack_ids.index(lease.ack_id) :]
        messages = [key.out.pop(ack_id).message for ack_id in back] + list(key.waiting)
        key.waiting.clear()
        key.acknowledged.difference_update(back)
        for ack_id in back:
            self._leases.end(ack_id)
        if not key.out:
            del self._keys[lease.message.ordering_key]
        return messages

    def take_all_back(self) -> list[Message]:
        """Take back everything, as `take_back` does for one key."""
        first = [next(iter(key.out.values())) for key in self._keys.values()]
        return [message for lease in first for message in self.take_back(lease)]

    def _release(self, ordering_key: str) -> list[Message]:
        key = self._keys[ordering_key]
        if key.out:
            return []
        del self._keys[ordering_key]
        return list(key.waiting)
