"""The method google.pubsub.v1.Subscriber.StreamingPull."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from broker.checks import check_ack_deadline, check_deadline_extension
from broker.errors import InvalidArgumentError, StreamDroppedError
from broker.faults import Faults
from broker.leases import Consumer
from broker.state import BrokerState
from broker.subscriber import check_not_deleted, received_message
from broker.subscription import Subscription
from pipeline.pubsub import protos
from pipeline.pubsub.protos import Proto


class StreamingPull:
    """Serves StreamingPull calls.

    When a stream ends, what it was sent stays leased to the end of its ack deadline, as in the service; only
    messages taken for it and not written go back at once.
    """

    def __init__(self, state: BrokerState, faults: Faults) -> None:
        self._state = state
        self._faults = faults

    async def serve(self, requests: AsyncIterator[Proto], write: Callable[[Proto], Awaitable[None]]) -> None:
        """Run one stream until the client closes its side; raises the errors of `broker.errors`."""
        first = await anext(requests, None)
        if first is None:
            raise InvalidArgumentError("the stream was closed before its first request")
        subscription = self._state.subscription(first.subscription)
        check_ack_deadline(first.stream_ack_deadline_seconds, "stream_ack_deadline_seconds")

        changed = asyncio.Event()
        dropped = asyncio.Event()
        loop = asyncio.get_running_loop()

        def drop() -> None:
            loop.call_soon_threadsafe(dropped.set)
            loop.call_soon_threadsafe(changed.set)

        consumer = Consumer(
            wake=changed.set,
            ack_deadline_s=first.stream_ack_deadline_seconds,
            max_messages=first.max_outstanding_messages,
            max_bytes=first.max_outstanding_bytes,
        )
        _apply_acks(subscription, first)
        reader = asyncio.create_task(_read(requests, subscription, consumer))
        reader.add_done_callback(lambda _: changed.set())
        subscription.attach(consumer)
        try:
            with self._faults.open_stream(drop):
                while not reader.done():
                    check_not_deleted(subscription)
                    if dropped.is_set():
                        raise StreamDroppedError("stream dropped by a test")
                    if not await _send_batch(subscription, consumer, write):
                        await changed.wait()
                        changed.clear()
            reader.result()  # raises what was wrong with a later request
        finally:
            subscription.detach(consumer)
            reader.cancel()


async def _send_batch(
    subscription: Subscription, consumer: Consumer, write: Callable[[Proto], Awaitable[None]]
) -> bool:
    """Send what is there and fits; False if there was nothing to send."""
    leases = subscription.take(consumer)
    if not leases:
        return False
    try:
        await write(
            protos.StreamingPullResponse(received_messages=[received_message(lease) for lease in leases])
        )
    except BaseException:
        # Also on cancellation, which is how a broken connection ends a stream.
        subscription.give_back(leases)
        raise
    return True


async def _read(requests: AsyncIterator[Proto], subscription: Subscription, consumer: Consumer) -> None:
    async for request in requests:
        if request.subscription:
            raise InvalidArgumentError("subscription may be set in the first request of a stream only")
        if request.max_outstanding_messages or request.max_outstanding_bytes:
            raise InvalidArgumentError("flow control may be set in the first request of a stream only")
        if request.stream_ack_deadline_seconds:
            check_ack_deadline(request.stream_ack_deadline_seconds, "stream_ack_deadline_seconds")
            consumer.ack_deadline_s = request.stream_ack_deadline_seconds
        _apply_acks(subscription, request)


def _apply_acks(subscription: Subscription, request: Proto) -> None:
    ack_ids, seconds = request.modify_deadline_ack_ids, request.modify_deadline_seconds
    if len(ack_ids) != len(seconds):
        raise InvalidArgumentError(
            f"modify_deadline_ack_ids has {len(ack_ids)} entries and modify_deadline_seconds {len(seconds)}: "
            "they must be as many"
        )
    for each in seconds:
        check_deadline_extension(each, "modify_deadline_seconds")
    subscription.acknowledge(request.ack_ids)
    for ack_id, each in zip(ack_ids, seconds, strict=True):
        subscription.modify_deadline([ack_id], each)
