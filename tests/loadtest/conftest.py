"""A broker, its topics and subscriptions, and input records, for the tests of the load driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from google.cloud import pubsub_v1

from broker import EmbeddedBroker
from loadtest.driver.pubsub import Calls, connect

INPUT_TOPIC = "projects/project/topics/requests"
OUTPUT_TOPIC = "projects/project/topics/results"
DEAD_LETTER_TOPIC = "projects/project/topics/dead-letters"
INPUT = "projects/project/subscriptions/requests"
OUTPUT = "projects/project/subscriptions/results"
DEAD_LETTERS = "projects/project/subscriptions/dead-letters"


@dataclass(frozen=True)
class Hub:
    """A running broker with the three topics, each with its subscription."""

    broker: EmbeddedBroker
    calls: Calls

    def unacknowledged(self, subscription: str) -> int:
        """Messages that the broker still holds for a subscription, leased or not."""
        stats = self.broker.stats(subscription)
        return stats.backlog + stats.outstanding


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with EmbeddedBroker() as broker:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker.address)
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
        for topic, subscription in (
            (INPUT_TOPIC, INPUT),
            (OUTPUT_TOPIC, OUTPUT),
            (DEAD_LETTER_TOPIC, DEAD_LETTERS),
        ):
            publisher.create_topic(name=topic)
            subscriber.create_subscription(name=subscription, topic=topic)
        calls = connect()
        yield Hub(broker, calls)
        calls.close()
        publisher.transport.close()
        subscriber.close()


@pytest.fixture
def input_file(tmp_path: Path) -> Path:
    """Eight labelled records; the four anomalies score higher (by their first feature) but for one."""
    features = (0.1, 0.2, 0.3, 0.6, 0.5, 0.7, 0.8, 0.9)
    path = tmp_path / "records.jsonl"
    path.write_bytes(
        b"".join(
            orjson.dumps({"record_id": i, "features": [x], "label": int(i >= 4)}) + b"\n"
            for i, x in enumerate(features)
        )
    )
    return path
