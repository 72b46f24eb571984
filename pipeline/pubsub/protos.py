"""The client library's message types, as plain protobuf classes.

The library exposes proto-plus wrappers, which cost tens of microseconds a message; the protobuf class beneath
each has the same wire format without that.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from google.protobuf import empty_pb2
from google.pubsub_v1 import types

# An instance of one of the classes below, or one of the classes: protobuf makes them at run time, so no
# static type names them.
Proto: TypeAlias = Any
ProtoClass: TypeAlias = Any

AcknowledgeRequest: ProtoClass = types.AcknowledgeRequest.pb()
DeleteSubscriptionRequest: ProtoClass = types.DeleteSubscriptionRequest.pb()
DeleteTopicRequest: ProtoClass = types.DeleteTopicRequest.pb()
Empty: ProtoClass = empty_pb2.Empty
GetSubscriptionRequest: ProtoClass = types.GetSubscriptionRequest.pb()
GetTopicRequest: ProtoClass = types.GetTopicRequest.pb()
ListSubscriptionsRequest: ProtoClass = types.ListSubscriptionsRequest.pb()
ListSubscriptionsResponse: ProtoClass = types.ListSubscriptionsResponse.pb()
ListTopicsRequest: ProtoClass = types.ListTopicsRequest.pb()
ListTopicsResponse: ProtoClass = types.ListTopicsResponse.pb()
ListTopicSubscriptionsRequest: ProtoClass = types.ListTopicSubscriptionsRequest.pb()
ListTopicSubscriptionsResponse: ProtoClass = types.ListTopicSubscriptionsResponse.pb()
ModifyAckDeadlineRequest: ProtoClass = types.ModifyAckDeadlineRequest.pb()
PublishRequest: ProtoClass = types.PublishRequest.pb()
PublishResponse: ProtoClass = types.PublishResponse.pb()
PubsubMessage: ProtoClass = types.PubsubMessage.pb()
PullRequest: ProtoClass = types.PullRequest.pb()
PullResponse: ProtoClass = types.PullResponse.pb()
ReceivedMessage: ProtoClass = types.ReceivedMessage.pb()
SeekRequest: ProtoClass = types.SeekRequest.pb()
SeekResponse: ProtoClass = types.SeekResponse.pb()
StreamingPullRequest: ProtoClass = types.StreamingPullRequest.pb()
StreamingPullResponse: ProtoClass = types.StreamingPullResponse.pb()
Subscription: ProtoClass = types.Subscription.pb()
Topic: ProtoClass = types.Topic.pb()
UpdateSubscriptionRequest: ProtoClass = types.UpdateSubscriptionRequest.pb()
UpdateTopicRequest: ProtoClass = types.UpdateTopicRequest.pb()
