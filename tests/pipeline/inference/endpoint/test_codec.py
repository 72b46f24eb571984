from __future__ import annotations

import json
from contextlib import suppress

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.inference.endpoint.codec import BadResponseError, WrongCountError
from pipeline.inference.endpoint.json_codec import JsonCodec
from pipeline.inference.endpoint.raw_codec import RawCodec

JSON = JsonCodec()
RAW = RawCodec()
ROWS = [np.array([0.1, 2, 3], np.float32), np.array([4, 5, 6], np.float32)]


def of_type(media_type: str) -> dict[str, str]:
    return {"content-type": media_type}


def raw_type(shape: str) -> str:
    return f"application/x-float32; shape={shape}"


class TestJson:
    def test_instances_are_lists(self) -> None:
        assert json.loads(JSON.encode(ROWS).body) == {"instances": [[0.1, 2.0, 3.0], [4.0, 5.0, 6.0]]}

    def test_named_inputs_are_objects(self) -> None:
        rows = [{"ids": np.array([1, 2]), "scale": np.array([[0.5]])}]
        assert json.loads(JSON.encode(rows).body) == {"instances": [{"ids": [1, 2], "scale": [[0.5]]}]}

    def test_dtypes_are_numbers_and_truths(self) -> None:
        arrays = [np.array([0, 1], dtype) for dtype in ("float16", "uint8", "int8", "int16", "bool")]
        assert json.loads(JSON.encode([{"a": array} for array in arrays]).body) == {
            "instances": [{"a": [0.0, 1.0]}, *[{"a": [0, 1]}] * 3, {"a": [False, True]}]
        }
        assert JSON.encode(ROWS).headers == {"Content-Type": "application/json"}

    def test_predictions_in_order(self) -> None:
        body = b'{"predictions": [1, [2.5], {"a": "b"}], "deployedModelId": "7"}'
        assert JSON.decode(body, {}, 3) == ([1, [2.5], {"a": "b"}], "7")

    def test_not_finite_is_none(self) -> None:
        body = b'{"predictions": [1.5, NaN, [1, Infinity], {"a": [-Infinity]}, null, {"a": [2]}]}'
        assert JSON.decode(body, {}, 6).rows == [1.5, None, None, None, None, {"a": [2]}]
        assert JSON.decode(b'{"predictions": [null, 1]}', {}, 2) == ([None, 1], None)

    @pytest.mark.parametrize("body", [b"", b'{"predictions": [1', b"[1]", b'{"predictions": 1}', b"<html>"])
    def test_what_is_no_answer(self, body: bytes) -> None:
        with pytest.raises(BadResponseError, match="the answer") as caught:
            JSON.decode(body, {}, 1)
        assert not isinstance(caught.value, WrongCountError)

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_another_number_of_predictions(self, count: int) -> None:
        with pytest.raises(WrongCountError, match=f"2 predictions for {count} instances"):
            JSON.decode(b'{"predictions": [1, 2]}', {}, count)

    @given(body=st.binary(max_size=200), count=st.integers(1, 3))
    @example(body=b"[" * 200_000, count=1)
    @example(body=b'{"predictions":' + b"[" * 900 + b"NaN" + b"]" * 900 + b"}", count=1)
    @example(body=b'{"predictions":["\\ud800"]}', count=1)
    def test_whatever_comes_is_predictions_or_a_bad_response(self, body: bytes, count: int) -> None:
        for text in (body, b'{"predictions": [' + body + b"]}", b'{"predictions": [NaN, ' + body):
            with suppress(BadResponseError):
                assert len(JSON.decode(text, {}, count).rows) == count


class TestRaw:
    def test_rows_one_after_the_other(self) -> None:
        assert RAW.encode(ROWS).body == np.array([[0.1, 2, 3], [4, 5, 6]], "<f4").tobytes()

    @pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "int64", "bool"])
    def test_the_one_input_goes_in_its_dtype(self, dtype: str) -> None:
        arrays = [np.array([0, 1], dtype), np.array([1, 1], dtype)]
        sent = np.array([[0, 1], [1, 1]], np.dtype(dtype).newbyteorder("<")).tobytes()
        for rows in (arrays, [{"image": array} for array in arrays]):
            assert RAW.encode(rows).body == sent
            assert RAW.encode(rows).headers == {"Content-Type": f"application/x-{dtype}"}

    @pytest.mark.parametrize("media_type", [raw_type("2x3"), 'Application/X-Float32;shape="2x3"'])
    def test_predictions_have_their_shape(self, media_type: str) -> None:
        first, second = RAW.decode(RAW.encode(ROWS).body, of_type(media_type), 2).rows
        assert first.tolist() == ROWS[0].tolist()
        assert second.tolist() == [4, 5, 6]

    def test_scalars(self) -> None:
        assert RAW.decode(np.array([1, 2], "<f4").tobytes(), of_type(raw_type("2")), 2) == ([1, 2], None)

    def test_not_finite_is_none(self) -> None:
        body = np.array([[1, np.nan], [np.inf, 1], [1, 2]], "<f4").tobytes()
        first, second, third = RAW.decode(body, of_type(raw_type("3x2")), 3).rows
        assert (first, second, third.tolist()) == (None, None, [1, 2])

    @pytest.mark.parametrize(
        ("media_type", "body"),
        [
            ("application/x-float32", bytes(8)),
            ("application/octet-stream; shape=2", bytes(8)),
            (raw_type("2xx"), bytes(8)),
            (raw_type("2"), bytes(7)),
            (raw_type("2x3"), bytes(8)),
        ],
    )
    def test_what_is_no_answer(self, media_type: str, body: bytes) -> None:
        with pytest.raises(BadResponseError) as caught:
            RAW.decode(body, of_type(media_type), 2)
        assert not isinstance(caught.value, WrongCountError)

    def test_another_number_of_predictions(self) -> None:
        with pytest.raises(WrongCountError, match="1 predictions for 2 instances"):
            RAW.decode(bytes(8), of_type(raw_type("1x2")), 2)

    @given(
        shape=st.one_of(
            st.lists(st.integers(0, 10**30), max_size=80).map(lambda sizes: "x".join(map(str, sizes))),
            st.text(),
        ),
        body=st.binary(max_size=50),
        count=st.integers(1, 3),
    )
    @example(shape="3x0", body=b"", count=3)
    @example(shape="9" * 5_000, body=bytes(4), count=1)
    @example(shape="x".join("1" * 71), body=bytes(4), count=1)
    def test_whatever_comes_is_predictions_or_a_bad_response(
        self, shape: str, body: bytes, count: int
    ) -> None:
        with suppress(BadResponseError):
            assert len(RAW.decode(body, of_type(raw_type(shape)), count).rows) == count

    def test_all_the_dimensions_that_a_shape_may_have(self) -> None:
        (row,) = RAW.decode(bytes(4), of_type(raw_type("x".join("1" * 32))), 1).rows
        assert row.shape == (1,) * 31
        assert orjson.dumps(row.copy(), option=orjson.OPT_SERIALIZE_NUMPY) == b"[" * 31 + b"0.0" + b"]" * 31
