"""All topics and subscriptions of one broker, in memory."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from itertools import count

from broker import names
from broker.dead_letters import dead_letter
from broker.errors import AlreadyExistsError, NotFoundError
from broker.leases import Message
from broker.settings import subscription_settings, topic_settings, updated
from broker.subscription import Subscription
from broker.topic import Topic
from pipeline.pubsub.protos import Proto

_LOGGER = logging.getLogger(__name__)


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
        self._warned_of: set[str] = set()
        # Time-based, so that ids differ from those of an earlier run, which may be stored somewhere.
        start = int(clock() * 1e6)
        self._message_numbers = count(start)
        self._uids = count(start)

    def create_topic(self, request: Proto) -> Topic:
        """Create the topic that a Topic describes, and return it.

        Raises:
            InvalidArgumentError: The name is malformed, or a setting.
            UnsupportedError: This broker does not do what a setting asks for.
            AlreadyExistsError: The name is in use.
        """
        settings = topic_settings(request)
        name = settings.name
        names.check_topic(name)
        if name in self._topics:
            raise AlreadyExistsError(f"topic {name!r} already exists")
        self._warn_of_project(name)
        topic = self._topics[name] = Topic(settings, self.clock)
        return topic

    def update_topic(self, request: Proto) -> Topic:
        """Do what an UpdateTopicRequest asks for, and return the topic. Raises as `create_topic`."""
        topic = self.topic(request.topic.name)
        topic.configure(topic_settings(updated(topic.settings, request.topic, request.update_mask)))
        return topic

    def publish(self, topic: Topic, messages: Iterable[Proto]) -> list[str]:
        """Give each PubsubMessage an id and a publish time, and hand them to a topic; return the ids."""
        now = self.clock()
        whole, fraction = divmod(now, 1)
        stamp_s, stamp_ns = int(whole), int(fraction * 1e9)
        stamped = []
        for message in messages:
            message.message_id = message_id = str(next(self._message_numbers))
            message.publish_time.seconds = stamp_s
            message.publish_time.nanos = stamp_ns
            # Kept as bytes: a message object would keep its whole request in memory.
            stamped.append(Message(message_id, message.SerializeToString(), now, message.ordering_key))
        topic.publish(stamped)
        return [message.message_id for message in stamped]

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
            subscription.settings.topic = names.DELETED_TOPIC
        del self._topics[name]

    def create_subscription(self, request: Proto) -> Subscription:
        """Create the subscription that a Subscription describes. Raises as `create_topic` and `topic` do."""
        settings = subscription_settings(request)
        name = settings.name
        names.check_subscription(name)
        topic = self.topic(settings.topic)
        self._check_dead_letter_topic(settings)
        if name in self._subscriptions:
            raise AlreadyExistsError(f"subscription {name!r} already exists")
        self._warn_of_project(name)
        subscription = Subscription(
            settings,
            self.clock,
            uid=next(self._uids),
            duplicate_next=self._duplicate_next,
            forward=self._forward,
        )
        self._subscriptions[name] = topic.subscriptions[name] = subscription
        return subscription

    def update_subscription(self, request: Proto) -> Subscription:
        """Do what an UpdateSubscriptionRequest asks for. Raises as `create_subscription` does."""
        subscription = self.subscription(request.subscription.name)
        settings = subscription_settings(
            updated(subscription.settings, request.subscription, request.update_mask)
        )
        if "dead_letter_policy" in request.update_mask.paths:
            self._check_dead_letter_topic(settings)
        subscription.configure(settings)
        return subscription

    def topic_of(self, subscription: Subscription) -> Topic | None:
        """Return the topic of a subscription; None if it was deleted."""
        return self._topics.get(subscription.topic)

    def seek(self, name: str, time: float) -> None:
        """Let a subscription go on at `time` (seconds since the epoch). Raises as `subscription` does."""
        subscription = self.subscription(name)
        topic = self.topic_of(subscription)
        subscription.seek(time, [] if topic is None else topic.retained_since(time))

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

    def expire(self) -> None:
        """Redeliver what is past its ack deadline, forget what is past its retention or expiration."""
        for topic in self._topics.values():
            topic.expire_messages()
        expired = []
        for subscription in self._subscriptions.values():
            subscription.expire_leases()
            subscription.expire_messages()
            if subscription.has_expired():
                expired.append(subscription.name)
        for name in expired:
            self.delete_subscription(name)

    def _forward(self, subscription: Subscription, message: Message, attempts: int) -> bool:
        topic = self._topics.get(subscription.settings.dead_letter_policy.dead_letter_topic)
        if topic is None:
            return False
        self.publish(topic, [dead_letter(message, subscription.name, attempts)])
        return True

    def _check_dead_letter_topic(self, settings: Proto) -> None:
        if settings.HasField("dead_letter_policy"):
            self.topic(settings.dead_letter_policy.dead_letter_topic)

    def _warn_of_project(self, name: str) -> None:
        project = name.split("/")[1]
        if not names.is_project_id(project) and project not in self._warned_of:
            self._warned_of.add(project)
            _LOGGER.warning(
                "project id %r works here, but no project of the real Pub/Sub has such an id: 6 to 30 "
                "lower-case letters, digits and hyphens, a letter first and no hyphen last",
                project,
            )


def _of_project(all_names: Iterable[str], project: str) -> list[str]:
    return sorted(name for name in all_names if name.startswith(f"{project}/"))
