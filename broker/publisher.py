"""The methods of google.pubsub.v1.Publisher."""

from __future__ import annotations

from google.pubsub_v1 import types

from broker.checks import check_publish
from broker.paging import page_of
from broker.state import BrokerState
from broker.topic import Topic
from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto


class Publisher:
    """Each method takes a request and returns its response; they raise the errors of `broker.errors`."""

    def __init__(self, state: BrokerState) -> None:
        self._state = state

    async def create_topic(self, request: Proto) -> Proto:
        """Create a topic; refuse settings that this broker does not honour."""
        return _topic_proto(self._state.create_topic(request))

    async def update_topic(self, request: Proto) -> Proto:
        """Change the settings that the update mask names."""
        return _topic_proto(self._state.update_topic(request))

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
        return protos.PublishResponse(message_ids=self._state.publish(topic, request.messages))


def _topic_proto(topic: Topic) -> Proto:
    found = protos.Topic()
    found.CopyFrom(topic.settings)
    found.state = types.Topic.State.ACTIVE
    return found
