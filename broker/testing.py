"""The test kit: a Pub/Sub for tests of your own code, in the test's process or beside it.

`EmbeddedBroker` runs inside the test's process. It is ready in milliseconds, says what a subscription holds,
makes faults, and takes a clock that the test moves:

    import grpc
    import pytest
    from google.cloud import pubsub_v1

    from broker.testing import EmbeddedBroker, embedded_broker, google_emulator, why_no_emulator

    TOPIC = "projects/my-project/topics/orders"

    @pytest.fixture
    def broker(monkeypatch):
        with EmbeddedBroker() as broker:
            monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker.address)
            yield broker

    def test_publishing_is_retried(broker):
        publisher = pubsub_v1.PublisherClient()
        publisher.create_topic(name=TOPIC)
        broker.faults.fail("Publish", grpc.StatusCode.UNAVAILABLE, times=2)
        publisher.publish(TOPIC, b"one").result(timeout=30)
        assert broker.faults.pending("Publish") == 0

`broker.rest_url` is its REST API. `embedded_broker` is the same broker as a process of its own, for
measurements, and for tests whose code under test is a process too. `google_emulator` is Google's, which needs
gcloud and java. A test that passes on both relies on neither:

    @pytest.fixture(params=[embedded_broker, google_emulator])
    def address(request, monkeypatch):
        if request.param is google_emulator and (reason := why_no_emulator()):
            pytest.skip(reason)
        with request.param() as broker:
            monkeypatch.setenv("PUBSUB_EMULATOR_HOST", broker.address)
            yield broker.address

    def test_a_topic_is_created(address):
        publisher = pubsub_v1.PublisherClient()
        publisher.create_topic(name=TOPIC)
        assert publisher.get_topic(topic=TOPIC).name == TOPIC
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from broker.embedded import EmbeddedBroker

__all__ = ["BrokerProcess", "EmbeddedBroker", "embedded_broker", "google_emulator", "why_no_emulator"]

START_WITHIN_S = 60.0


@dataclass(frozen=True)
class BrokerProcess:
    """A running broker.

    Attributes:
        name: `embedded` or `emulator`.
        address: `HOST:PORT`, as PUBSUB_EMULATOR_HOST takes it.
        group: Id of the process group that holds it and its children.
    """

    name: str
    address: str
    group: int

    def cpu_seconds(self) -> float:
        """Return the processor time so far of all processes of the group; NaN where there is no /proc."""
        if not Path("/proc/self/stat").exists():
            return float("nan")
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended since the listing
            # The command name may hold spaces; fields are counted from behind it (see proc(5)).
            fields = text.rpartition(")")[2].split()
            if int(fields[2]) == self.group:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def embedded_broker() -> Iterator[BrokerProcess]:
    """Run `python -m broker` on a free port, and stop it at the end.

    Raises:
        RuntimeError: It ended instead of listening.
    """
    # This checkout's broker, wherever the caller stands: without -P, Python would look for a module of that
    # name in the current folder first.
    path = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")]))
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "broker", "--port", "0"],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None  # for mypy: it is a pipe
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the broker ended at once with exit code {process.wait()}")
        yield BrokerProcess("embedded", line.split()[-1], process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def why_no_emulator() -> str | None:
    """Return why Google's emulator cannot run here; None if it can."""
    if shutil.which("java") is None:
        return "there is no java"
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return "there is no gcloud"
    if not (Path(gcloud).resolve().parents[1] / "platform" / "pubsub-emulator").is_dir():
        return "gcloud has no pubsub-emulator (gcloud components install pubsub-emulator)"
    return None


@contextmanager
def google_emulator() -> Iterator[BrokerProcess]:
    """Run Google's emulator on a free port, and stop it at the end; check `why_no_emulator` first.

    Raises:
        RuntimeError: It ended or did not listen in time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["gcloud", "beta", "emulators", "pubsub", "start", f"--host-port=127.0.0.1:{port}", "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _await_listening(port, process)
        yield BrokerProcess("emulator", f"127.0.0.1:{port}", process.pid)
    finally:
        # The whole group: gcloud alone would leave its java child behind.
        with suppress(ProcessLookupError):  # all of it has ended
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _await_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_WITHIN_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise RuntimeError(f"the emulator ended at once with exit code {process.returncode}")
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the emulator did not listen within {START_WITHIN_S:g} s")
