"""Beam's SDK harness inside the worker image, given work by a runner outside it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import orjson
import pytest
import torch
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from benchmarks.harness.fused_stage import FusedStage, encode
from benchmarks.harness.models import MODEL
from benchmarks.harness.sdk_harness import run_bundles, sdk_harnesses
from benchmarks.harness.staging import staged
from pipeline.pubsub.protos import Proto, PubsubMessage
from tests.images.buildah import container
from tests.images.harness import harness_script
from tests.pipeline.job.test_command_line import line

pytestmark = pytest.mark.image

# In the image there are no tests: a function of __main__ is pickled whole.
_WHERE = """
def where(number):
    import apache_beam, pipeline, sys
    return number, sys.version_info[:2], apache_beam.__file__, pipeline.__file__
"""


def test_the_harness_runs_in_the_image(worker: str, tmp_path: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(_WHERE, namespace)
    where: Callable[[int], Any] = namespace["where"]
    with container(worker) as name:
        script = harness_script(name, tmp_path / "harness")
        runner = FnApiRunner(default_environment=SubprocessSDKEnvironment(str(script)))
        with beam.Pipeline(runner=runner) as pipeline:
            found = pipeline | beam.Create([1, 2]) | beam.Map(where)
            packages = "/usr/local/lib/python3.11/dist-packages"
            at = ((3, 11), f"{packages}/apache_beam/__init__.py", f"{packages}/pipeline/__init__.py")
            assert_that(found, equal_to([(1, *at), (2, *at)]))


RECORDS = MODEL.with_name("records.jsonl").read_bytes().splitlines()
MESSAGES, BUNDLE = 2_000, 100
BROKEN = frozenset(range(7, MESSAGES, 50))


def request(number: int) -> bytes:
    body = b"no JSON" if number in BROKEN else RECORDS[number % len(RECORDS)]
    message = PubsubMessage(data=body, attributes={"request_id": str(number)})
    message.publish_time.GetCurrentTime()
    serialized: bytes = message.SerializeToString()
    return serialized


def test_the_staged_job_runs_in_the_image(worker: str, tmp_path: Path) -> None:
    """All of Dataflow but the service: what it is given, in processes with the image's code and model."""
    job = staged(tmp_path / "job", line(model_path="/models/model.pt2"))
    bundles = [
        encode((request(number) for number in range(first, first + BUNDLE)), time.time())
        for first in range(0, MESSAGES, BUNDLE)
    ]
    # A container for each process, as on a worker of Dataflow.
    with container(worker) as first, container(worker) as second:
        scripts = iter([str(harness_script(name, tmp_path / name)) for name in (first, second)])
        with sdk_harnesses(
            FusedStage.of(job.proto),
            job.worker_options,
            processes=2,
            command=lambda variables: (next(scripts),),
            folder=tmp_path,
        ) as harnesses:
            futures = run_bundles(harnesses.running, bundles, in_flight=3)
            outputs = [future.result().outputs() for future in futures]
    written: dict[str, list[Proto]] = {"results": [], "dead-letters": []}
    for topics in outputs:
        for topic, messages in topics.items():
            written[topic.rpartition("/")[2]] += map(PubsubMessage.FromString, messages)
    assert sorted(int(letter.attributes["request_id"]) for letter in written["dead-letters"]) == sorted(
        BROKEN
    )
    answers = {
        int(result.attributes["request_id"]): orjson.loads(result.data) for result in written["results"]
    }
    assert len(written["results"]) == len(answers) == MESSAGES - len(BROKEN)
    assert answers.keys() == set(range(MESSAGES)) - BROKEN
    features = [orjson.loads(RECORDS[number % len(RECORDS)])["features"] for number in answers]
    with torch.inference_mode():
        expected = torch.export.load(MODEL).module()(torch.tensor(features, dtype=torch.float32))
    np.testing.assert_allclose(
        [answer["prediction"] for answer in answers.values()], expected.numpy(), rtol=1e-4, atol=1e-5
    )
