"""Jobs as they are staged, run by real SDK harness processes that never saw this one."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import apache_beam as beam
import numpy as np
import orjson
import pytest
import torch

from benchmarks.harness.bundles import BundleFailedError, Distribution, ProcessLostError, UserMetrics
from benchmarks.harness.fused_stage import FusedStage, encode
from benchmarks.harness.models import MODEL
from benchmarks.harness.sdk_harness import (
    EndedBadlyError,
    SdkHarness,
    SdkHarnesses,
    run_bundles,
    sdk_harnesses,
)
from benchmarks.harness.staging import Staged, staged, staged_graph
from benchmarks.harness.write_serialized import WriteSerialized
from pipeline.io.native import ReadSerialized
from pipeline.pubsub.protos import PubsubMessage
from tests.pipeline.job.test_command_line import line
from tests.waiting import wait_until

SUBSCRIPTION = "projects/my-project/subscriptions/requests"
RESULTS = "projects/my-project/topics/results"
DEAD_LETTERS = "projects/my-project/topics/dead-letters"
RECORDS = MODEL.with_name("records.jsonl").read_bytes().splitlines()
BROKEN = frozenset(range(7, 200, 20))

pytestmark = pytest.mark.slow


def message(number: int) -> bytes:
    """Return a request as the native read gives it; some are broken."""
    body = b"no JSON" if number in BROKEN else RECORDS[number % len(RECORDS)]
    proto = PubsubMessage(data=body, attributes={"request_id": str(number)}, message_id=str(number))
    proto.publish_time.GetCurrentTime()
    serialized: bytes = proto.SerializeToString()
    return serialized


def test_the_staged_job_answers_every_message(tmp_path: Path) -> None:
    job = staged(tmp_path / "job", line(model_path=str(MODEL)))
    bundles = [
        encode((message(number) for number in range(first, first + 20)), time.time())
        for first in range(0, 200, 20)
    ]
    with sdk_harnesses(FusedStage.of(job.proto), job.worker_options) as harnesses:
        (harness,) = harnesses.running
        before = harness.cpu_seconds()
        done = [future.result() for future in run_bundles([harness], bundles, in_flight=3)]
        assert harness.cpu_seconds() > before
    assert not harness.is_running

    outputs = [bundle.outputs() for bundle in done]
    results = [PubsubMessage.FromString(each) for topics in outputs for each in topics.get(RESULTS, ())]
    dead = [PubsubMessage.FromString(each) for topics in outputs for each in topics[DEAD_LETTERS]]
    answered = {int(each.attributes["request_id"]): orjson.loads(each.data) for each in results}
    assert sorted(int(each.attributes["request_id"]) for each in dead) == sorted(BROKEN)
    assert {each.attributes["error_stage"] for each in dead} == {"decode"}
    assert len(results) == len(answered) == 200 - len(BROKEN)
    assert answered.keys() == set(range(200)) - BROKEN
    features = [orjson.loads(RECORDS[number % len(RECORDS)])["features"] for number in answered]
    with torch.inference_mode():
        expected = torch.export.load(MODEL).module()(torch.tensor(features, dtype=torch.float32))
    np.testing.assert_allclose(
        [each["prediction"] for each in answered.values()], expected.numpy(), rtol=1e-4, atol=1e-5
    )
    metrics = sum((bundle.metrics() for bundle in done), UserMetrics())
    assert (metrics.counters["results"], metrics.counters["dead_letters_decode"]) == (190, len(BROKEN))
    assert metrics.distributions["batch_size"].count == 190


class Obey(beam.DoFn):
    """Does what the message's data says."""

    def process(self, element: bytes) -> Iterator[bytes]:
        word, _, path = PubsubMessage.FromString(element).data.decode().partition(" ")
        if word == "fail":
            raise ValueError("told to")
        if word == "hold":
            Path(path).touch()
            threading.Event().wait()
        yield element


def obedient(pipeline: beam.Pipeline, options: object) -> None:
    pipeline | ReadSerialized(SUBSCRIPTION) | beam.ParDo(Obey()) | WriteSerialized(RESULTS)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Staged:
    return staged_graph(tmp_path_factory.mktemp("obedient") / "job", obedient)


