"""The gRPC face: both services, and what is answered to methods that are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeAlias

import grpc

from broker.errors import RequestError
from broker.faults import Faults
from broker.methods import METHODS, SUBSCRIBER, Method
from broker.streaming_pull import StreamingPull
from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto

_Context: TypeAlias = "grpc.aio.ServicerContext[Proto, Proto]"


def rpc_handlers(
    methods: Iterable[Method], streaming_pull: StreamingPull, faults: Faults
) -> list[grpc.GenericRpcHandler]:
    """Make the handlers of both services, and one that refuses every other method in words."""
    services: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
    for method in methods:
        services.setdefault(method.service, {})[method.name] = _unary_handler(method)
    services[SUBSCRIBER]["StreamingPull"] = _stream_handler(streaming_pull, faults)
    return [
        *(grpc.method_handlers_generic_handler(name, handlers) for name, handlers in services.items()),
        _RefuseTheRest(),
    ]


def _unary_handler(method: Method) -> grpc.RpcMethodHandler:
    async def handle(request: Proto, context: _Context) -> Proto:
        try:
            return await method.call(request)
        except RequestError as error:
            await context.abort(error.status, str(error))

    return grpc.unary_unary_rpc_method_handler(
        handle, request_deserializer=method.request_class.FromString, response_serializer=_serialize
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
        except RequestError as error:
            await context.abort(error.status, str(error))

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
