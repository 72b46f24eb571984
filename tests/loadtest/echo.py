"""Stands in for the job: answers each request on the output topic, or as a test tells it to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import orjson

from loadtest.driver.pubsub import Calls
from pipeline.pubsub.protos import AcknowledgeRequest, PublishRequest, PubsubMessage, StreamingPullRequest
from tests.waiting import LIMIT_S

Answer = tuple[str, Any]  # full name of a topic, raw message
Answering = Callable[[Any], list[Answer]]  # from a request's raw message


def result_message(message: Any, prediction: object = None, **latency_ms: float | None) -> Any:
    """Return a result as the job writes it; by default `prediction` is the first of the features."""
    body = orjson.loads(message.data)
    features = body.pop("features", [0.0])
    result = {
        "request_id": message.attributes["request_id"],
        "prediction": features[0] if prediction is None else prediction,
        "latency_ms": {"queue": 0.25, "batch_wait": None, "inference": 0.5} | latency_ms,
        "passthrough": body,
    }
    return PubsubMessage(
        data=orjson.dumps(result), attributes={"request_id": message.attributes["request_id"]}
    )


def dead_letter_message(message: Any) -> Any:
    """Return a dead letter as the job writes it."""
    return PubsubMessage(data=message.data, attributes={**message.attributes, "error_stage": "decode"})


@contextmanager
def echo(calls: Calls, subscription: str, answering: Answering) -> Iterator[None]:
    """Answers what arrives on `subscription` by what `answering` returns, until the context ends."""
    closed = threading.Event()

    def requests() -> Iterator[Any]:
        yield StreamingPullRequest(subscription=subscription, stream_ack_deadline_seconds=60)
        closed.wait()

    def publish(topic: str, messages: list[Any]) -> None:
        while not closed.is_set():
            try:
                calls.publish(PublishRequest(topic=topic, messages=messages), timeout=LIMIT_S)
                return
            except grpc.RpcError:
                closed.wait(0.02)  # a fault that the test has injected for the driver

    def work() -> None:
        while not closed.is_set():
            call = calls.streaming_pull(requests())
            cancel.append(call.cancel)
            try:
                for response in call:
                    by_topic: dict[str, list[Any]] = {}
                    for received in response.received_messages:
                        for topic, message in answering(received.message):
                            by_topic.setdefault(topic, []).append(message)
                    for topic, messages in by_topic.items():
                        publish(topic, messages)
                    ack_ids = [received.ack_id for received in response.received_messages]
                    calls.acknowledge.future(AcknowledgeRequest(subscription=subscription, ack_ids=ack_ids))
            except grpc.RpcError:
                closed.wait(0.02)

    cancel: list[Callable[[], object]] = []
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        cancel[-1]()
        thread.join(LIMIT_S)
