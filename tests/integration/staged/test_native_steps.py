"""What the service itself runs of the job: the native steps, as Beam's own transforms stage them."""

from __future__ import annotations

from pathlib import Path

import apache_beam as beam
from apache_beam.io.gcp.pubsub import ReadFromPubSub, WriteToPubSub
from apache_beam.portability import common_urns
from apache_beam.portability.api import beam_runner_api_pb2

from benchmarks.harness.staging import Staged, staged, staged_graph
from tests.pipeline.job.test_command_line import GOOD, line

READ, WRITE = common_urns.composites.PUBSUB_READ.urn, common_urns.composites.PUBSUB_WRITE.urn


def beams_own(pipeline: beam.Pipeline, options: object) -> None:
    messages = pipeline | ReadFromPubSub(subscription=GOOD["input_subscription"], with_attributes=True)
    for topic in ("output_topic", "dead_letter_topic"):
        messages | topic >> WriteToPubSub(GOOD[topic], with_attributes=True)


def native_steps(job: Staged) -> dict[str, list[bytes]]:
    """Return the payloads of native steps by their URNs, and check that they take and give bytes."""
    components = job.proto.components
    found: dict[str, list[bytes]] = {READ: [], WRITE: []}
    for transform in components.transforms.values():
        if transform.spec.urn in found:
            found[transform.spec.urn].append(transform.spec.payload)
            assert not transform.subtransforms
            for pcollection in (*transform.inputs.values(), *transform.outputs.values()):
                coder = components.coders[components.pcollections[pcollection].coder_id]
                assert coder.spec.urn == common_urns.coders.BYTES.urn
    return found


def test_they_are_staged_as_beam_stages_them(tmp_path: Path) -> None:
    ours = native_steps(staged(tmp_path / "ours", line(runner="DataflowRunner")))
    beams = native_steps(staged_graph(tmp_path / "beams", beams_own))
    assert ours[READ] == beams[READ]
    assert len(ours[READ]) == 1
    assert len(ours[WRITE]) == 2
    assert set(ours[WRITE]) == set(beams[WRITE])
    # What is compared are ids and timestamps, which the service handles: no attribute stands for them.
    read = beam_runner_api_pb2.PubSubReadPayload.FromString(ours[READ][0])
    assert read.subscription == GOOD["input_subscription"]
    assert read.with_attributes
    assert not read.id_attribute
    assert not read.timestamp_attribute
    writes = [beam_runner_api_pb2.PubSubWritePayload.FromString(payload) for payload in ours[WRITE]]
    assert {write.topic for write in writes} == {GOOD["output_topic"], GOOD["dead_letter_topic"]}
    assert {(write.id_attribute, write.timestamp_attribute) for write in writes} == {("", "")}
