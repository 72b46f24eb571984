"""Real processes over real sockets. The same tests run against the embedded broker and Google's emulator."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from google.api_core.exceptions import DeadlineExceeded
from google.cloud import pubsub_v1
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from broker import EmbeddedBroker
from broker.testing import google_emulator, why_no_emulator
from loadtest.display import Display, Progress
from loadtest.driver.run import run
from loadtest.interrupt import Stop
from loadtest.records import read_records
from loadtest.summary import Summary
from local.topics import Topics
from pipeline.pubsub.channels import subscriber_channel
from tests.waiting import LIMIT_S, WARNINGS_ARE_ERRORS

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
    """Clear all faults, so that a test that failed in the middle of one does not fail the next test."""
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
    """Return HOST:PORT of a broker, which PUBSUB_EMULATOR_HOST names too."""
    if request.param == "embedded":
        address = request.getfixturevalue("embedded").address
    else:
        address = request.getfixturevalue("emulator_address")
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", address)
    return address


@pytest.fixture
def topics(pubsub: str) -> Topics:
    """Create topics and subscriptions with fresh names on the broker of this test."""
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
                env=os.environ | WARNINGS_ARE_ERRORS,
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    def stop(self, *, by_force: bool = False) -> int:
        """Send SIGTERM and return the exit code of a job that stops by itself.

        One that does not within 8 s says so and is ended by force: that is how it keeps its promise of 10 s.

        Args:
            by_force: Whether it may come to that: a call hangs, and on a busy machine nothing else takes 8 s.
        """
        self.process.terminate()
        code = self.wait()
        assert by_force or "still busy" not in self.log
        return code

    def wait(self) -> int:
        """Return the exit code of a job that ends by itself."""
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the job did not end within {LIMIT_S:g} s; its log:\n{self.log}")

    @property
    def log(self) -> str:
        return self._log.read_text()


@pytest.fixture
def start(topics: Topics, tmp_path: Path) -> Iterator[Callable[..., Pipeline]]:
    """Return a function that starts a job. Jobs that still run at the end of the test are killed."""
    started: list[Pipeline] = []

    def start_pipeline(*flags: str) -> Pipeline:
        started.append(Pipeline(topics, tmp_path / f"pipeline-{len(started)}.log", *flags))
        return started[-1]

    yield start_pipeline
    for pipeline in started:
        if pipeline.process.poll() is None:
            pipeline.process.kill()
            pipeline.process.wait()
        assert "ResourceWarning" not in pipeline.log


class At(Display):
    """Does something once, as soon as `received` results are there."""

    def __init__(self, received: int, action: Callable[[], object]) -> None:
        self._received = received
        self._action: Callable[[], object] | None = action

    def update(self, progress: Progress) -> None:
        if self._action is not None and progress.received >= self._received:
            action, self._action = self._action, None
            action()

    @property
    def done(self) -> bool:
        return self._action is None


@pytest.fixture
def drive(topics: Topics, tmp_path: Path) -> Callable[..., Summary]:
    """Return a function that runs the load driver on the topics of this test."""

    def drive_topics(
        rate: float,
        duration: float,
        display: Display | None = None,
        drain_timeout: float = LIMIT_S,
        stop: Stop | None = None,
    ) -> Summary:
        options = replace(
            topics.run_options(rate, duration, read_records(RECORDS), tmp_path / "out"),
            drain_timeout=drain_timeout,
            ready_timeout=LIMIT_S,
        )
        assert not options.problems()
        return run(options, display=display, stop=stop)

    return drive_topics


@dataclass
class Mailbox:
    """Takes and acknowledges what arrives on a subscription."""

    subscription: str

    def collect(self, count: int, within_s: float = LIMIT_S) -> list[pubsub_v1.types.PubsubMessage]:
        """Return at least `count` messages; fail the test if they do not come in time."""
        messages: list[pubsub_v1.types.PubsubMessage] = []
        deadline = time.monotonic() + within_s
        # Not a plain SubscriberClient, whose emulator channel takes no message above 4 MB.
        transport = SubscriberGrpcTransport(channel=subscriber_channel())
        with pubsub_v1.SubscriberClient(transport=transport) as client:
            while len(messages) < count and time.monotonic() < deadline:
                with contextlib.suppress(DeadlineExceeded):
                    pulled = client.pull(
                        subscription=self.subscription, max_messages=100, timeout=LIMIT_S, retry=None
                    )
                    messages += [received.message for received in pulled.received_messages]
                    ack_ids = [received.ack_id for received in pulled.received_messages]
                    if ack_ids:
                        client.acknowledge(subscription=self.subscription, ack_ids=ack_ids)
        assert len(messages) >= count, f"{len(messages)} of {count} messages in {within_s} s"
        return messages
