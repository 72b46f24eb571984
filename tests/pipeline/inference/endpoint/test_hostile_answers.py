"""Answers that are made to harm: none ends the job, none is read without end, each is tried again.

A real server on loopback sends them; what it does not fault is answered by the scripted endpoint behind it.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import orjson
import pytest

from pipeline.inference.endpoint import answer_json, attempt
from pipeline.inference.endpoint.client import EndpointClient, EndpointConfig
from pipeline.options.address import Address
from pipeline.pubsub.limits import MAX_ATTRIBUTE_VALUE_BYTES
from pipeline.request.errors import EndpointError, TransientError
from pipeline.request.messages import DeadLetter, Result
from pipeline.request.wire_format import encode
from tests.integration.faulty_endpoint import Answer, Call, FaultyEndpoint
from tests.pipeline.inference.endpoint.server import ScriptedEndpoint
from tests.pipeline.inference.endpoint.test_client import PATIENT, assert_right, predict, requests
from tests.waiting import wait_until

LIMIT = 100_000
# What the kernel and the client's own buffers take in besides: about 6 MB where both ends are on loopback.
BUFFERS = 12_000_000
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

Make = Callable[..., EndpointClient]


@pytest.fixture
def front(endpoint: ScriptedEndpoint) -> Iterator[FaultyEndpoint]:
    host, port = endpoint.address.removeprefix("http://").split(":")
    with FaultyEndpoint(host, int(port), features=3) as front:
        yield front


@pytest.fixture
def make(front: FaultyEndpoint, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    monkeypatch.setattr(attempt, "MAX_ANSWER_BYTES", LIMIT)
    monkeypatch.setattr(answer_json, "_FREE_OBJECTS", 1_000)
    clients: list[EndpointClient] = []

    def make_client(protocol: str = "predict", **policy: float) -> EndpointClient:
        config = EndpointConfig(
            Address(f"{front.url}/predict", False), protocol, 10, 8, replace(PATIENT, **policy)
        )
        clients.append(EndpointClient(config))
        return clients[-1]

    yield make_client
    for client in clients:
        client.close()


def gzip(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=31)
    return compressor.compress(body) + compressor.flush()


def body_of(predictions: bytes) -> bytes:
    return b'{"predictions": [' + predictions + b"]}"


def nested(levels: int, core: bytes = b"") -> bytes:
    return b"[" * levels + core + b"]" * levels


def raw(shape: str, body: bytes) -> Answer:
    return Answer.of(body, Content_Type=f"application/x-float32; shape={shape}")


def one_answer(client: EndpointClient) -> Result | DeadLetter:
    (answer,) = predict(client, requests(1))
    return answer


HOSTILE_JSON = {
    "never closed, 200,000 deep": Answer.of(b"[" * 200_000),
    "never closed, in the predictions": Answer.of(b'{"predictions": ' + b"[" * 200_000),
    "objects, never closed": Answer.of(b'{"a":' * 20_000),
    "101 deep": Answer.of(body_of(nested(99))),
    "900 deep": Answer.of(body_of(nested(900))),
    "900 deep behind closing brackets in a string": Answer.of(
        body_of(nested(900)).replace(b"{", b'{"x": "' + b"]" * 900 + b'", ', 1)
    ),
    "NaN and 900 deep": Answer.of(body_of(nested(900, b"NaN"))),
    "NaN and objects 900 deep": Answer.of(body_of(b'{"a":' * 900 + b"NaN" + b"}" * 900)),
    "a string that is never closed": Answer.of(body_of(b'"' + b'\\"' * 30_000)),
    "empty lists only": Answer.of(body_of(b"[" + b"[]," * 30_000 + b"[]]")),
    "empty objects only": Answer.of(body_of(b"[" + b"{}," * 30_000 + b"{}]")),
    "short strings only": Answer.of(body_of(b"[" + b'"a",' * 20_000 + b'"a"]')),
    "more predictions than instances": Answer.of(body_of(b"1," * 20_000 + b"1")),
    "an integer of 5,000 digits": Answer.of(body_of(b"9" * 5_000)),
    "an integer of 5,000 digits beside NaN": Answer.of(body_of(b"[NaN, " + b"9" * 5_000 + b"]")),
    "an integer of 100 digits beside NaN": Answer.of(body_of(b"[NaN, " + b"9" * 100 + b"]")),
    "half a surrogate": Answer.of(body_of(b'"\\ud800"')),
    "UTF-16": Answer.of(body_of(b"NaN").decode().encode("utf-16")),
    "not UTF-8": Answer.of(body_of(b'"\xff\xfe"')),
    "gzip": Answer.of(gzip(body_of(b"0")), Content_Encoding="gzip"),
    "deflate": Answer.of(zlib.compress(body_of(b"0")), Content_Encoding="deflate"),
    "a compression that nobody knows": Answer.of(body_of(b"0"), Content_Encoding="x\x01y" * 500),
    "no HTTP": Answer(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "HTTP of the future": Answer(b"HTTP/9.9 200 OK\r\n\r\n"),
    "a status of 5 digits": Answer(b"HTTP/1.1 20000 OK\r\n\r\n"),
    "NUL in a header": Answer(b"HTTP/1.1 200 OK\r\nX-Model-Id: a\0b\r\nContent-Length: 2\r\n\r\n{}"),
    "a header of 100 kB": Answer(b"HTTP/1.1 200 OK\r\nX-Model-Id: " + b"a" * 100_000 + b"\r\n\r\n"),
    "two lengths": Answer(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}"),
    "a length below 0": Answer(b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}"),
    "a length and chunks": Answer(
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    ),
    "a chunk of no length": Answer(CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk of 2^64": Answer(CHUNKED + b"10000000000000000\r\n{}\r\n0\r\n\r\n"),
    "nothing": Answer.of(b""),
    "a length that is not kept": Answer.of(b"{}", Content_Length="9000000"),
    "a deep reason": Answer.of(b'{"error": {"message": ' + nested(1_000) + b"}}", 500),
    "a deep error": Answer.of(b'{"error": ' + b"[" * 60_000, 500),
    "a compressed reason": Answer.of(gzip(b"x" * 1_000_000), 500, Content_Encoding="gzip"),
}

HOSTILE_RAW = {
    "a size of 5,000 digits": raw("9" * 5_000, bytes(4)),
    "71 dimensions": raw("x".join("1" * 71), bytes(4)),
    "an empty dimension": raw("1x0", b""),
    "no prediction": raw("0", b""),
    "a size that is not kept": raw("1x999999999", bytes(4)),
    "gzip": Answer.of(gzip(bytes(4)), Content_Type="application/x-float32; shape=1", Content_Encoding="gzip"),
}

ENDLESS = {
    "a body": Answer(CHUNKED, again=b"8000\r\n" + b"[" * 0x8000 + b"\r\n"),
    "a body until the connection closes": Answer(b"HTTP/1.1 200 OK\r\n\r\n", again=b"1" * 65_536),
    "a length of 3 GB": Answer.of(b"{", Content_Length="3000000000"),
    "two bytes at a time": Answer(CHUNKED, again=b"2\r\n[[\r\n" * 5_000),
    "headers": Answer(b"HTTP/1.1 200 OK\r\n", again=b"X-A: b\r\n" * 1_000),
    "one header": Answer(b"HTTP/1.1 200 OK\r\nX-A: ", again=b"a" * 65_536),
    "trailers": Answer(CHUNKED + b"2\r\n{}\r\n0\r\n", again=b"X-A: b\r\n" * 1_000),
    "one trailer": Answer(CHUNKED + b"2\r\n{}\r\n0\r\nX-A: ", again=b"a" * 65_536),
    "an error's body": Answer(b"HTTP/1.1 500 No\r\n\r\n", again=b"no " * 20_000),
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_tried_again(name: str, front: FaultyEndpoint, make: Make) -> None:
    front.misbehave(HOSTILE_JSON[name], times=2)
    assert_right(predict(make(), requests(1)), 1)
    assert len(front.faulted) == 2


@pytest.mark.parametrize("name", HOSTILE_RAW)
def test_raw_tried_again(name: str, front: FaultyEndpoint, make: Make) -> None:
    front.misbehave(HOSTILE_RAW[name], times=2)
    assert_right(predict(make("raw"), requests(1)), 1)
    assert len(front.faulted) == 2


@pytest.mark.parametrize("name", ENDLESS)
def test_read_up_to_a_limit(name: str, front: FaultyEndpoint, make: Make) -> None:
    """Then it is left, and tried again; where the parser finds an error, at the attempt's end at latest."""
    answer = ENDLESS[name]
    front.misbehave(answer if answer.again else replace(answer, again=b"[" * 65_536), times=1)
    assert_right(predict(make(timeout_s=2), requests(1)), 1)
    (call,) = front.faulted
    assert call.sent_bytes < LIMIT + BUFFERS


