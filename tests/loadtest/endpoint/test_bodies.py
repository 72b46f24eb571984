from __future__ import annotations

import numpy as np
import orjson
import pytest

from loadtest.endpoint import bodies
from loadtest.endpoint.bodies import decode_records, make_bodies
from pipeline.inference.endpoint.json_codec import JsonCodec
from pipeline.inference.endpoint.raw_codec import RawCodec
from pipeline.request.input_spec import InputSpec

ROWS = [np.full(2, i, np.float32) for i in range(5)]


def firsts(data: bytes) -> list[float]:
    return [row[0] for row in orjson.loads(data)["instances"]]


def test_rows_follow_one_another_over_and_over() -> None:
    made = make_bodies(ROWS, JsonCodec(), 2)
    assert [firsts(body.data) for body in made] == [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4]]
    assert {(body.rows, body.encoded.headers["Content-Type"]) for body in made} == {(2, "application/json")}


def test_a_call_may_hold_more_rows_than_there_are() -> None:
    assert firsts(make_bodies(ROWS, JsonCodec(), 7)[0].data) == [0, 1, 2, 3, 4, 0, 1]


def test_raw_bodies_are_bytes() -> None:
    body = make_bodies(ROWS, RawCodec(), 3)[0]
    assert body.encoded.headers["Content-Type"] == "application/x-float32"
    assert np.frombuffer(body.data, "<f4").reshape(3, 2)[:, 0].tolist() == [0, 1, 2]


def test_large_bodies_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(make_bodies(ROWS, JsonCodec(), 2)[0].data)
    monkeypatch.setattr(bodies, "MOST_BYTES", 2 * size)
    assert len(make_bodies(ROWS, JsonCodec(), 2)) == 2
    monkeypatch.setattr(bodies, "MOST_BYTES", 1)
    assert len(make_bodies(ROWS, JsonCodec(), 2)) == 1


def test_a_record_that_does_not_fit_is_named() -> None:
    inputs, problems = decode_records([b'{"features": [1, 2]}', b'{"features": [1]}'], InputSpec.parse("2"))
    assert len(inputs) == 1
    assert len(problems) == 1
    assert problems[0].startswith("--input: record 2: features: expected 2 numbers, got 1")
