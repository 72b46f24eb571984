"""The methods of google.pubsub.v1.Publisher."""

from __future__ import annotations

from broker.checks import check_fields, check_publish
from broker.leases import Message
from broker.paging import page_of
from broker.state import BrokerState, Topic
from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto

_TOPIC_FIELDS = frozenset({"name", "labels"})


class Publisher:
    """Each method takes a request and returns its response; they raise the errors of `broker.errors`."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    async def create_topic(self, request: Proto) -> Proto:
        """Create a topic; refuse fields that this broker does not honour."""
        check_fields(request, _TOPIC_FIELDS)
        return _topic_proto(self._state.create_topic(request.name, request.labels))

    async def get_topic(self, request: Proto) -> Proto:
        """Return one topic."""
        return _topic_proto(self._state.topic(request.topic))

    async def list_topics(self, request: Proto) -> Proto:
        """Return a page of a project's topics, by name."""
        topics = {topic.name: topic for topic in self._state.topics(request.project)}
        page, token = page_of(list(topics), request.page_size, request.page_token)
        return protos.ListTopicsResponse(
            topics=[_topic_proto(topics[name]) for name in page], next_page_token=token
        )

    async def list_topic_subscriptions(self, request: Proto) -> Proto:
        """Return a page of the names of a topic's subscriptions."""
        found = sorted(self._state.topic(request.topic).subscriptions)
        page, token = page_of(found, request.page_size, request.page_token)
        return protos.ListTopicSubscriptionsResponse(subscriptions=page, next_page_token=token)

    async def delete_topic(self, request: Proto) -> Proto:
        """Delete a topic; its subscriptions stay."""
        self._state.delete_topic(request.topic)
        return protos.Empty()

    async def publish(self, request: Proto) -> Proto:
        """Give the messages an id and a publish time, and hand them to the topic's subscriptions."""
        topic = self._state.topic(request.topic)
        check_publish(request)
        seconds, fraction = divmod(self._state.clock(), 1)
        messages = []
        for message in request.messages:
            message.message_id = self._state.next_message_id()
            message.publish_time.seconds = int(seconds)
            message.publish_time.nanos = int(fraction * 1e9)
            # Kept as bytes: a message object would keep its whole request in memory.
            messages.append(Message(message.message_id, message.SerializeToString()))
        topic.publish(messages)
        return protos.PublishResponse(message_ids=[message.message_id for message in messages])


def _topic_proto(topic: Topic) -> Proto:
    return protos.Topic(name=topic.name, labels=topic.labels)
