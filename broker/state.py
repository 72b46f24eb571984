"""All topics and subscriptions of one broker, in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count

from broker import names
from broker.errors import AlreadyExistsError, NotFoundError
from broker.leases import Message
from broker.subscription import Subscription


@dataclass(eq=False)
class Topic:
    """A topic and the subscriptions that get a copy of each message."""

    name: str
    labels: Mapping[str, str]
    subscriptions: dict[str, Subscription] = field(default_factory=dict)

    def publish(self, messages: Sequence[Message]) -> None:
        """Hand the messages to every subscription. Without one they are gone, as in the service."""
        for subscription in self.subscriptions.values():
            subscription.enqueue(messages)


class BrokerState:
    """Finds, creates and deletes topics and subscriptions by full name.

    Not thread-safe: the server calls it from its event loop only. `clock` gives seconds since the epoch.
    """

    def __init__(
        self, clock: Callable[[], float], duplicate_next: Callable[[], bool] = lambda: False
    ) -> None:
        self.clock = clock
        self._duplicate_next = duplicate_next
        self._topics: dict[str, Topic] = {}
        self._subscriptions: dict[str, Subscription] = {}
        # Time-based, so that ids differ from those of an earlier run, which may be stored somewhere.
        start = int(clock() * 1e6)
        self._message_numbers = count(start)
        self._uids = count(start)

    def next_message_id(self) -> str:
        """Return an id that no message of this broker has had."""
        return str(next(self._message_numbers))

    def create_topic(self, name: str, labels: Mapping[str, str]) -> Topic:
        """Create a topic and return it.

        Raises:
            InvalidArgumentError: The name is malformed.
            AlreadyExistsError: The name is in use.
        """
        names.check_topic(name)
        if name in self._topics:
            raise AlreadyExistsError(f"topic {name!r} already exists")
        topic = self._topics[name] = Topic(name, dict(labels))
        return topic

    def topic(self, name: str) -> Topic:
        """Return the topic of a name.

        Raises:
            InvalidArgumentError: The name is malformed.
            NotFoundError: There is no such topic.
        """
        topic = self._topics.get(name)
        if topic is None:
            names.check_topic(name)
            raise NotFoundError(f"topic {name!r} does not exist: create it first (CreateTopic)")
        return topic

    def topics(self, project: str) -> list[Topic]:
        """Return the topics of `projects/PROJECT`, by name.

        Raises:
            InvalidArgumentError: The name of the project is malformed.
        """
        names.check_project(project)
        return [self._topics[name] for name in _of_project(self._topics, project)]

    def delete_topic(self, name: str) -> None:
        """Delete a topic. Its subscriptions keep their backlog, and get no more. Raises as `topic` does."""
        for subscription in self.topic(name).subscriptions.values():
            subscription.topic = names.DELETED_TOPIC
        del self._topics[name]

    def create_subscription(
        self, name: str, topic_name: str, ack_deadline_s: int, labels: Mapping[str, str]
    ) -> Subscription:
        """Create a subscription and return it. Raises as `create_topic` and `topic` do."""
        names.check_subscription(name)
        topic = self.topic(topic_name)
        if name in self._subscriptions:
            raise AlreadyExistsError(f"subscription {name!r} already exists")
        subscription = Subscription(
            name=name,
            topic=topic_name,
            ack_deadline_s=ack_deadline_s,
            clock=self.clock,
            uid=next(self._uids),
            labels=dict(labels),
            duplicate_next=self._duplicate_next,
        )
        self._subscriptions[name] = topic.subscriptions[name] = subscription
        return subscription

    def subscription(self, name: str) -> Subscription:
        """Return the subscription of a name.

        Raises:
            InvalidArgumentError: The name is malformed.
            NotFoundError: There is no such subscription.
        """
        subscription = self._subscriptions.get(name)
        if subscription is None:
            names.check_subscription(name)
            raise NotFoundError(f"subscription {name!r} does not exist: create it first (CreateSubscription)")
        return subscription

    def subscriptions(self, project: str) -> list[Subscription]:
        """Return the subscriptions of `projects/PROJECT`, by name. Raises as `topics` does."""
        names.check_project(project)
        return [self._subscriptions[name] for name in _of_project(self._subscriptions, project)]

    def delete_subscription(self, name: str) -> None:
        """Delete a subscription with its messages, and end its streams. Raises as `subscription` does."""
        subscription = self.subscription(name)
        del self._subscriptions[name]
        if subscription.topic != names.DELETED_TOPIC:
            del self._topics[subscription.topic].subscriptions[name]
        subscription.delete()

    def expire_leases(self) -> None:
        """Redeliver what is past its ack deadline, in all subscriptions."""
        for subscription in self._subscriptions.values():
            subscription.expire_leases()


def _of_project(all_names: Iterable[str], project: str) -> list[str]:
    return sorted(name for name in all_names if name.startswith(f"{project}/"))
