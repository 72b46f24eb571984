"""Messages that are kept after their delivery, to be delivered again when a subscription seeks back."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from broker.leases import Message

MAX_RETAINED_BYTES = 128 * 1024 * 1024
"""Most that one log keeps: of a topic with a message_retention_duration, of a subscription with
retain_acked_messages. The oldest go first. The service has no such limit; it is not one machine's memory."""

# What a message takes beside its payload: the object, its id, its place in the log.
_OVERHEAD_BYTES = 300


class MessageLog:
    """Messages by id, in the order they were added; bounded by bytes here, and by age by its owner."""

    def __init__(self, max_bytes: int = MAX_RETAINED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._messages: dict[str, Message] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._messages)

    def add(self, message: Message) -> None:
        """Keep a message; one that is there already stays where it is."""
        if message.message_id in self._messages:
            return
        self._messages[message.message_id] = message
        self._bytes += _size(message)
        while self._bytes > self._max_bytes:
            self._drop_first()

    def drop_before(self, time: float) -> None:
        """Forget the first messages up to one that was published at `time` (clock seconds) or later."""
        while self._messages and next(iter(self._messages.values())).published_at < time:
            self._drop_first()

    def since(self, time: float) -> list[Message]:
        """Return the messages published at `time` (clock seconds) or later."""
        return [message for message in self._messages.values() if message.published_at >= time]

    def take_since(self, time: float) -> list[Message]:
        """Forget all messages; return those published at `time` (clock seconds) or later."""
        messages = self.since(time)
        self._messages.clear()
        self._bytes = 0
        return messages

    def _drop_first(self) -> None:
        self._bytes -= _size(self._messages.pop(next(iter(self._messages))))


def divide(
    time: float, messages: Iterable[Message], out: Collection[str]
) -> tuple[list[Message], list[Message]]:
    """Divide messages at the time that a subscription seeks to.

    Args:
        time: Clock seconds.
        messages: What waits and what is kept; a message may be there twice.
        out: Ids of messages that are delivered and unacknowledged, which stay so.

    Returns:
        Those published before `time`, and those to deliver, each in the order of publishing.
    """
    by_number = {int(message.message_id): message for message in messages if message.message_id not in out}
    ordered = [by_number[number] for number in sorted(by_number)]
    done = [message for message in ordered if message.published_at < time]
    return done, [message for message in ordered if message.published_at >= time]


def _size(message: Message) -> int:
    return len(message.payload) + _OVERHEAD_BYTES
