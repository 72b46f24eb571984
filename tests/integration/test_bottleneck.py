"""What limits the real pipeline is named right, whatever is made slow."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from broker import EmbeddedBroker
from loadtest.bottleneck.diagnose import diagnose
from loadtest.bottleneck.diagnosis import Diagnosis
from loadtest.bottleneck.job_log import with_job_log
from loadtest.bottleneck.reading import LOCAL_JOB, evidence
from loadtest.display import Display, Progress
from loadtest.driver.run import run
from loadtest.driver.system import System
from loadtest.raw_log import RawLog
from loadtest.records import read_records
from local.topics import Topics
from tests.integration.conftest import RECORDS, Pipeline
from tests.integration.endpoint.conftest import FEATURES, serving
from tests.integration.faulty_endpoint import Call, FaultyEndpoint, Refusal
from tests.integration.slow import SlowModel
from tests.serving.container import Serving
from tests.waiting import LIMIT_S

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("pubsub", ["embedded"], indirect=True)]

WARM_UP_S, SECONDS = 2.0, 8.0

Measure = Callable[..., Diagnosis]


@pytest.fixture
def measure(topics: Topics, start: Callable[..., Pipeline], tmp_path: Path) -> Measure:
    """Return a function that runs a job with its flags, drives it, and diagnoses the run."""

    def measure_job(rate: float, *flags: str, display: Display | None = None) -> Diagnosis:
        job = start(*flags)
        out = tmp_path / "out"
        options = replace(
            topics.run_options(rate, SECONDS, read_records(RECORDS), out),
            warmup=WARM_UP_S,
            drain_timeout=LIMIT_S,
            ready_timeout=LIMIT_S,
        )
        system = System({"kind": LOCAL_JOB, "flags": " ".join(flags)}, lambda: {"job": job.process.pid})
        run(options, system=system, display=display)
        assert job.stop() == 0, job.log
        found = evidence(with_job_log(RawLog.read(out), job.log), WARM_UP_S, WARM_UP_S + SECONDS)
        diagnosis = diagnose(found)
        # Shown where the test fails.
        print(found, diagnosis, sep="\n")
        return diagnosis

    return measure_job


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("serving") / "serving.log") as container:
        yield container


@pytest.fixture
def front(container: Serving) -> Iterator[FaultyEndpoint]:
    host, _, port = container.address.partition(":")
    with FaultyEndpoint(host, int(port), FEATURES) as front:
        yield front


def endpoint(front: FaultyEndpoint) -> tuple[str, str]:
    return "--inference_mode=endpoint", f"--endpoint_url={front.url}/predict"


def test_nothing(measure: Measure) -> None:
    assert measure(100).limit == "none"


def test_slow_decoding(measure: Measure) -> None:
    assert measure(130, "--decode_hook=tests.integration.slow:decode").limit == "decode"


def test_a_slow_model(measure: Measure, tmp_path: Path) -> None:
    torch.save(SlowModel().state_dict(), tmp_path / "slow.pt")
    flags = (f"--model_path={tmp_path}/slow.pt", "--model_class=tests.integration.slow:SlowModel")
    assert measure(160, *flags).limit == "model compute"


def test_a_slow_endpoint(measure: Measure, front: FaultyEndpoint) -> None:
    front.delay_s = 0.2
    found = measure(100, *endpoint(front))
    assert found.limit == "endpoint latency"
    # There is room for more calls than are made.
    assert not found.change.flags


def test_too_few_calls_in_flight(measure: Measure, front: FaultyEndpoint) -> None:
    front.delay_s = 0.02
    found = measure(100, *endpoint(front), "--endpoint_batch_size=2", "--endpoint_max_concurrency=2")
    assert found.limit == "endpoint latency"
    [flag] = found.change.flags
    assert flag.startswith("--endpoint_max_concurrency=")


def test_an_endpoint_that_is_full(measure: Measure, front: FaultyEndpoint) -> None:
    served: list[float] = []

    def full(call: Call) -> bool:
        """Return whether it has served 20 calls in the last second."""
        if sum(call.arrived - at < 1 for at in served[-20:]) >= 20:
            return True
        served.append(call.arrived)
        return False

    front.misbehave(Refusal(429, "Quota exceeded"), when=full)
    assert measure(100, *endpoint(front), "--endpoint_batch_size=4").limit == "endpoint capacity (429)"


def test_a_slow_broker(measure: Measure, embedded: EmbeddedBroker) -> None:
    embedded.faults.delay("Publish", 0.3, times=100_000)
    assert measure(100).limit == "broker"


def test_a_driver_that_is_held_back(measure: Measure) -> None:
    with held_back() as display:
        assert measure(100, display=display).limit == "driver"


class _Sending(Display):
    """Knows when messages are sent."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    def update(self, progress: Progress) -> None:
        if progress.phase == "sending":
            self.begun.set()


@contextmanager
def held_back() -> Iterator[Display]:
    """Let the sender run for a twentieth of the time once it sends, as a quota on processor time does."""
    display, ended = _Sending(), threading.Event()

    def hold_back() -> None:
        display.begun.wait(LIMIT_S)
        for pid in _senders():
            # Its process ends within the run.
            with suppress(ProcessLookupError):
                while not ended.is_set():
                    os.kill(pid, signal.SIGSTOP)
                    time.sleep(0.38)
                    os.kill(pid, signal.SIGCONT)
                    time.sleep(0.02)

    thread = threading.Thread(target=hold_back)
    thread.start()
    try:
        yield display
    finally:
        ended.set()
        display.begun.set()
        thread.join()


def _senders() -> list[int]:
    """Return the ids of the senders that this process has started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            stat, command = (folder / "stat").read_text(), (folder / "cmdline").read_bytes()
            if (
                int(stat.rpartition(")")[2].split()[1]) == os.getpid()
                and b"loadtest.driver.sending" in command
            ):
                found.append(int(folder.name))
    return found