@pytest.fixture
def harnesses(job: Staged) -> Iterator[SdkHarnesses]:
    with sdk_harnesses(FusedStage.of(job.proto), job.worker_options) as running:
        yield running


def bundle(*words: str) -> Sequence[bytes]:
    return encode((PubsubMessage(data=word.encode()).SerializeToString() for word in words), 0.0)


def words(harness: SdkHarness, *said: str) -> list[str]:
    outputs = harness.submit(bundle(*said)).result().outputs()
    return [PubsubMessage.FromString(each).data.decode() for each in outputs[RESULTS]]


def test_a_failed_bundle_says_why_and_others_go_on(harnesses: SdkHarnesses) -> None:
    (harness,) = harnesses.running
    bundles = [bundle("one"), bundle("two", "fail"), bundle("three")]
    first, failed, last = run_bundles([harness], bundles, in_flight=2)
    assert isinstance(failed.exception(), BundleFailedError)
    with pytest.raises(BundleFailedError, match="ValueError: told to"):
        failed.result()
    assert not isinstance(failed.exception(), ProcessLostError)
    assert first.result().outputs().keys() == last.result().outputs().keys() == {RESULTS}
    assert words(harness, "four", "five") == ["four", "five"]
    assert any("told to" in entry for entry in harness.log)


def test_bundles_of_a_killed_process_are_run_by_another(harnesses: SdkHarnesses, tmp_path: Path) -> None:
    (harness,) = harnesses.running
    held = [harness.submit(bundle(f"hold {tmp_path / str(number)}")) for number in range(2)]
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2)  # both run at once
    harness.kill()
    for future in held:
        with pytest.raises(ProcessLostError):
            future.result()
    with pytest.raises(ProcessLostError):
        harness.submit(bundle("late")).result()
    other = harnesses.start()
    assert words(other, "again") == ["again"]


def test_bundles_go_to_the_processes_that_are_left(harnesses: SdkHarnesses) -> None:
    harnesses.start()
    gone, left = harnesses.running
    gone.kill()
    done = run_bundles([gone, left], [bundle(str(number)) for number in range(6)], in_flight=2)
    lost = [future for future in done if isinstance(future.exception(), ProcessLostError)]
    assert len(lost) == 2  # one for each slot of the killed process
    left.kill()
    with pytest.raises(ProcessLostError, match="bundles are left"):
        run_bundles([gone, left], [bundle(str(number)) for number in range(6)], in_flight=2)


def test_a_process_that_cannot_start_says_so(job: Staged) -> None:
    def command(variables: Mapping[str, str]) -> Sequence[str]:
        return (sys.executable, "-c", "import os, sys; sys.exit('no ' + os.environ['WORKER_ID'])")

    with sdk_harnesses(FusedStage.of(job.proto), job.worker_options, command=command) as running:
        (harness,) = running.running
        with pytest.raises(ProcessLostError, match="code 1:\nno sdk-0"):
            harness.submit(bundle("one")).result()


def test_a_process_that_ends_badly_is_told_of(job: Staged) -> None:
    def command(variables: Mapping[str, str]) -> Sequence[str]:
        script = (
            "import atexit, os\n"
            "from apache_beam.runners.worker import sdk_worker_main\n"
            "atexit.register(os._exit, 7)\n"
            "sdk_worker_main.main([])\n"
        )
        return (sys.executable, "-c", script)

    with (
        pytest.raises(EndedBadlyError, match="sdk-0 ended with code 7"),
        sdk_harnesses(FusedStage.of(job.proto), job.worker_options, command=command) as running,
    ):
        assert words(running.running[0], "one") == ["one"]


def test_no_process_outlives_an_error(job: Staged) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        sdk_harnesses(FusedStage.of(job.proto), job.worker_options, processes=2) as running,
    ):
        raise ZeroDivisionError
    for harness in running.running:
        with pytest.raises(ProcessLookupError):
            os.kill(harness.pid, 0)


def test_metrics_of_bundles_add_up() -> None:
    one = UserMetrics({"results": 2}, {"size": Distribution(1, 5, 5, 5)})
    other = UserMetrics({"results": 1, "lost": 4}, {"size": Distribution(2, 9, 3, 6)})
    assert one + other == UserMetrics({"results": 3, "lost": 4}, {"size": Distribution(3, 14, 3, 6)})
