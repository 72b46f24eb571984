from __future__ import annotations

import json
import time
from typing import Any

import grpc
import numpy as np
import pytest
from google.cloud import pubsub_v1

from loadtest.clock import epoch_clock
from loadtest.sender import Sender
from tests.loadtest.conftest import INPUT, INPUT_TOPIC, Hub
from tests.waiting import LIMIT_S, wait_until

BODIES = [b'{"record_id":0}', b'{"record_id": 1}', b'{"record_id":2 }']


def sender(hub: Hub, count: int, rate: float = 1000.0, topic: str = INPUT_TOPIC, **settings: float) -> Sender:
    clock = epoch_clock()
    intended = clock() + np.arange(count) / rate
    return Sender(hub.calls.publish, topic, "cafe", BODIES, intended, clock, **settings)


def published(count: int) -> list[Any]:
    """Pull until `count` messages came, and return them in the order of their sequence."""
    found: list[Any] = []
    with pubsub_v1.SubscriberClient() as client:
        while len(found) < count:
            found += client.pull(subscription=INPUT, max_messages=1000, timeout=LIMIT_S).received_messages
    return sorted((m.message for m in found), key=lambda m: int(m.attributes["request_id"].split("-")[1]))


def test_every_message_carries_its_record_and_times(hub: Hub) -> None:
    sending = sender(hub, 200)
    sending.start()
    assert sending.finished.wait(LIMIT_S)
    sending.close()
    assert (sending.sent, sending.published, sending.publish_errors) == (200, 200, 0)
    messages = published(200)
    assert [m.attributes["request_id"] for m in messages] == [f"cafe-{k}" for k in range(200)]
    assert [m.data for m in messages] == [BODIES[k % 3] for k in range(200)]
    assert {m.attributes["content-type"] for m in messages} == {"application/json"}
    for k, message in enumerate(messages):
        intended, sent = float(message.attributes["intended_time"]), float(message.attributes["sent_time"])
        assert intended <= sent <= sending.sent_at[k] + 1e-6
        assert abs(sent - time.time()) < 60


def test_nothing_is_sent_before_it_is_due(hub: Hub) -> None:
    clock = epoch_clock()
    intended = np.array([clock(), clock() + 3600])
    sending = Sender(hub.calls.publish, INPUT_TOPIC, "cafe", BODIES, intended, clock)
    sending.start()
    wait_until(lambda: sending.published == 1)
    assert sending.sent == 1
    sending.stop()
    assert sending.finished.wait(LIMIT_S)
    sending.close()
    assert np.isnan(sending.sent_at[1])
    assert (sending.sent, sending.publish_errors) == (1, 0)


def test_a_transient_failure_is_tried_again(hub: Hub) -> None:
    hub.broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=3)
    sending = sender(hub, 20)
    sending.start()
    assert sending.finished.wait(LIMIT_S)
    sending.close()
    assert (sending.published, sending.publish_errors) == (20, 0)
    assert len(published(20)) == 20


def test_a_slow_broker_delays_no_later_message(hub: Hub) -> None:
    hub.broker.faults.delay("Publish", LIMIT_S)
    sending = sender(hub, 50)
    sending.start()
    # All others are through while the first request still waits for its answer.
    wait_until(lambda: sending.sent == 50 and 0 < sending.published < 50)
    assert not sending.finished.is_set()
    sending.close()
    assert sending.publish_errors == 50 - sending.published


def test_the_deadline_turns_retries_into_errors(hub: Hub) -> None:
    hub.broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=1000, message="away")
    sending = sender(hub, 10, publish_deadline_s=0.3)
    sending.start()
    assert sending.finished.wait(LIMIT_S)
    sending.close()
    assert (sending.sent, sending.published, sending.publish_errors) == (10, 0, 10)
    assert sending.last_error == "UNAVAILABLE: away"


def test_a_permanent_failure_is_final_at_once(hub: Hub) -> None:
    sending = sender(hub, 10, topic="projects/project/topics/missing")
    sending.start()
    assert sending.finished.wait(LIMIT_S)
    sending.close()
    assert sending.publish_errors == 10
    assert (sending.last_error or "").startswith("NOT_FOUND")


def test_closing_gives_up_what_waits_for_a_retry(hub: Hub) -> None:
    hub.broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=1000)
    sending = sender(hub, 10)
    sending.start()
    wait_until(lambda: sending.sent == 10)
    sending.close()
    assert sending.published + sending.publish_errors == 10
    assert sending.publish_errors == 10


def test_requests_keep_pubsubs_limits(hub: Hub) -> None:
    clock = epoch_clock()
    large = [json.dumps({"text": "x" * 4_000_000}).encode()]
    many = Sender(hub.calls.publish, INPUT_TOPIC, "cafe", BODIES, np.full(2500, clock()), clock)
    heavy = Sender(hub.calls.publish, INPUT_TOPIC, "cafe", large, np.full(5, clock()), clock)
    for sending in (many, heavy):
        sending.start()
        assert sending.finished.wait(LIMIT_S)
        sending.close()
        assert sending.publish_errors == 0
    assert (many.published, heavy.published) == (2500, 5)


@pytest.mark.parametrize("started", [True, False])
def test_close_is_safe_at_any_time(hub: Hub, started: bool) -> None:
    sending = sender(hub, 1000, rate=10)
    if started:
        sending.start()
    sending.close()
    assert not sending.alive
