import socket
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.pubsub_v1.services.publisher import PublisherClient

from pipeline.io import subscriber as module
from pipeline.io.subscriber import Subscriber
from pipeline.pubsub.channels import publisher_client
from pipeline.request.errors import SubscriptionError, TransientError
from tests.pipeline.conftest import Pubsub
from tests.waiting import wait_until

Make = Callable[..., Subscriber]


@pytest.fixture
def make(pubsub: Pubsub) -> Iterator[Make]:
    """Make subscribers on the input subscription; close them at the end."""
    made: list[Subscriber] = []

    def subscriber(
        stopping: Callable[[], bool] = lambda: False, name: str = "", clock: Callable[[], float] = lambda: 5.0
    ) -> Subscriber:
        subscription = pubsub.topics.input_subscription + name
        made.append(Subscriber(subscription, stopping=stopping, clock=clock))
        return made[-1]

    yield subscriber
    for each in made:
        each.close()


def send(pubsub: Pubsub, *bodies: bytes) -> None:
    messages = [{"data": body} for body in bodies]
    PublisherClient.publish(
        publisher_client(), request={"topic": pubsub.topics.input_topic, "messages": messages}
    )


def take(subscriber: Subscriber, count: int) -> list[Any]:
    taken: list[Any] = []
    wait_until(lambda: taken.extend(subscriber.take(count - len(taken), 0.1)) or len(taken) == count)  # type: ignore[func-returns-value]
    return taken


def ids(messages: list[Any]) -> list[str]:
    return [message.ack_id for message in messages]


def outstanding(pubsub: Pubsub) -> int:
    return pubsub.broker.stats(pubsub.topics.input_subscription).outstanding


def backlog(pubsub: Pubsub) -> int:
    return pubsub.broker.stats(pubsub.topics.input_subscription).backlog


def test_messages_are_held_until_acknowledged(pubsub: Pubsub, make: Make) -> None:
    send(pubsub, b"a", b"b", b"c")
    subscriber = make()
    taken = take(subscriber, 3)
    assert [received.message.data for received in taken] == [b"a", b"b", b"c"]
    assert outstanding(pubsub) == 3
    subscriber.acknowledge(ids(taken[:2]))
    wait_until(lambda: outstanding(pubsub) == 1)


def test_close_gives_back_what_is_held(pubsub: Pubsub, make: Make) -> None:
    send(pubsub, *(b"%d" % n for n in range(10)))
    subscriber = make()
    subscriber.acknowledge(ids(take(subscriber, 3)))
    take(subscriber, 2)
    subscriber.close()
    assert (outstanding(pubsub), backlog(pubsub)) == (0, 7)
    assert len(take(make(), 7)) == 7


def test_no_more_is_held_than_the_limit(pubsub: Pubsub, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_HELD_MESSAGES", 10)
    send(pubsub, *(b"%d" % n for n in range(50)))
    subscriber = make()
    taken = take(subscriber, 10)
    assert subscriber.take(50, 0.3) == []
    subscriber.acknowledge(ids(taken))
    assert len(take(subscriber, 10)) == 10


def test_no_more_bytes_are_held_than_the_limit(
    pubsub: Pubsub, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_HELD_BYTES", 3_000)
    send(pubsub, *(b"x" * 1_000 for _ in range(20)))
    subscriber = make()
    held = take(subscriber, 1)
    while batch := subscriber.take(20, 0.3):
        held += batch
    assert 1 <= len(held) <= 4
    subscriber.acknowledge(ids(held))
    assert take(subscriber, 1)


def test_what_is_not_accepted_counts_against_the_limit(
    pubsub: Pubsub, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscriber = make()
    send(pubsub, b"first")
    subscriber.acknowledge(ids(take(subscriber, 1)))
    wait_until(lambda: outstanding(pubsub) == 0)
    # Only now: the server has been promised room for thousands, and holds nothing back.
    monkeypatch.setattr(module, "MAX_HELD_MESSAGES", 10)
    pubsub.broker.faults.fail("Acknowledge", grpc.StatusCode.UNAVAILABLE, times=100_000)
    send(pubsub, *(b"%d" % n for n in range(10)))
    subscriber.acknowledge(ids(take(subscriber, 10)))
    send(pubsub, *(b"%d" % n for n in range(20)))
    assert subscriber.take(50, 0.3) == []
    pubsub.broker.faults.clear()
    assert len(take(subscriber, 20)) == 20


def test_a_message_above_grpcs_default_limit(pubsub: Pubsub, make: Make) -> None:
    send(pubsub, b"x" * 9_000_000)
    (received,) = take(make(), 1)
    assert len(received.message.data) == 9_000_000


def test_watermark_waits_for_what_is_held(
    pubsub: Pubsub, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscriber = make(clock=lambda: 4e9)
    assert subscriber.watermark() is None  # there may be a backlog
    send(pubsub, b"a")
    send(pubsub, b"b")
    first, second = take(subscriber, 2)
    assert subscriber.watermark() == first.message.publish_time.ToMicroseconds()
    subscriber.acknowledge(ids([first]))
    assert subscriber.watermark() == second.message.publish_time.ToMicroseconds()
    subscriber.acknowledge(ids([second]))
    assert subscriber.watermark() is None  # there may be more on its way
    monkeypatch.setattr(module, "QUIET_S", 0)
    assert subscriber.watermark() == 4_000_000_000_000_000


def test_a_broken_stream_is_opened_again(pubsub: Pubsub, make: Make) -> None:
    subscriber = make()
    send(pubsub, b"a")
    subscriber.acknowledge(ids(take(subscriber, 1)))
    pubsub.broker.faults.fail("StreamingPull", grpc.StatusCode.UNAVAILABLE, times=2)
    assert pubsub.broker.faults.drop_streams() == 1
    send(pubsub, b"b")
    (received,) = take(subscriber, 1)
    assert received.message.data == b"b"
    assert pubsub.broker.faults.pending("StreamingPull") == 0


def test_a_broker_that_stays_away_ends_the_job_for_another_start(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "AWAY_S", 0.3)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and nobody listens there
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
        subscriber = Subscriber("projects/p/subscriptions/s", stopping=lambda: False)
        try:
            with pytest.raises(TransientError) as caught:
                wait_until(lambda: subscriber.take(1, 0.1))
        finally:
            subscriber.close()
    assert str(caught.value).startswith("cannot read projects/p/subscriptions/s for 0.3 s: UNAVAILABLE: ")
    assert f"PUBSUB_EMULATOR_HOST={address}: does a broker listen there?" in str(caught.value)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert any("UNAVAILABLE" in text and address in text for text in warnings)


def test_a_missing_subscription_is_named(make: Make) -> None:
    subscriber = make(name="-gone")
    with pytest.raises(SubscriptionError, match=r"-gone: NOT_FOUND: .*create it"):
        take(subscriber, 1)


def test_nothing_is_taken_once_it_is_to_stop(pubsub: Pubsub, make: Make) -> None:
    send(pubsub, b"a")
    subscriber = make(stopping=lambda: True)
    wait_until(lambda: outstanding(pubsub) == 1)
    assert subscriber.take(1, 30) == []
