"""The methods of google.pubsub.v1.Subscriber with one request and one response."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from google.pubsub_v1 import types

from broker.checks import check_deadline_extension
from broker.errors import InvalidArgumentError, NotFoundError, UnsupportedError
from broker.leases import Consumer, Lease
from broker.paging import page_of
from broker.state import BrokerState
from broker.subscription import Subscription
from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto


class Subscriber:
    """Each method takes a request and returns its response; they raise the errors of `broker.errors`.

    Args:
        state: The topics and subscriptions.
        pull_wait_s: How many seconds a Pull waits for a first message before it answers with none.
    """

    def __init__(self, state: BrokerState, pull_wait_s: float) -> None:
        self._state = state
        self._pull_wait_s = pull_wait_s

    async def create_subscription(self, request: Proto) -> Proto:
        """Create a subscription; refuse settings that this broker does not honour."""
        return self._described(self._state.create_subscription(request))

    async def update_subscription(self, request: Proto) -> Proto:
        """Change the settings that the update mask names."""
        return self._described(self._state.update_subscription(request))

    async def get_subscription(self, request: Proto) -> Proto:
        """Return one subscription."""
        return self._described(self._state.subscription(request.subscription))

    async def list_subscriptions(self, request: Proto) -> Proto:
        """Return a page of a project's subscriptions, by name."""
        found = {
            subscription.name: subscription for subscription in self._state.subscriptions(request.project)
        }
        page, token = page_of(list(found), request.page_size, request.page_token)
        return protos.ListSubscriptionsResponse(
            subscriptions=[self._described(found[name]) for name in page], next_page_token=token
        )

    async def delete_subscription(self, request: Proto) -> Proto:
        """Delete a subscription with its messages, and end its streams."""
        self._state.delete_subscription(request.subscription)
        return protos.Empty()

    async def acknowledge(self, request: Proto) -> Proto:
        """End the leases of messages for good; ids whose lease has ended are ignored."""
        subscription = self._state.subscription(request.subscription)
        _check_has_ack_ids(request.ack_ids)
        subscription.acknowledge(request.ack_ids)
        return protos.Empty()

    async def modify_ack_deadline(self, request: Proto) -> Proto:
        """Extend leases, or give messages back where the new deadline is 0."""
        subscription = self._state.subscription(request.subscription)
        _check_has_ack_ids(request.ack_ids)
        check_deadline_extension(request.ack_deadline_seconds, "ack_deadline_seconds")
        subscription.modify_deadline(request.ack_ids, request.ack_deadline_seconds)
        return protos.Empty()

    async def pull(self, request: Proto) -> Proto:
        """Deliver as soon as there is a message; answer with none after the wait, or at once if asked to."""
        subscription = self._state.subscription(request.subscription)
        if request.max_messages < 1:
            raise InvalidArgumentError(f"max_messages must be at least 1; it is {request.max_messages}")
        arrived = asyncio.Event()
        consumer = Consumer(arrived.set, subscription.ack_deadline_s, max_messages=request.max_messages)
        leases = subscription.take(consumer)
        if not leases and not request.return_immediately:
            leases = await self._wait_and_take(subscription, consumer, arrived)
        return protos.PullResponse(received_messages=[received_message(lease) for lease in leases])

    async def seek(self, request: Proto) -> Proto:
        """Go on at a time; seeking to a snapshot is refused."""
        target = request.WhichOneof("target")
        if target == "snapshot":
            raise UnsupportedError(
                "SeekRequest.snapshot is not supported by the embedded broker, which has no snapshots: seek "
                "to a time, or use the real Pub/Sub"
            )
        if target is None:
            raise InvalidArgumentError("a Seek request must say where to: set its time")
        self._state.seek(request.subscription, request.time.seconds + request.time.nanos / 1e9)
        return protos.SeekResponse()

    def _described(self, subscription: Subscription) -> Proto:
        """Return a subscription's settings, with what only the broker fills in."""
        found = protos.Subscription()
        found.CopyFrom(subscription.settings)
        found.state = types.Subscription.State.ACTIVE
        topic = self._state.topic_of(subscription)
        if topic is not None and topic.retention_s is not None:
            found.topic_message_retention_duration.CopyFrom(topic.settings.message_retention_duration)
        return found

    async def _wait_and_take(
        self, subscription: Subscription, consumer: Consumer, arrived: asyncio.Event
    ) -> list[Lease]:
        subscription.attach(consumer)
        try:
            async with asyncio.timeout(self._pull_wait_s):
                while not (leases := subscription.take(consumer)):
                    await arrived.wait()
                    arrived.clear()
                    check_not_deleted(subscription)
                return leases
        except TimeoutError:
            return []
        finally:
            subscription.detach(consumer)


def check_not_deleted(subscription: Subscription) -> None:
    """Raise NotFoundError if the subscription was deleted while a call on it was under way."""
    if subscription.deleted:
        raise NotFoundError(f"subscription {subscription.name!r} was deleted")


def received_message(lease: Lease) -> Proto:
    """Make the ReceivedMessage of one delivery."""
    received = protos.ReceivedMessage(ack_id=lease.ack_id)
    received.message.MergeFromString(lease.message.payload)
    if lease.attempt:
        received.delivery_attempt = lease.attempt
    return received


def _check_has_ack_ids(ack_ids: Sequence[str]) -> None:
    if not ack_ids:
        raise InvalidArgumentError("ack_ids must name at least one message; it is empty")
