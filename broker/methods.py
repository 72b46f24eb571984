"""The methods with one request and one response: what answers each, and where injected faults strike."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from broker.errors import InjectedError
from broker.faults import Faults
from broker.publisher import Publisher
from broker.state import BrokerState
from broker.subscriber import Subscriber
from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto, ProtoClass

Call: TypeAlias = Callable[[Proto], Awaitable[Proto]]
"""Takes a request and returns its response; raises the errors of `broker.errors`."""

PUBLISHER = "google.pubsub.v1.Publisher"
SUBSCRIBER = "google.pubsub.v1.Subscriber"

REQUESTS: Mapping[str, Mapping[str, ProtoClass]] = {
    PUBLISHER: {
        "CreateTopic": protos.Topic,
        "UpdateTopic": protos.UpdateTopicRequest,
        "GetTopic": protos.GetTopicRequest,
        "ListTopics": protos.ListTopicsRequest,
        "ListTopicSubscriptions": protos.ListTopicSubscriptionsRequest,
        "DeleteTopic": protos.DeleteTopicRequest,
        "Publish": protos.PublishRequest,
    },
    SUBSCRIBER: {
        "CreateSubscription": protos.Subscription,
        "UpdateSubscription": protos.UpdateSubscriptionRequest,
        "GetSubscription": protos.GetSubscriptionRequest,
        "ListSubscriptions": protos.ListSubscriptionsRequest,
        "DeleteSubscription": protos.DeleteSubscriptionRequest,
        "Acknowledge": protos.AcknowledgeRequest,
        "ModifyAckDeadline": protos.ModifyAckDeadlineRequest,
        "Pull": protos.PullRequest,
        "Seek": protos.SeekRequest,
    },
}
"""The requests of each service, by method."""

METHODS = frozenset(name for requests in REQUESTS.values() for name in requests) | {"StreamingPull"}
"""The methods that are served, without their service's name."""


@dataclass(frozen=True)
class Method:
    """One method.

    Attributes:
        service: Full name of its service.
        name: Its own.
        request_class: What it takes.
        call: What it does, with the faults that were asked for.
    """

    service: str
    name: str
    request_class: ProtoClass
    call: Call


def make_methods(state: BrokerState, faults: Faults, pull_wait_s: float) -> dict[str, Method]:
    """Return all methods by name; a Pull on an empty subscription waits for `pull_wait_s` seconds."""
    publisher = Publisher(state)
    subscriber = Subscriber(state, pull_wait_s)
    answers: dict[str, Call] = {
        "CreateTopic": publisher.create_topic,
        "UpdateTopic": publisher.update_topic,
        "GetTopic": publisher.get_topic,
        "ListTopics": publisher.list_topics,
        "ListTopicSubscriptions": publisher.list_topic_subscriptions,
        "DeleteTopic": publisher.delete_topic,
        "Publish": publisher.publish,
        "CreateSubscription": subscriber.create_subscription,
        "UpdateSubscription": subscriber.update_subscription,
        "GetSubscription": subscriber.get_subscription,
        "ListSubscriptions": subscriber.list_subscriptions,
        "DeleteSubscription": subscriber.delete_subscription,
        "Acknowledge": subscriber.acknowledge,
        "ModifyAckDeadline": subscriber.modify_ack_deadline,
        "Pull": subscriber.pull,
        "Seek": subscriber.seek,
    }
    return {
        name: Method(service, name, request_class, _with_faults(name, answers[name], faults))
        for service, requests in REQUESTS.items()
        for name, request_class in requests.items()
    }


def _with_faults(name: str, answer: Call, faults: Faults) -> Call:
    async def call(request: Proto) -> Proto:
        failure = faults.take_failure(name)
        if delay_s := faults.take_delay(name):
            await asyncio.sleep(delay_s)
        if failure is None:
            return await answer(request)
        if failure.applied:
            await answer(request)
        raise InjectedError(failure.code, failure.message)

    return call
