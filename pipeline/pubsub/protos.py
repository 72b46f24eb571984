"""The client library's message types, as plain protobuf classes.

The library exposes proto-plus wrappers, which cost tens of microseconds a message; the protobuf class beneath
each has the same wire format without that.
"""

from typing import Any, TypeAlias

from google.protobuf import empty_pb2
from google.pubsub_v1 import types

# An instance of one of the classes below, or one of the classes: protobuf makes them at run time, so no
# static type names them.
Proto: TypeAlias = Any
ProtoClass: TypeAlias = Any


def _raw(wrapper: Any) -> ProtoClass:
    return type(wrapper.pb(wrapper()))


AcknowledgeRequest = _raw(types.AcknowledgeRequest)
DeleteSubscriptionRequest = _raw(types.DeleteSubscriptionRequest)
DeleteTopicRequest = _raw(types.DeleteTopicRequest)
Empty: ProtoClass = empty_pb2.Empty
GetSubscriptionRequest = _raw(types.GetSubscriptionRequest)
GetTopicRequest = _raw(types.GetTopicRequest)
ListSubscriptionsRequest = _raw(types.ListSubscriptionsRequest)
ListSubscriptionsResponse = _raw(types.ListSubscriptionsResponse)
ListTopicsRequest = _raw(types.ListTopicsRequest)
ListTopicsResponse = _raw(types.ListTopicsResponse)
ListTopicSubscriptionsRequest = _raw(types.ListTopicSubscriptionsRequest)
ListTopicSubscriptionsResponse = _raw(types.ListTopicSubscriptionsResponse)
ModifyAckDeadlineRequest = _raw(types.ModifyAckDeadlineRequest)
PublishRequest = _raw(types.PublishRequest)
PublishResponse = _raw(types.PublishResponse)
PubsubMessage = _raw(types.PubsubMessage)
PullRequest = _raw(types.PullRequest)
PullResponse = _raw(types.PullResponse)
ReceivedMessage = _raw(types.ReceivedMessage)
StreamingPullRequest = _raw(types.StreamingPullRequest)
StreamingPullResponse = _raw(types.StreamingPullResponse)
Subscription = _raw(types.Subscription)
Topic = _raw(types.Topic)
