"""`python -m broker` as a process, and the embedded broker's own life."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import grpc
import pytest

from broker import EmbeddedBroker, server
from broker import __main__ as process_main
from broker.errors import NotFoundError
from broker.testing import embedded_broker
from pipeline.pubsub import protos
from tests.waiting import LIMIT_S

COMMAND = [sys.executable, "-m", "broker"]


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        yield holder.getsockname()[1]


def create_topic(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(
            "/google.pubsub.v1.Publisher/CreateTopic",
            request_serializer=protos.Topic.SerializeToString,
        )
        call(protos.Topic(name="projects/test-project/topics/requests"), timeout=LIMIT_S, wait_for_ready=True)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_and_stops_cleanly(signal_number: signal.Signals) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    lines = [process.stdout.readline().strip() for _ in range(4)]
    prefix, _, address = lines[0].rpartition(" ")
    assert prefix == "broker listening on"
    create_topic(address)
    process.send_signal(signal_number)
    rest, errors = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0
    assert "gone at exit" in lines[1]
    assert lines[2].endswith(f"export PUBSUB_EMULATOR_HOST={address}")
    assert lines[3].startswith("REST on http://127.0.0.1:")
    assert (rest, errors) == ("", "")


def test_it_stops_with_a_stream_open() -> None:
    with embedded_broker() as process, grpc.insecure_channel(process.address) as channel:
        create_topic(process.address)
        topic, name = "projects/test-project/topics/requests", "projects/test-project/subscriptions/requests"
        channel.unary_unary(
            "/google.pubsub.v1.Subscriber/CreateSubscription",
            request_serializer=protos.Subscription.SerializeToString,
        )(protos.Subscription(name=name, topic=topic))
        requests: SimpleQueue[Any] = SimpleQueue()
        requests.put(protos.StreamingPullRequest(subscription=name, stream_ack_deadline_seconds=10))
        stream = channel.stream_stream(
            "/google.pubsub.v1.Subscriber/StreamingPull",
            request_serializer=protos.StreamingPullRequest.SerializeToString,
        )(iter(requests.get, None))
        # A message proves that the stream is open.
        channel.unary_unary(
            "/google.pubsub.v1.Publisher/Publish", request_serializer=protos.PublishRequest.SerializeToString
        )(protos.PublishRequest(topic=topic, messages=[{"data": b"x"}]))
        next(stream)
        os.kill(process.group, signal.SIGTERM)
        with pytest.raises(grpc.RpcError):
            next(stream)
        requests.put(None)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--port", "PORT"], "cannot listen on 127.0.0.1 port PORT: Address already in use"),
        (["--port", "70000"], "'70000' is not a port"),
        (["--port", "http"], "'http' is not a port"),
        (["--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
        (["--port", "0", "--rest-port", "PORT"], "cannot listen on 127.0.0.1 port PORT"),
        (["--port", "8085", "--rest-port", "8085"], "--port and --rest-port are both 8085"),
        (["--prot", "1"], "unrecognized arguments"),
    ],
)
def test_a_wrong_flag_is_refused(arguments: list[str], reason: str, taken_port: int) -> None:
    arguments = [argument.replace("PORT", str(taken_port)) for argument in arguments]
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 2
    assert reason.replace("PORT", str(taken_port)) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_embedded_broker_does_not_start_on_a_taken_port(taken_port: int) -> None:
    with pytest.raises(OSError, match="in use"), EmbeddedBroker(port=taken_port):
        pass


def test_a_port_taken_at_the_last_moment_leaves_nothing_behind(
    taken_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_check_can_bind", lambda *_: None)
    with EmbeddedBroker() as broker:
        free = int(broker.address.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"), EmbeddedBroker(port=free, rest_port=taken_port):
        pass
    with EmbeddedBroker(port=free) as broker:
        create_topic(broker.address)


def test_two_embedded_brokers_share_nothing() -> None:
    with EmbeddedBroker() as one, EmbeddedBroker() as two:
        assert one.address != two.address
        create_topic(one.address)
        create_topic(two.address)


def test_an_embedded_broker_can_be_started_anew_on_its_port() -> None:
    with EmbeddedBroker() as broker:
        address = broker.address
        create_topic(address)
    with EmbeddedBroker(port=int(address.rpartition(":")[2])) as broker:
        assert broker.address == address
        create_topic(address)


def test_stats_of_a_missing_subscription() -> None:
    with EmbeddedBroker() as broker, pytest.raises(NotFoundError, match="does not exist"):
        broker.stats("projects/test-project/subscriptions/missing")


@pytest.mark.parametrize(
    ("host", "open_to_others"),
    [
        ("127.0.0.1", False),
        ("127.0.0.2", False),
        ("::1", False),
        ("localhost", False),
        ("0.0.0.0", True),
        ("::", True),
        ("192.0.2.1", True),
        ("localhost.example", True),
    ],
)
def test_it_warns_where_others_can_reach_it(
    host: str, open_to_others: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def serve(host: str, port: int, rest_port: int) -> None:
        """Listen nowhere: the warning is printed before."""

    monkeypatch.setattr(process_main, "_serve", serve)
    assert process_main.main([f"--host={host}"]) == 0
    assert capsys.readouterr().err.startswith(f"broker: warning: --host={host} opens it") is open_to_others
