"""Bad requests among good ones: each becomes a dead letter, and only that."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher import PublisherClient

from local.topics import Topics
from pipeline.pubsub.channels import publisher_client
from tests.integration.conftest import Mailbox, Pipeline
from tests.integration.models import Picky

Start = Callable[..., Pipeline]

JSON, FLOAT32 = "application/json", "application/x-float32"
# What is sent, its content type, and a part of the reason that a person gets to read.
BAD = {
    "empty": (b"", JSON, "the message is empty"),
    "not UTF-8": (b'\xff\xfe{"features": []}', JSON, "not UTF-8"),
    "cut-off JSON": (b'{"features": [1, 2', JSON, "not valid JSON"),
    "no features": (b'{"other": 1}', JSON, 'no "features"'),
    "wrong length": (b'{"features": [1, 2]}', JSON, "expected 3 numbers, got 2"),
    "wrong nesting": (b'{"features": [[1], [2], [3]]}', JSON, "expected a number, got a list"),
    "strings": (b'{"features": ["1", "2", "3"]}', JSON, "expected a number, got the string '1'"),
    "null": (b'{"features": [1, null, 3]}', JSON, "expected a number, got null"),
    "NaN": (b'{"features": [1, NaN, 3]}', JSON, "no NaN"),
    "infinity": (b'{"features": [1, Infinity, 3]}', JSON, "no NaN and no Infinity"),
    "too large for float32": (b'{"features": [1, 1e39, 3]}', JSON, "too large for float32"),
    "9 MB of digits": (b'{"features": [' + b"7" * 9_000_000 + b"]}", JSON, "not valid JSON"),
    "a thousand deep": (
        b'{"features": ' + b"[" * 1000 + b"]" * 1000 + b"}",
        JSON,
        "nested more than 100 deep",
    ),
    # Beam's samples of sizes pickle what goes from step to step, which fails on objects so deep.
    "passed through, 600 deep": (
        b'{"features": [1, 2, 3], "x": ' + b"[" * 600 + b"]" * 600 + b"}",
        JSON,
        "nested more than 100 deep",
    ),
    "wrong content type": (b"1,2,3", "text/csv", "content-type 'text/csv' is not supported"),
    "binary of the wrong size": (b"\0" * 11, FLOAT32, "body of 11 bytes"),
    "binary NaN": (struct.pack("<3f", 1, float("nan"), 3), FLOAT32, "nan is not a finite number"),
    "a prediction in the body": (b'{"features": [1, 2, 3], "prediction": 1}', JSON, "called prediction"),
}


@pytest.fixture
def picky(tmp_path: Path) -> list[str]:
    """Return the flags for the model `Picky`, which takes three features."""
    path = tmp_path / "picky.pt"
    torch.save(Picky().state_dict(), path)
    return [
        f"--model_path={path}",
        "--model_class=tests.integration.models:Picky",
        "--input_shape=3",
        "--max_batch_size=50",
    ]


def good(number: int) -> bytes:
    return json.dumps({"features": [number, 1, 1], "number": number}).encode()


def publish(topic: str, *messages: pubsub_v1.types.PubsubMessage) -> None:
    # The generated client's publish: one call, so that all messages come together.
    PublisherClient.publish(publisher_client(), topic=topic, messages=messages)


def message(data: bytes, request_id: str, content_type: str = JSON) -> pubsub_v1.types.PubsubMessage:
    attributes = {"request_id": request_id, "content-type": content_type, "tenant": "acme"}
    return pubsub_v1.types.PubsubMessage(data=data, attributes=attributes)


def test_each_bad_request_is_a_dead_letter(topics: Topics, start: Start, picky: list[str]) -> None:
    job = start(*picky)
    for number, (name, (data, content_type, _)) in enumerate(BAD.items()):
        publish(
            topics.input_topic, message(good(number), f"good-{number}"), message(data, name, content_type)
        )

    results = Mailbox(topics.output_subscription).collect(len(BAD))
    letters = Mailbox(topics.dead_letter_subscription).collect(len(BAD))

    predictions = {m.attributes["request_id"]: json.loads(m.data)["prediction"] for m in results}
    assert predictions == {f"good-{number}": number + 2 for number in range(len(BAD))}
    by_name = {letter.attributes["request_id"]: letter for letter in letters}
    assert set(by_name) == set(BAD)
    for name, (data, _, reason) in BAD.items():
        letter = by_name[name]
        assert letter.data == data, name
        assert letter.attributes["error_stage"] == "decode", name
        assert letter.attributes["error_type"] == "DecodeError", name
        assert reason in letter.attributes["error_message"], name
        assert letter.attributes["tenant"] == "acme", name
    assert job.stop() == 0


def test_one_record_that_the_model_fails_on(topics: Topics, start: Start, picky: list[str]) -> None:
    numbers = [666 if number == 17 else number for number in range(50)]
    publish(topics.input_topic, *(message(good(number), f"r-{number}") for number in numbers))
    job = start(*picky)

    results = Mailbox(topics.output_subscription).collect(49)
    (letter,) = Mailbox(topics.dead_letter_subscription).collect(1)

    predictions = {m.attributes["request_id"]: json.loads(m.data)["prediction"] for m in results}
    assert predictions == {f"r-{number}": number + 2 for number in numbers if number != 666}
    assert letter.data == good(666)
    # Halved from the whole bundle: 25 others stayed together. They came by one Publish, so as one bundle.
    assert 25 in {json.loads(m.data)["batch_size"] for m in results}
    assert letter.attributes["error_stage"] == "inference"
    assert letter.attributes["error_type"] == "ValueError"
    assert "the number of the beast" in letter.attributes["error_message"]
    assert job.stop() == 0
