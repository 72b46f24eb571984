"""Real processes over real sockets. The same tests run against the embedded broker and Google's emulator."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from broker import EmbeddedBroker
from broker.testing import google_emulator, why_no_emulator
from loadtest.display import Display, Progress
from loadtest.options import RunOptions
from loadtest.run import run
from loadtest.summary import Summary
from local.run import PROJECT, Topics
from pipeline.pubsub.channels import subscriber_channel

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "breast_cancer"
RECORDS = EXAMPLE / "records.jsonl"
MODEL = EXAMPLE / "model.pt2"


@pytest.fixture(scope="session")
def embedded() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as broker:
        yield broker


@pytest.fixture(autouse=True)
def no_faults_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that failed in the midst of a fault must not fail the next one."""
    yield
    if "embedded" in request.fixturenames:
        request.getfixturevalue("embedded").faults.clear()


@pytest.fixture(scope="session")
def emulator_address() -> Iterator[str]:
    reason = why_no_emulator()
    if reason:
        pytest.skip(f"Google's emulator cannot run here: {reason}")
    with google_emulator() as process:
        yield process.address


@pytest.fixture(params=["embedded", "emulator"])
def pubsub(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """HOST:PORT of a broker, which PUBSUB_EMULATOR_HOST names too."""
    if request.param == "embedded":
        address = request.getfixturevalue("embedded").address
    else:
        address = request.getfixturevalue("emulator_address")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
    return address


@pytest.fixture
def topics(pubsub: str) -> Topics:
    """Fresh names, created on the broker of this test."""
    names = Topics.fresh(os.urandom(4).hex())
    names.create()
    return names


class Pipeline:
    """`python -m pipeline` as a user starts it, on the topics of one test."""

    def __init__(self, topics: Topics, log: Path, *flags: str) -> None:
        self._log = log
        if not any(flag.startswith(("--model_path", "--model_pointer")) for flag in flags):
            flags = (f"--model_path={MODEL}", *flags)
        with log.open("a") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pipeline", *topics.job_arguments(), *flags],
                cwd=ROOT,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def stop(self) -> int:
        """SIGTERM; the exit code, which the job promises within 10 s."""
        self.process.terminate()
        return self.wait(10)

    def wait(self, seconds: float) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the job did not end within {seconds} s; its log:\n{self.log}")

    @property
    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def start(topics: Topics, tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    """Starts a job; whatever still runs at the end of the test is ended."""
    started: list[Pipeline] = []

    def start_pipeline(*flags: str) -> Pipeline:
        started.append(Pipeline(topics, tmp_path / f"pipeline-{len(started)}.log", *flags))
        return started[-1]

    yield start_pipeline
    for pipeline in started:
        if pipeline.process.poll() is None:
            pipeline.process.kill()
            pipeline.process.wait()


class At(Display):
    """Does something once, as soon as so many results have been received."""

    def __init__(self, received: int, action: Callable[[], None]) -> None:
        self._received = received
        self._action: Callable[[], None] | None = action

    def update(self, progress: Progress) -> None:
        if self._action is not None and progress.received >= self._received:
            action, self._action = self._action, None
            action()

    @property
    def done(self) -> bool:
        return self._action is None


@pytest.fixture
def drive(topics: Topics, tmp_path: Path) -> Callable[..., Summary]:
    """Runs the load driver on the topics of this test."""

    def drive_topics(
        rate: float, duration: float, display: Display | None = None, drain_timeout: float = 60
    ) -> Summary:
        options = RunOptions(
            project=PROJECT,
            input_topic=topics.input_topic,
            output_subscription=topics.output_subscription,
            dead_letter_subscription=topics.dead_letter_subscription,
            rate=rate,
            duration=duration,
            input=RECORDS,
            out=tmp_path / "out",
            drain_timeout=drain_timeout,
        )
        assert not options.problems()
        return run(options, display=display)

    return drive_topics


@dataclass
class Mailbox:
    """What arrives on a subscription, acknowledged, until `count` messages are there or time is up."""

    subscription: str

    def collect(self, count: int, within_s: float = 60) -> list[pubsub_v1.types.PubsubMessage]:
        messages: list[pubsub_v1.types.PubsubMessage] = []
        deadline = time.monotonic() + within_s
        # Not a plain SubscriberClient, whose emulator channel takes no message above 4 MB.
        transport = SubscriberGrpcTransport(channel=subscriber_channel())
        with pubsub_v1.SubscriberClient(transport=transport) as client:
            while len(messages) < count and time.monotonic() < deadline:
                with contextlib.suppress(DeadlineExceeded):
                    pulled = client.pull(
                        subscription=self.subscription, max_messages=100, timeout=5, retry=None
                    )
                    messages += [received.message for received in pulled.received_messages]
                    ack_ids = [received.ack_id for received in pulled.received_messages]
                    if ack_ids:
                        client.acknowledge(subscription=self.subscription, ack_ids=ack_ids)
        assert len(messages) >= count, f"{len(messages)} of {count} messages in {within_s} s"
        return messages
