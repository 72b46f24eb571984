"""The stage that a worker's SDK process runs, taken out of the graph that is staged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.io.gcp.pubsub import ReadFromPubSub, WriteToPubSub
from apache_beam.runners.worker.bundle_processor import DATA_INPUT_URN, DATA_OUTPUT_URN
from apache_beam.transforms.window import FixedWindows

from benchmarks.harness.fused_stage import FusedStage, NoSuchStageError, decode, encode
from benchmarks.harness.staging import WrongFlagsError, staged, staged_graph
from tests.pipeline.job.test_command_line import line

SUBSCRIPTION = "projects/my-project/subscriptions/requests"
TOPIC = "projects/my-project/topics/results"

Build = Callable[[beam.Pipeline, object], None]


def test_the_job_is_one_stage_between_the_native_steps(tmp_path: Path) -> None:
    stage = FusedStage.of(staged(tmp_path / "job", line()).proto)
    urns = {id_: transform.spec.urn for id_, transform in stage.descriptor.transforms.items()}
    assert [id_ for id_, urn in urns.items() if urn == DATA_INPUT_URN] == [stage.input_id]
    assert {id_ for id_, urn in urns.items() if urn == DATA_OUTPUT_URN} == stage.topics.keys()
    assert sorted(topic.rpartition("/")[2] for topic in stage.topics.values()) == [
        "dead-letters",
        "results",
    ]
    names = {transform.unique_name for transform in stage.descriptor.transforms.values()}
    assert {"Decode", "Infer/BeamML_RunInference", "Encode/ParDo(Encode)"} <= names


def test_wrong_flags_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WrongFlagsError, match="--input_subscription"):
        staged(tmp_path / "job", line(input_subscription="requests"))


def unwritten(pipeline: beam.Pipeline, options: object) -> None:
    minutes = pipeline | ReadFromPubSub(subscription=SUBSCRIPTION) | beam.WindowInto(FixedWindows(60))
    minutes | beam.GroupBy(len)


def read_twice(pipeline: beam.Pipeline, options: object) -> None:
    for name in ("one", "two"):
        bytes_ = pipeline | f"read {name}" >> ReadFromPubSub(subscription=SUBSCRIPTION)
        bytes_ | f"write {name}" >> WriteToPubSub(TOPIC)


@pytest.mark.parametrize("build", [unwritten, read_twice])
def test_another_graph_is_refused(build: Build, tmp_path: Path) -> None:
    with pytest.raises(NoSuchStageError):
        FusedStage.of(staged_graph(tmp_path / "job", build).proto)


def test_elements_travel_in_pieces() -> None:
    elements = [b"", b"x" * 700_000, b"y" * 700_000, b"z"]
    pieces = encode(elements, 1.5)
    assert len(pieces) == 2
    assert list(decode(pieces)) == elements
    assert encode([], 1.5) == ()
