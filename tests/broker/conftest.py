"""A fresh broker for each test, the client library's own clients pointed at it, and Google's emulator."""

from collections.abc import Callable, Iterator

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient

from broker import EmbeddedBroker
from broker.testing import google_emulator, why_no_emulator
from tests.broker.both import Service

TOPIC = "projects/test-project/topics/requests"
SUBSCRIPTION = "projects/test-project/subscriptions/requests-sub"


class FakeClock:
    """Time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.25

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def broker(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedBroker]:
    # The clients below are given a channel, which does not go with this variable.
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    with EmbeddedBroker(clock=clock, pull_wait_s=1.0) as running:
        yield running


@pytest.fixture
def channel(broker: EmbeddedBroker) -> Iterator[grpc.Channel]:
    options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(broker.address, options=options) as open_channel:
        yield open_channel


@pytest.fixture
def publisher(channel: grpc.Channel) -> PublisherClient:
    """Make the generated client, whose publish() is one request. The client on top of it batches."""
    transport_class = PublisherClient.get_transport_class("grpc")
    return PublisherClient(transport=transport_class(channel=channel, credentials=AnonymousCredentials()))


@pytest.fixture
def subscriber(channel: grpc.Channel) -> pubsub_v1.SubscriberClient:
    transport_class = pubsub_v1.SubscriberClient.get_transport_class("grpc")
    transport = transport_class(channel=channel, credentials=AnonymousCredentials())
    return pubsub_v1.SubscriberClient(transport=transport)


@pytest.fixture
def topic(publisher: PublisherClient) -> str:
    publisher.create_topic(name=TOPIC)
    return TOPIC


@pytest.fixture
def subscription(topic: str, subscriber: pubsub_v1.SubscriberClient) -> str:
    subscriber.create_subscription(name=SUBSCRIPTION, topic=topic)
    return SUBSCRIPTION


@pytest.fixture
def publish(publisher: PublisherClient, topic: str) -> Callable[..., list[str]]:
    """Publish each payload in one request; return the message ids."""

    def send(*payloads: bytes) -> list[str]:
        response = publisher.publish(topic=topic, messages=[{"data": data} for data in payloads])
        return list(response.message_ids)

    return send


@pytest.fixture(scope="session")
def emulator_address() -> Iterator[str]:
    if reason := why_no_emulator():
        pytest.skip(f"Google's emulator cannot run here: {reason}")
    with google_emulator() as process:
        yield process.address


@pytest.fixture
def embedded(broker: EmbeddedBroker, channel: grpc.Channel) -> Service:
    """Make a Service of the embedded broker, on the test's clock."""
    return Service("embedded", channel, broker.rest_url)


@pytest.fixture(params=["embedded", "emulator"])
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """Return either broker: the embedded one is held to what Google's does."""
    if request.param == "embedded":
        yield request.getfixturevalue("embedded")
        return
    address = request.getfixturevalue("emulator_address")
    with grpc.insecure_channel(address) as open_channel:
        yield Service("emulator", open_channel, f"http://{address}")
