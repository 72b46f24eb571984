"""What messages become requests, and messages of ours that come in: none goes round and round."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from apache_beam.pvalue import TaggedOutput

from pipeline.job.steps import Decode, Encode
from pipeline.pubsub.limits import MAX_MESSAGE_BYTES
from pipeline.pubsub.protos import Proto, PubsubMessage
from pipeline.request.errors import RequestError
from pipeline.request.hooks import Hook
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Request, Result
from pipeline.request.wire_format import WireMessage, encode_dead_letter

SPEC = InputSpec.parse("3")
GOOD = b'{"features": [1, 2, 3]}'
HOOK = Hook("--decode_hook", "my.hooks:decode", lambda body, attributes: [1, 2, 3])


def came_in(message: WireMessage) -> Proto:
    return PubsubMessage(data=message.data, attributes=message.attributes)


def decoded(message: WireMessage, hook: Hook | None = None) -> list[Any]:
    """Return requests, and messages of dead letters."""
    made = Decode(SPEC, hook, clock=lambda: 5.0).process(came_in(message))
    return [one.value if isinstance(one, TaggedOutput) else one for one in made]


@pytest.mark.parametrize("serialized", [False, True], ids=["raw", "serialized"])
def test_a_message_becomes_a_request(serialized: bool) -> None:
    """As the in-process source gives it, and as Dataflow does."""
    message = PubsubMessage(data=GOOD, attributes={"sent_time": "1.5"}, message_id="m1")
    message.publish_time.FromMicroseconds(2_250_001)
    element = message.SerializeToString() if serialized else message
    (request,) = Decode(SPEC, clock=lambda: 5.0).process(element)
    assert isinstance(request, Request)
    assert (request.request_id, request.data, request.attributes) == ("m1", GOOD, {"sent_time": "1.5"})
    assert (request.timeline.published, request.timeline.received) == (2.250001, 5.0)
    assert list(request.inputs) == [1, 2, 3]


def test_without_a_publish_time_none_is_made_up() -> None:
    (request,) = decoded(WireMessage(GOOD))
    assert request.timeline.published is None


@pytest.mark.parametrize("hook", [None, HOOK], ids=["no hook", "hook"])
@pytest.mark.parametrize("stage", [error.stage for error in RequestError.__subclasses__()])
@pytest.mark.parametrize("data", [GOOD, b"", b"\xff", b"x" * MAX_MESSAGE_BYTES], ids=len)
def test_a_dead_letter_is_dropped(stage: str, data: bytes, hook: Hook | None) -> None:
    """Whatever is in it, and where it has no room for all attributes, too."""
    letter = encode_dead_letter(
        DeadLetter(data, {"content-type": "image/png"}, stage, "DecodeError", "why " * 100, 5.0, "r" * 500)
    )
    assert decoded(letter, hook) == []


@pytest.mark.parametrize(
    "attributes",
    [
        {"error_stage": "decode"},
        {"error_stage": "payment", "failed_at": "5.0"},
        {"failed_at": "5.0", "error_type": "DecodeError", "error_message": "no", "attributes_dropped": "3"},
    ],
)
def test_a_senders_own_attributes_make_no_dead_letter(attributes: dict[str, str]) -> None:
    (request,) = decoded(WireMessage(GOOD, attributes))
    assert isinstance(request, Request)


@pytest.mark.parametrize("hook", [None, HOOK], ids=["no hook", "hook"])
def test_a_result_becomes_one_dead_letter_and_no_more(hook: Hook | None) -> None:
    (request,) = decoded(WireMessage(GOOD))
    (result,) = Encode(clock=lambda: 5.0).process(Result(request, np.float32(0.5), "model@1", 1))
    assert isinstance(result, WireMessage)
    (letter,) = decoded(result, hook)
    assert (letter.data, letter.attributes["error_stage"]) == (result.data, "decode")
    assert "called prediction" in letter.attributes["error_message"]
    assert decoded(letter, hook) == []


def test_the_first_that_is_dropped_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    letter = encode_dead_letter(DeadLetter(b"", {}, "encode", "EncodeError", "why", 5.0, "r1"))
    decode = Decode(SPEC)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert decode.process(came_in(letter)) == ()
    (record,) = caplog.records
    assert (
        "(request_id r1, error_stage encode): does the dead-letter topic feed the input?"
        in record.getMessage()
    )