@pytest.mark.parametrize(
    "answer",
    [
        Answer(CHUNKED, again=b"1\r\n[\r\n", pause_s=0.01),
        Answer(b"HTTP/1.1 200 OK\r\n", again=b"X", pause_s=0.01),
        Answer(CONTINUE, again=CONTINUE, pause_s=0.01),
        # Of these two the parser keeps nothing, however much comes.
        Answer(CONTINUE, again=CONTINUE * 1_000),
        Answer(CHUNKED + b"2;", again=b"a" * 65_536),
    ],
    ids=["body", "header", "100 Continue", "100 Continue at once", "extension of a chunk"],
)
def test_what_has_no_end_has_the_attempts_time(answer: Answer, front: FaultyEndpoint, make: Make) -> None:
    front.misbehave(answer, times=1)
    assert_right(predict(make(timeout_s=0.5), requests(1)), 1)
    assert len(front.faulted) == 1


def test_an_absurd_retry_after_ends_with_the_deadline(front: FaultyEndpoint, make: Make) -> None:
    front.misbehave(Answer.of(b"", 503, Retry_After="9" * 4_000), times=1)
    assert_right(predict(make(deadline_s=1.5), requests(1)), 1)
    assert len(front.calls) == 2


def test_a_bomb_is_not_unpacked(front: FaultyEndpoint, make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The reason is that it is compressed, not what it would have become."""
    front.misbehave(Answer.of(gzip(b" " * 10_000_000), Content_Encoding="gzip"))
    with pytest.raises(TransientError):
        predict(make(deadline_s=0.5), requests(1))
    # The last attempt may have met the deadline.
    assert "the answer is compressed (Content-Encoding: gzip)" in caplog.text
    assert "not valid JSON" not in caplog.text
    assert {call.headers["accept-encoding"] for call in front.calls} == {"identity"}


def test_the_server_is_told_for_how_long_it_is_waited(front: FaultyEndpoint, make: Make) -> None:
    assert_right(predict(make(deadline_s=1.5), requests(1)), 1)
    assert 0 < float(front.calls[0].headers["x-server-timeout"]) <= 1.5


def test_an_answer_too_large_is_asked_for_in_parts(
    front: FaultyEndpoint, endpoint: ScriptedEndpoint, make: Make
) -> None:
    def wide(call: Call) -> bool:
        return len(call.rows) > 3

    front.misbehave(Answer.of(body_of(b",".join([b'"' + b"x" * LIMIT + b'"'] * 10))), when=wide)
    assert_right(predict(make(), requests(10)), 10)
    assert {len(call.rows) for call in front.faulted} == {10, 5}


def test_one_instance_with_an_answer_too_large_ends_with_its_limit(front: FaultyEndpoint, make: Make) -> None:
    front.misbehave(Answer.of(body_of(b'"' + b"x" * LIMIT + b'"')))
    with pytest.raises(TransientError, match="at last: the answer has more than 16,777,216 bytes"):
        predict(make(deadline_s=0.5), requests(1))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (body_of(b"0"), {"X_Model_Id": "m" * 2_000}),
        (body_of(b"0"), {"X_Vertex_AI_Deployed_Model_Id": "\xe9" * 1_000}),
        (body_of(b"0"), {"X_Model_Id": "m\x1b[31m\x07\x7f\xff"}),
        (body_of(b"0")[:-1] + b', "deployedModelId": "%s"}' % (b"9" * 3_000), {}),
        (body_of(b"0")[:-1] + b', "deployedModelId": "a\\u0000\\n\\u202e%s"}' % ("é".encode() * 700), {}),
        (body_of(b"[0]")[:-1] + b', "x": NaN, "deployedModelId": "a"}', {}),
    ],
)
def test_model_ids_fit_an_attribute(
    body: bytes, headers: dict[str, str], front: FaultyEndpoint, make: Make
) -> None:
    front.misbehave(Answer.of(body, 200, **headers))
    result = one_answer(make())
    assert isinstance(result, Result)
    assert 1 <= len(result.model_id.encode()) <= MAX_ATTRIBUTE_VALUE_BYTES
    assert result.model_id.isprintable()
    message = encode(result, 0.0)
    assert orjson.loads(message.data)["model_id"] == message.attributes["model_id"] == result.model_id


def test_a_url_too_long_for_an_attribute(front: FaultyEndpoint, endpoint: ScriptedEndpoint) -> None:
    endpoint.headers = {}
    address = Address(f"{front.url}/{'x' * 2_000}", False)
    client = EndpointClient(EndpointConfig(address, "predict", 10, 8, PATIENT))
    result = one_answer(client)
    client.close()
    assert isinstance(result, Result)
    assert result.model_id == address.url[:MAX_ATTRIBUTE_VALUE_BYTES]


@pytest.mark.parametrize("milliseconds", ["9" * 400, "1.2.3", "."])
def test_a_server_time_that_is_none(milliseconds: str, front: FaultyEndpoint, make: Make) -> None:
    front.misbehave(Answer.of(body_of(b"0"), Server_Timing=f"total;dur={milliseconds}"))
    result = one_answer(make())
    assert isinstance(result, Result)
    assert result.request.timeline.server_ms is None


def test_reasons_are_printable_and_short(front: FaultyEndpoint, make: Make) -> None:
    reason = "no\x1b[2J\r\nERROR forged line " + "x" * 5_000
    front.misbehave(Answer.of(orjson.dumps({"error": {"message": reason}}), 400))
    letter = one_answer(make())
    assert isinstance(letter, DeadLetter)
    assert letter.error_message.startswith("the endpoint refused it: 400 no\ufffd[2J  ERROR forged line x")
    assert letter.error_message.isprintable()
    assert len(letter.error_message) < 600
    front.misbehave(Answer.of(reason.encode(), 302, Location="http://127.0.0.1:1/"))
    with pytest.raises(EndpointError, match="answered 302 no") as caught:
        one_answer(make())
    assert str(caught.value).isprintable()


def test_cookies_are_not_kept(front: FaultyEndpoint, make: Make) -> None:
    # aiohttp's own jar keeps none of an address, so ask by name.
    client = EndpointClient(
        EndpointConfig(
            Address(front.url.replace("127.0.0.1", "localhost") + "/predict", False),
            "predict",
            10,
            8,
            PATIENT,
        )
    )
    front.misbehave(Answer.of(body_of(b"0"), Set_Cookie="a=b; Path=/"))
    predict(client, requests(1))
    predict(client, requests(1))
    client.close()
    assert len(front.calls) == 2
    assert not any("cookie" in call.headers for call in front.calls)


def test_as_many_lists_as_an_answer_needs(front: FaultyEndpoint, make: Make) -> None:
    """Up to a limit however dense; above it one in eight bytes; and 100 deep."""
    client = make()
    points = np.round(np.random.default_rng(1).standard_normal((3_000, 2)), 3).tolist()
    predictions: list[object] = [[[]] * 900, points, orjson.loads(nested(98))]
    for prediction in predictions:
        front.misbehave(Answer.of(orjson.dumps({"predictions": [prediction]})))
        result = one_answer(client)
        assert isinstance(result, Result)
        assert result.prediction == prediction
        assert isinstance(encode(result, 0.0).data, bytes)


def test_a_client_without_trouble_waits_for_nothing(front: FaultyEndpoint, make: Make) -> None:
    """The control: the front passes on what it does not fault."""
    assert_right(predict(make(), requests(30)), 30)
    wait_until(lambda: all(call.status == 200 for call in front.calls))
