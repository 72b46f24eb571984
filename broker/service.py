"""Which method is answered by what, how errors become status codes, and where injected faults strike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import grpc

from broker import errors
from broker.faults import Faults
from broker.publisher import Publisher
from broker.state import BrokerState
from broker.streaming_pull import StreamingPull
from broker.subscriber import Subscriber
from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto, ProtoClass

_Context: TypeAlias = "grpc.aio.ServicerContext[Proto, Proto]"
_Unary: TypeAlias = Callable[[Proto], Awaitable[Proto]]

_STATUS = {
    errors.InvalidArgumentError: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFoundError: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExistsError: grpc.StatusCode.ALREADY_EXISTS,
    errors.UnsupportedError: grpc.StatusCode.UNIMPLEMENTED,
    errors.StreamDroppedError: grpc.StatusCode.UNAVAILABLE,
}

_PUBLISHER = "google.pubsub.v1.Publisher"
_SUBSCRIBER = "google.pubsub.v1.Subscriber"
_REQUESTS: dict[str, dict[str, ProtoClass]] = {
    _PUBLISHER: {
        "CreateTopic": protos.Topic,
        "GetTopic": protos.GetTopicRequest,
        "ListTopics": protos.ListTopicsRequest,
        "ListTopicSubscriptions": protos.ListTopicSubscriptionsRequest,
        "DeleteTopic": protos.DeleteTopicRequest,
        "Publish": protos.PublishRequest,
    },
    _SUBSCRIBER: {
        "CreateSubscription": protos.Subscription,
        "GetSubscription": protos.GetSubscriptionRequest,
        "ListSubscriptions": protos.ListSubscriptionsRequest,
        "DeleteSubscription": protos.DeleteSubscriptionRequest,
        "Acknowledge": protos.AcknowledgeRequest,
        "ModifyAckDeadline": protos.ModifyAckDeadlineRequest,
        "Pull": protos.PullRequest,
    },
}
METHODS = frozenset(name for requests in _REQUESTS.values() for name in requests) | {"StreamingPull"}
"""The methods that are served, without their service's name."""


def rpc_handlers(state: BrokerState, faults: Faults, pull_wait_s: float) -> list[grpc.GenericRpcHandler]:
    """Make the handlers of both services, and one that refuses every other method in words."""
    publisher = Publisher(state)
    subscriber = Subscriber(state, pull_wait_s)
    streaming_pull = StreamingPull(state, faults)
    unary: dict[str, _Unary] = {
        "CreateTopic": publisher.create_topic,
        "GetTopic": publisher.get_topic,
        "ListTopics": publisher.list_topics,
        "ListTopicSubscriptions": publisher.list_topic_subscriptions,
        "DeleteTopic": publisher.delete_topic,
        "Publish": publisher.publish,
        "CreateSubscription": subscriber.create_subscription,
        "GetSubscription": subscriber.get_subscription,
        "ListSubscriptions": subscriber.list_subscriptions,
        "DeleteSubscription": subscriber.delete_subscription,
        "Acknowledge": subscriber.acknowledge,
        "ModifyAckDeadline": subscriber.modify_ack_deadline,
        "Pull": subscriber.pull,
    }
    services = {
        service: {
            name: _unary_handler(name, request_class, unary[name], faults)
            for name, request_class in requests.items()
        }
        for service, requests in _REQUESTS.items()
    }
    services[_SUBSCRIBER]["StreamingPull"] = _stream_handler(streaming_pull, faults)
    return [
        *(grpc.method_handlers_generic_handler(name, handlers) for name, handlers in services.items()),
        _RefuseTheRest(),
    ]


def _unary_handler(
    method: str, request_class: ProtoClass, answer: _Unary, faults: Faults
) -> grpc.RpcMethodHandler:
    async def handle(request: Proto, context: _Context) -> Proto:
        failure = faults.take_failure(method)
        if delay_s := faults.take_delay(method):
            await asyncio.sleep(delay_s)
        if failure is None or failure.applied:
            try:
                response = await answer(request)
            except errors.RequestError as error:
                await context.abort(_STATUS[type(error)], str(error))
        if failure is not None:
            await context.abort(failure.code, failure.message)
        return response

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=request_class.FromString, response_serializer=_serialize
    )


def _stream_handler(streaming_pull: StreamingPull, faults: Faults) -> grpc.RpcMethodHandler:
    async def handle(requests: AsyncIterator[Proto], context: _Context) -> None:
        failure = faults.take_failure("StreamingPull")
        if delay_s := faults.take_delay("StreamingPull"):
            await asyncio.sleep(delay_s)
        if failure is not None:
            await context.abort(failure.code, failure.message)
        try:
            await streaming_pull.serve(requests, context.write)
        except grpc.aio.InternalError:
            return  # the client has gone while something was being written; what it held is redelivered
        except errors.RequestError as error:
            await context.abort(_STATUS[type(error)], str(error))

    return grpc.stream_stream_rpc_method_handler(
        handle,
        request_deserializer=protos.StreamingPullRequest.FromString,
        response_serializer=_serialize,
    )


def _serialize(response: Proto) -> bytes:
    return response.SerializeToString()


class _RefuseTheRest(grpc.GenericRpcHandler):
    """Answers every method that no other handler took."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        method = handler_call_details.method

        async def refuse(_: bytes, context: _Context) -> bytes:
            await context.abort(
                grpc.StatusCode.UNIMPLEMENTED,
                f"the embedded broker does not implement {method}: use the real Pub/Sub for it. It "
                f"implements {', '.join(sorted(METHODS))}",
            )
            return b""

        return grpc.unary_unary_rpc_method_handler(refuse)
