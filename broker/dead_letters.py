"""Dead-letter policies: how often a message was delivered, and what is forwarded when that was too often."""

from __future__ import annotations

from broker.leases import Message
from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto

# Attributes of a forwarded message, as https://cloud.google.com/pubsub/docs/handling-failures lists them.
_PREFIX = "CloudPubSubDeadLetterSource"


class DeliveryAttempts:
    """Counts the failed deliveries of each message of one subscription: nacks and ends of leases."""

    def __init__(self, max_attempts: int) -> None:
        self.max_attempts = max_attempts
        self._failures: dict[str, int] = {}

    def number(self, message: Message) -> int:
        """Return which attempt the next delivery is, from 1."""
        return 1 + self._failures.get(message.message_id, 0)

    def fail(self, message: Message) -> int:
        """Count a failed delivery; return how many there were."""
        failures = self._failures[message.message_id] = self.number(message)
        return failures

    def forget(self, message: Message) -> None:
        """Stop counting for a message that is done with."""
        self._failures.pop(message.message_id, None)


def dead_letter(message: Message, subscription: str, attempts: int) -> Proto:
    """Return the PubsubMessage to publish to the dead-letter topic.

    Args:
        message: The message.
        subscription: Full name of the subscription that could not deliver it.
        attempts: How often it was delivered.
    """
    forwarded = protos.PubsubMessage.FromString(message.payload)
    _, project, _, name = subscription.split("/")
    forwarded.attributes[f"{_PREFIX}DeliveryCount"] = str(attempts)
    forwarded.attributes[f"{_PREFIX}Subscription"] = name
    forwarded.attributes[f"{_PREFIX}SubscriptionProject"] = project
    forwarded.attributes[f"{_PREFIX}TopicPublishTime"] = forwarded.publish_time.ToJsonString()
    return forwarded
