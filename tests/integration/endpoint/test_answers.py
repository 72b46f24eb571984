"""Answers that are broken, hostile or refused in part, and everybody has the right one in the end."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from broker import EmbeddedBroker
from loadtest.summary import Summary
from local.topics import Topics
from tests.integration.conftest import Mailbox
from tests.integration.endpoint.conftest import (
    Start,
    assert_own_answers,
    bodies,
    driven,
    lines_with,
)
from tests.integration.faulty_endpoint import Answer, Broken, Fault, FaultyEndpoint, Refusal
from tests.integration.test_faults import assert_complete, ids, send

Drive = Callable[..., Summary]

pytestmark = pytest.mark.parametrize("pubsub", ["embedded"], indirect=True)


BROKEN = (Broken.CUT_BODY, Broken.MALFORMED, Broken.TOO_FEW, Broken.TOO_MANY)


@pytest.mark.parametrize(
    ("faults", "every", "flags", "reason"),
    [
        pytest.param([Refusal(503, "busy")], 5, [], "503 busy", id="503 for one call in five"),
        pytest.param([Broken.HANG], 10, ["--endpoint_timeout_s=1"], "no answer within 1 s", id="hangs"),
        # Of several calls at once, whichever is found broken first is told of.
        pytest.param(BROKEN, 3, [], "", id="broken answers"),
        pytest.param(BROKEN, 3, ["--endpoint_protocol=raw"], "", id="broken raw answers"),
    ],
)
def test_some_calls_fail(
    faults: list[Fault], every: int, flags: list[str], reason: str,
    start_job: Start, drive: Drive, front: FaultyEndpoint, predictions: dict[int, float], tmp_path: Path,
) -> None:  # fmt: skip
    front.misbehave(*faults, every=every)
    job = start_job(*flags)
    summary = drive(200, 2)
    assert_complete(summary, 400)
    assert_own_answers(driven(tmp_path / "out"), predictions)
    assert {call.fault for call in front.faulted} == set(faults)
    assert max(len(call.rows) for call in front.faulted) > 1
    assert 1 <= len(lines_with(f"{front.url}/predict: {reason}", job.log)) <= 3, job.log
    assert job.stop() == 0


HOSTILE = {
    "nested deep": Answer.of(b"[" * 200_000),
    "nested deep beside NaN": Answer.of(b'{"predictions": [' + b"[" * 900 + b"NaN" + b"]" * 900 + b"]}"),
    "lists of nothing": Answer.of(b'{"predictions": [[' + b"[]," * 3_000_000 + b"[]]]}"),
    "gzip of nothing": Answer.of(zlib.compress(b" " * 30_000_000, wbits=31), Content_Encoding="gzip"),
    "no end": Answer(b"HTTP/1.1 200 OK\r\n\r\n", again=b"[" * 65_536),
    "headers without end": Answer(b"HTTP/1.1 200 OK\r\n", again=b"X-A: b\r\n" * 1_000),
    "a shape of 71 dimensions": Answer.of(
        bytes(4), Content_Type=f"application/x-float32; shape={'x'.join('1' * 71)}"
    ),
}


@pytest.mark.parametrize("flags", [(), ("--endpoint_protocol=raw",)], ids=["JSON", "raw"])
def test_hostile_answers(
    flags: tuple[str, ...], start_job: Start, drive: Drive, front: FaultyEndpoint,
    predictions: dict[int, float], tmp_path: Path,
) -> None:  # fmt: skip
    """One call in four is answered so, and everybody has the right answer in the end."""
    front.misbehave(*HOSTILE.values(), every=4)
    # At least 60 calls, however many requests have piled up.
    job = start_job("--endpoint_batch_size=5", *flags)
    summary = drive(100, 3)
    assert_complete(summary, 300)
    assert_own_answers(driven(tmp_path / "out"), predictions)
    assert {call.fault for call in front.faulted} == set(HOSTILE.values())
    assert job.stop() == 0, job.log
    assert not lines_with(" ERROR ", job.log), job.log


def test_a_hostile_model_id(
    embedded: EmbeddedBroker, topics: Topics, start_job: Start, front: FaultyEndpoint
) -> None:
    """It becomes an attribute of the result, and Pub/Sub takes 1,024 bytes of it."""
    send(topics, 1)
    front.misbehave(Answer.of(b'{"predictions": [0.5]}', X_Model_Id="m\x1b\xff" * 1_000))
    job = start_job()
    [result] = Mailbox(topics.output_subscription).collect(1)
    model_id = result.attributes["model_id"]
    assert 1_000 < len(model_id.encode()) <= 1_024
    assert model_id.isprintable()
    assert json.loads(result.data)["model_id"] == model_id
    assert job.stop() == 0, job.log


def test_batches_too_large_for_the_endpoint(
    embedded: EmbeddedBroker, topics: Topics, start_job: Start, front: FaultyEndpoint,
    predictions: dict[int, float],
) -> None:  # fmt: skip
    """They are answered in parts, and no request is blamed for the size of its batch."""
    send(topics, 100)
    front.misbehave(Refusal(413, "too many instances"), when=lambda call: len(call.rows) > 3)
    job = start_job("--endpoint_protocol=raw")
    results = Mailbox(topics.output_subscription).collect(100)
    assert ids(results) == {f"r-{n}" for n in range(100)}
    assert_own_answers(bodies(results), predictions)
    assert front.faulted
    assert job.stop() == 0
    assert embedded.stats(topics.dead_letter_subscription).backlog == 0
