"""What messages become requests, and messages of ours that come in: none goes round and round."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest
from apache_beam.pvalue import TaggedOutput

from pipeline.io.connectors import as_it_is, as_one_list
from pipeline.job.steps import BATCH_BYTES, Decode, Encode
from pipeline.pubsub.limits import MAX_MESSAGE_BYTES
from pipeline.pubsub.protos import Proto, PubsubMessage
from pipeline.request.errors import RequestError
from pipeline.request.hooks import Hook
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Request, Result, Timeline
from pipeline.request.wire_format import WireMessage, encode_dead_letter

SPEC = InputSpec.parse("3")
GOOD = b'{"features": [1, 2, 3]}'
HOOK = Hook("--decode_hook", "my.hooks:decode", lambda body, attributes: [1, 2, 3])


def came_in(message: WireMessage) -> Proto:
    return PubsubMessage(data=message.data, attributes=message.attributes)


def decoder(most: int = 100, hook: Hook | None = None, parse: Callable[[Any], Proto] = as_it_is) -> Decode:
    decode = Decode(parse, SPEC, most, hook, clock=lambda: 5.0)
    decode.start_bundle()
    return decode


def decoded(message: WireMessage, hook: Hook | None = None) -> list[Any]:
    """Return the message's request, or that of its dead letter; an empty list where it was dropped."""
    decode = decoder(hook=hook)
    assert decode.process(came_in(message)) == ()
    batch = [one for batch in decode.finish_bundle() for one in batch.value]
    return [encoded(one)[1][0] if isinstance(one, DeadLetter) else one for one in batch]


def encoded(*answers: Result | DeadLetter) -> tuple[list[list[WireMessage]], list[WireMessage]]:
    """Return lists of results, and the dead letters."""
    outputs = list(Encode(as_one_list, as_one_list, clock=lambda: 5.0).process(answers))
    letters = [output.value[0] for output in outputs if isinstance(output, TaggedOutput)]
    return [output for output in outputs if isinstance(output, list)], letters


@pytest.mark.parametrize("serialized", [False, True], ids=["raw", "serialized"])
def test_a_message_becomes_a_request(serialized: bool) -> None:
    """As the in-process source gives it, and as Dataflow does."""
    message = PubsubMessage(data=GOOD, attributes={"sent_time": "1.5"}, message_id="m1")
    message.publish_time.FromMicroseconds(2_250_001)
    decode = decoder(parse=PubsubMessage.FromString if serialized else as_it_is)
    assert decode.process(message.SerializeToString() if serialized else message) == ()
    ((request,),) = (batch.value for batch in decode.finish_bundle())
    assert isinstance(request, Request)
    assert (request.request_id, request.data, request.attributes) == ("m1", GOOD, {"sent_time": "1.5"})
    assert (request.timeline.published, request.timeline.received) == (2.250001, 5.0)
    assert list(request.inputs) == [1, 2, 3]


class TestBatches:
    def requests(self, outputs: Iterable[Any]) -> list[list[str]]:
        return [[request.request_id for request in batch.value] for batch in outputs]

    def send(self, decode: Decode, *request_ids: str) -> list[list[str]]:
        messages = [came_in(WireMessage(GOOD, {"request_id": request_id})) for request_id in request_ids]
        return self.requests(output for message in messages for output in decode.process(message))

    def test_a_batch_is_what_the_bundle_has_up_to_the_most(self) -> None:
        decode = decoder(most=2)
        assert self.send(decode, "a", "b", "c", "d", "e") == [["a", "b"], ["c", "d"]]
        assert self.requests(decode.finish_bundle()) == [["e"]]
        assert self.requests(decode.finish_bundle()) == []

    def test_what_a_bundle_left_that_failed_is_not_in_the_next(self) -> None:
        decode = decoder()
        assert self.send(decode, "a") == []
        decode.start_bundle()
        assert self.send(decode, "b") == []
        assert self.requests(decode.finish_bundle()) == [["b"]]

    def test_a_dead_letter_is_in_the_batch_and_harms_no_other(self) -> None:
        decode = decoder()
        assert self.send(decode, "a") == []
        assert decode.process(came_in(WireMessage(b"no", {"request_id": "x"}))) == ()
        assert self.send(decode, "b") == []
        ((first, letter, last),) = (batch.value for batch in decode.finish_bundle())
        assert isinstance(letter, DeadLetter)
        assert [each.request_id for each in (first, letter, last)] == ["a", "x", "b"]

    def test_large_bodies_make_smaller_batches(self) -> None:
        decode = decoder()
        data = b'{"features": [1, 2, 3], "x": "' + b"x" * (BATCH_BYTES // 2) + b'"}'
        sizes = [len(batch.value) for _ in range(5) for batch in decode.process(came_in(WireMessage(data)))]
        assert sizes == [2, 2]
        assert [len(batch.value) for batch in decode.finish_bundle()] == [1]

    def test_answers_of_a_batch_leave_in_lists_of_about_a_megabyte(self) -> None:
        made = [answer(str(number), b'"' + b"x" * 400_000 + b'"') for number in range(5)]
        refused = answer("no", b"{}", prediction=object())
        letter = DeadLetter(b"", {}, "inference", "ValueError", "why", 5.0, "r9")
        lists, letters = encoded(made[0], letter, *made[1:], refused)
        assert [[message.attributes["request_id"] for message in one] for one in lists] == [
            ["0", "1", "2"],
            ["3", "4"],
        ]
        assert [(one.attributes["request_id"], one.attributes["error_stage"]) for one in letters] == [
            ("r9", "inference"),
            ("no", "encode"),
        ]


def answer(request_id: str, passthrough: bytes, prediction: Any = 0.5) -> Result:
    request = Request(request_id, np.zeros(3), b"", {}, passthrough, Timeline())
    return Result(request, prediction, "model@1", 1)


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
    ((result,),), letters = encoded(Result(request, np.float32(0.5), "model@1", 1))
    assert letters == []
    (letter,) = decoded(result, hook)
    assert (letter.data, letter.attributes["error_stage"]) == (result.data, "decode")
    assert "called prediction" in letter.attributes["error_message"]
    assert decoded(letter, hook) == []


def test_the_first_that_is_dropped_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    letter = encode_dead_letter(DeadLetter(b"", {}, "encode", "EncodeError", "why", 5.0, "r1"))
    decode = decoder()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert decode.process(came_in(letter)) == ()
    (record,) = caplog.records
    assert (
        "(request_id r1, error_stage encode): does the dead-letter topic feed the input?"
        in record.getMessage()
    )
