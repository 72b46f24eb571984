"""Pacing against the embedded broker, through each publisher, in a thread."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import numpy as np
import pytest
from google.cloud import pubsub_v1
from numpy.typing import NDArray

from loadtest.clock import epoch_clock
from loadtest.driver import pacer
from loadtest.driver.grpc_publisher import GrpcPublisher
from loadtest.driver.http2 import Http2Publisher
from loadtest.driver.pacer import Pacer, Share
from loadtest.driver.publisher import Publisher
from loadtest.driver.sender_state import Count, Order, SenderState, SharedStates, shared_file
from pipeline.pubsub.channels import publisher_channel
from tests.loadtest.conftest import INPUT, INPUT_TOPIC, Hub
from tests.waiting import LIMIT_S, wait_until

BODIES = [b'{"record_id":0}', b'{"record_id": 1}', b'{"record_id":2 }']
CLOCK = epoch_clock()

Connect = Callable[[str], Publisher]  # from a topic


def lone_state(messages: int) -> SenderState:
    with shared_file(messages, 1) as memory:
        return SharedStates.make(memory.fileno(), messages, 1).senders[0]


class Sending:
    """A pacer in a thread."""

    def __init__(self, publisher: Publisher, share: Share, intended: NDArray[np.float64]) -> None:
        self.state = lone_state(len(intended))
        self.state.intended[:] = intended
        self._thread = threading.Thread(target=Pacer(publisher, share, self.state, CLOCK).run, daemon=True)
        self._thread.start()
        self.state.give(Order.SEND)

    def end(self, order: Order = Order.SEND) -> None:
        self.state.give(order)
        self._thread.join(LIMIT_S)
        assert not self._thread.is_alive()

    def __getitem__(self, count: Count) -> int:
        return int(self.state.counts[count])


@pytest.fixture(params=["http2", "grpc"])
def connect(request: pytest.FixtureRequest, hub: Hub) -> Connect:
    def by_http2(topic: str) -> Publisher:
        return Http2Publisher(hub.broker.address, topic, CLOCK)

    def by_grpc(topic: str) -> Publisher:
        return GrpcPublisher(publisher_channel(own_connection=True), topic, CLOCK)

    return by_http2 if request.param == "http2" else by_grpc


@pytest.fixture
def send(connect: Connect) -> Iterator[Callable[..., Sending]]:
    begun: list[Sending] = []

    def start(
        count: int, rate: float = 1000.0, topic: str = INPUT_TOPIC, intended: Any = None, **share: Any
    ) -> Sending:
        if intended is None:
            intended = CLOCK() + np.arange(count) / rate
        given = {"bodies": BODIES} | share
        begun.append(Sending(connect(topic), Share(topic, "cafe", **given), intended))
        return begun[-1]

    yield start
    for sending in begun:
        sending.end(Order.CLOSE)


def published(count: int) -> list[Any]:
    """Pull until `count` messages came, and return them in the order of their sequence."""
    found: list[Any] = []
    with pubsub_v1.SubscriberClient() as client:
        while len(found) < count:
            found += client.pull(subscription=INPUT, max_messages=1000, timeout=LIMIT_S).received_messages
    return sorted((m.message for m in found), key=lambda m: int(m.attributes["request_id"].split("-")[1]))


Send = Callable[..., Sending]


def test_every_message_carries_its_record_and_times(send: Send) -> None:
    sending = send(200)
    sending.end()
    assert [sending[count] for count in (Count.SENT, Count.PUBLISHED, Count.ERRORS)] == [200, 200, 0]
    assert 0 < sending[Count.CALLS] <= 200
    messages = published(200)
    assert [m.attributes["request_id"] for m in messages] == [f"cafe-{k}" for k in range(200)]
    assert [m.data for m in messages] == [BODIES[k % 3] for k in range(200)]
    assert {m.attributes["content-type"] for m in messages} == {"application/json"}
    for k, message in enumerate(messages):
        intended, sent = float(message.attributes["intended_time"]), float(message.attributes["sent_time"])
        assert intended <= sent <= sending.state.sent_at[k] + 1e-6
        assert abs(sent - time.time()) < 60


def test_nothing_is_sent_before_it_is_due(send: Send) -> None:
    sending = send(2, intended=np.array([CLOCK(), CLOCK() + 3600]))
    wait_until(lambda: sending[Count.PUBLISHED] == 1)
    assert sending[Count.SENT] == 1
    sending.end(Order.STOP)
    assert np.isnan(sending.state.sent_at[1])
    assert (sending[Count.SENT], sending[Count.ERRORS], sending[Count.FINISHED]) == (1, 0, 1)


def test_a_share_is_every_other_message(send: Send) -> None:
    send(3, first=1, stride=2).end()
    messages = published(3)
    assert [m.attributes["request_id"] for m in messages] == ["cafe-1", "cafe-3", "cafe-5"]
    assert [m.data for m in messages] == [BODIES[1], BODIES[0], BODIES[2]]


def test_a_transient_failure_is_tried_again(hub: Hub, send: Send) -> None:
    hub.broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=3)
    sending = send(20)
    sending.end()
    assert (sending[Count.PUBLISHED], sending[Count.ERRORS]) == (20, 0)
    assert len(published(20)) == 20


def test_a_slow_broker_delays_no_later_message(hub: Hub, send: Send) -> None:
    hub.broker.faults.delay("Publish", LIMIT_S)
    sending = send(50)
    # All others are through while the first request still waits for its answer.
    wait_until(lambda: sending[Count.SENT] == 50 and 0 < sending[Count.PUBLISHED] < 50)
    assert not sending[Count.FINISHED]
    sending.end(Order.CLOSE)
    assert sending[Count.ERRORS] == 50 - sending[Count.PUBLISHED]
    assert not np.isnan(sending.state.sent_at).any()


def test_no_answer_in_time_is_tried_again(hub: Hub, send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacer, "ATTEMPT_TIMEOUT_S", 0.2)
    hub.broker.faults.delay("Publish", LIMIT_S)
    sending = send(1)
    sending.end()
    assert (sending[Count.PUBLISHED], sending[Count.ERRORS]) == (1, 0)
    assert sending[Count.CALLS] > 1
    assert sending.state.last_error == "DEADLINE_EXCEEDED: no answer within 0.2 s"


def test_the_deadline_turns_retries_into_errors(hub: Hub, send: Send) -> None:
    hub.broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=1000, message="away for 10 %")
    sending = send(10, publish_deadline_s=0.3)
    sending.end()
    assert [sending[count] for count in (Count.SENT, Count.PUBLISHED, Count.ERRORS)] == [10, 0, 10]
    assert sending.state.last_error == "UNAVAILABLE: away for 10 %"


def test_a_permanent_failure_is_final_at_once(send: Send) -> None:
    sending = send(10, topic="projects/project/topics/missing")
    sending.end()
    assert sending[Count.ERRORS] == 10
    assert (sending.state.last_error or "").startswith("NOT_FOUND")


def test_closing_gives_up_what_waits_for_a_retry(hub: Hub, send: Send) -> None:
    hub.broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=1000)
    sending = send(10)
    wait_until(lambda: sending[Count.SENT] == 10)
    sending.end(Order.CLOSE)
    assert (sending[Count.PUBLISHED], sending[Count.ERRORS]) == (0, 10)


def test_requests_keep_pubsubs_limits(send: Send) -> None:
    large = [json.dumps({"text": "x" * 4_000_000}).encode()]
    many = send(2500, intended=np.full(2500, CLOCK()))
    heavy = send(5, intended=np.full(5, CLOCK()), bodies=large)
    for sending, count in ((many, 2500), (heavy, 5)):
        sending.end()
        assert (sending[Count.PUBLISHED], sending[Count.ERRORS]) == (count, 0)
    assert (many[Count.CALLS], heavy[Count.CALLS]) == (3, 3)


@pytest.mark.parametrize("order", [Order.WAIT, Order.SEND])
def test_close_is_safe_at_any_time(connect: Connect, order: Order) -> None:
    state = lone_state(1000)
    state.intended[:] = CLOCK() + np.arange(1000) / 10
    thread = threading.Thread(
        target=Pacer(connect(INPUT_TOPIC), Share(INPUT_TOPIC, "cafe", BODIES), state, CLOCK).run, daemon=True
    )
    state.give(order)
    thread.start()
    wait_until(lambda: state.counts[Count.READY])
    state.give(Order.CLOSE)
    thread.join(LIMIT_S)
    assert not thread.is_alive()
