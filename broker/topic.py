"""One topic: its subscriptions, and the messages that it keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from broker.leases import Message
from broker.retention import MessageLog
from broker.settings import duration_s
from broker.subscription import Subscription
from pipeline.pubsub.protos import Proto


class Topic:
    """A topic and the subscriptions that get a copy of each message.

    Args:
        settings: As `topic_settings` made them.
        clock: Seconds since the epoch.

    Attributes:
        name: Its full name.
        settings: The current ones; `configure` changes them.
        subscriptions: By name.
    """

    def __init__(self, settings: Proto, clock: Callable[[], float]) -> None:
        self.name: str = settings.name
        self.subscriptions: dict[str, Subscription] = {}
        self._clock = clock
        self._retained: MessageLog | None = None
        self.configure(settings)

    def configure(self, settings: Proto) -> None:
        """Take new settings."""
        self.settings = settings
        if self.retention_s is None:
            self._retained = None
        elif self._retained is None:
            self._retained = MessageLog()

    @property
    def retention_s(self) -> float | None:
        """How long it keeps messages, in seconds; None if it does not."""
        if not self.settings.HasField("message_retention_duration"):
            return None
        return duration_s(self.settings.message_retention_duration)

    def publish(self, messages: Sequence[Message]) -> None:
        """Hand the messages to every subscription. Without one they are gone, unless the topic keeps them."""
        if self._retained is not None:
            for message in messages:
                self._retained.add(message)
        for subscription in self.subscriptions.values():
            subscription.enqueue(messages)

    def expire_messages(self) -> None:
        """Forget what was kept for long enough."""
        if self._retained is not None and self.retention_s is not None:
            self._retained.drop_before(self._clock() - self.retention_s)

    def retained_since(self, time: float) -> list[Message]:
        """Return what it keeps of the messages published at `time` (clock seconds) or later."""
        self.expire_messages()
        return [] if self._retained is None else self._retained.since(time)
