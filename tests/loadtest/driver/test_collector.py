from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

from loadtest.auc import Scores
from loadtest.clock import epoch_clock
from loadtest.driver.answers import Answers
from loadtest.driver.collector import Collector
from loadtest.records import Records
from pipeline.pubsub.protos import PublishRequest, PubsubMessage
from tests.loadtest.conftest import DEAD_LETTER_TOPIC, DEAD_LETTERS, OUTPUT, OUTPUT_TOPIC, Hub
from tests.waiting import LIMIT_S, wait_until

COUNT = 300


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[Answers]:
    with Answers("cafe", np.zeros(COUNT), Scores(Records([b"{}"], [None], [None])), tmp_path) as answers:
        yield answers


@pytest.fixture
def collecting(hub: Hub, answers: Answers) -> Iterator[Callable[[], Collector]]:
    collectors = []

    def start() -> Collector:
        kinds = {OUTPUT: "result", DEAD_LETTERS: "dead_letter"}
        collector = Collector(hub.calls, kinds, answers, epoch_clock())  # type: ignore[arg-type]
        collector.start()
        collectors.append(collector)
        return collector

    yield start
    for collector in collectors:
        collector.close()


def publish(hub: Hub, ids: list[str], topic: str = OUTPUT_TOPIC) -> None:
    messages = [PubsubMessage(data=b"{}", attributes={"request_id": request_id}) for request_id in ids]
    hub.calls.publish(PublishRequest(topic=topic, messages=messages), timeout=LIMIT_S)


def own(first: int = 0, last: int = COUNT) -> list[str]:
    return [f"cafe-{k}" for k in range(first, last)]


def test_collects_and_acknowledges_from_both_subscriptions(
    hub: Hub, answers: Answers, collecting: Callable[[], Collector]
) -> None:
    publish(hub, own(0, 200))
    publish(hub, own(200, 300), DEAD_LETTER_TOPIC)
    collector = collecting()
    wait_until(lambda: answers.answered == COUNT)
    assert (answers.received, answers.dead_lettered, answers.duplicates) == (200, 100, 0)
    wait_until(lambda: hub.unacknowledged(OUTPUT) == hub.unacknowledged(DEAD_LETTERS) == 0)
    assert collector.error is None


def test_foreign_messages_stay_and_block_nothing(
    hub: Hub, answers: Answers, collecting: Callable[[], Collector]
) -> None:
    # More than any client's usual limit on outstanding messages, and ahead of our own.
    for start in range(0, 5000, 1000):
        publish(hub, [f"beef-{k}" for k in range(start, start + 1000)])
    publish(hub, own())
    collector = collecting()
    wait_until(lambda: answers.received == COUNT)
    collector.close()
    assert answers.foreign == 5000  # each delivered once: no nack, no loop
    assert hub.unacknowledged(OUTPUT) == 5000
    assert collector.unacknowledged == 0


def test_duplicate_deliveries_are_counted_by_id(
    hub: Hub, answers: Answers, collecting: Callable[[], Collector]
) -> None:
    collecting()
    hub.broker.faults.duplicate(times=7)
    publish(hub, own())
    publish(hub, ["cafe-0", "cafe-0", "cafe-1"])
    wait_until(lambda: answers.deliveries == COUNT + 10)
    assert (answers.received, answers.duplicates) == (COUNT, 10)


def test_a_dropped_stream_is_opened_again(
    hub: Hub, answers: Answers, collecting: Callable[[], Collector]
) -> None:
    collector = collecting()
    publish(hub, own(0, 100))
    wait_until(lambda: answers.received == 100)
    wait_until(lambda: hub.broker.stats(DEAD_LETTERS).streams == 1)
    assert hub.broker.faults.drop_streams() == 2
    publish(hub, own(100, 300))
    wait_until(lambda: answers.received == COUNT)
    assert sum(stream.reopened for stream in collector.streams) >= 1
    assert collector.error is None


@pytest.mark.parametrize(
    "code", ["UNAVAILABLE", "INTERNAL", "ABORTED", "RESOURCE_EXHAUSTED", "UNKNOWN", "CANCELLED"]
)
def test_transient_errors_on_opening_are_overcome(
    hub: Hub, answers: Answers, collecting: Callable[[], Collector], code: str
) -> None:
    hub.broker.faults.fail("StreamingPull", grpc.StatusCode[code], times=4)
    publish(hub, own())
    collector = collecting()
    wait_until(lambda: answers.received == COUNT)
    assert sum(stream.reopened for stream in collector.streams) >= 2
    assert collector.error is None


@pytest.mark.parametrize("code", ["NOT_FOUND", "PERMISSION_DENIED"])
def test_a_permanent_error_ends_the_stream_and_names_it(
    hub: Hub, collecting: Callable[[], Collector], code: str
) -> None:
    hub.broker.faults.fail("StreamingPull", grpc.StatusCode[code], times=2, message="no such thing")
    collector = collecting()
    wait_until(lambda: all(stream.error for stream in collector.streams))
    assert collector.error == f"{OUTPUT}: {code}: no such thing"


def test_acknowledging_is_tried_again(
    hub: Hub, answers: Answers, collecting: Callable[[], Collector]
) -> None:
    hub.broker.faults.fail("Acknowledge", grpc.StatusCode.UNAVAILABLE, times=3)
    collector = collecting()
    publish(hub, own())
    wait_until(lambda: hub.unacknowledged(OUTPUT) == 0 and answers.received == COUNT)
    collector.close()
    assert collector.unacknowledged == 0


def test_what_cannot_be_acknowledged_is_counted(
    hub: Hub, answers: Answers, collecting: Callable[[], Collector]
) -> None:
    hub.broker.faults.fail("Acknowledge", grpc.StatusCode.PERMISSION_DENIED, times=1000)
    collector = collecting()
    publish(hub, own())
    wait_until(lambda: answers.received == COUNT)
    collector.close()
    assert collector.unacknowledged == COUNT
    assert hub.unacknowledged(OUTPUT) == COUNT


def test_closing_acknowledges_what_was_delivered(
    hub: Hub, answers: Answers, collecting: Callable[[], Collector]
) -> None:
    collector = collecting()
    publish(hub, own())
    wait_until(lambda: answers.received == COUNT)
    collector.close()
    assert hub.unacknowledged(OUTPUT) == 0
