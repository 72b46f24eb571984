from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.inference.endpoint.codec import BadResponseError, WrongCountError
from pipeline.inference.endpoint.triton_codec import TritonCodec
from pipeline.options.address import Address

DIRECT = TritonCodec(Address("http://127.0.0.1:8000/v2/models/m/infer", False))
VERTEX = TritonCodec(Address("https://x/v1/projects/p/locations/l/endpoints/1:rawPredict", True))
SIZE = "inference-header-content-length"
ROWS = [np.array([0.1, 2, 3], np.float32), np.array([4, 5, 6], np.float32)]
SCORES = np.array([[0.25], [0.75]], "<f4")


def described(name: str, array: np.ndarray, datatype: str) -> dict[str, Any]:
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(array.shape),
        "parameters": {"binary_data_size": array.nbytes},
    }


def answer(*outputs: tuple[dict[str, Any], bytes], **head: Any) -> tuple[bytes, dict[str, str]]:
    content = {"model_name": "m", "model_version": "3", "outputs": [each for each, _ in outputs]} | head
    text = json.dumps(content).encode()
    return text + b"".join(data for _, data in outputs), {SIZE: str(len(text))}


def scores(**changes: Any) -> tuple[dict[str, Any], bytes]:
    return described("OUTPUT__0", SCORES, "FP32") | changes, SCORES.tobytes()


class TestEncoding:
    def test_the_json_and_then_the_tensors(self) -> None:
        rows = [{"ids": np.array([1, 2]), "scale": np.array([0.5], np.float32)}] * 2
        body, headers = DIRECT.encode(rows)
        size = int(headers["Inference-Header-Content-Length"])
        assert headers["Content-Type"] == "application/octet-stream"
        assert json.loads(body[:size]) == {
            "inputs": [
                {"name": "ids", "shape": [2, 2], "datatype": "INT64", "parameters": {"binary_data_size": 32}},
                {"name": "scale", "shape": [2, 1], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            ],
            "parameters": {"binary_data_output": True},
        }
        assert body[size:] == np.array([1, 2, 1, 2], "<i8").tobytes() + np.array([0.5] * 2, "<f4").tobytes()

    def test_the_only_input_without_a_name(self) -> None:
        body, headers = DIRECT.encode(ROWS)
        (only,) = json.loads(body[: int(headers["Inference-Header-Content-Length"])])["inputs"]
        assert (only["name"], only["shape"]) == ("INPUT__0", [2, 3])

    @pytest.mark.parametrize(
        ("dtype", "datatype"),
        [
            *(("float16", "FP16"), ("float32", "FP32"), ("float64", "FP64"), ("uint8", "UINT8")),
            *(("int8", "INT8"), ("int16", "INT16"), ("int32", "INT32"), ("int64", "INT64"), ("bool", "BOOL")),
        ],
    )
    def test_each_dtype_has_its_datatype(self, dtype: str, datatype: str) -> None:
        array = np.array([0, 1], dtype)
        body, headers = DIRECT.encode([array, array])
        size = int(headers["Inference-Header-Content-Length"])
        assert json.loads(body[:size])["inputs"][0]["datatype"] == datatype
        assert np.frombuffer(body[size:], dtype).tolist() == [0, 1, 0, 1]

    def test_the_front_end_for_vertex_ai_has_the_size_in_the_media_type(self) -> None:
        body, headers = VERTEX.encode(ROWS)
        assert list(headers) == ["Content-Type"]
        media_type, _, told = headers["Content-Type"].partition("=")
        assert media_type == "application/vnd.vertex-ai-triton.binary+json;json-header-size"
        assert json.loads(body[: int(told)])["parameters"] == {"binary_data_output": True}

    def test_a_model_is_named_there_by_a_header(self) -> None:
        _, headers = TritonCodec(Address("http://127.0.0.1:8080/predict", False, "two")).encode(ROWS)
        assert headers["X-Vertex-Ai-Triton-Redirect"] == "v2/models/two/infer"


class TestDecoding:
    def test_a_scalar_is_a_number(self) -> None:
        body, headers = answer(scores())
        rows, model_id = DIRECT.decode(body, headers, 2)
        assert (rows, model_id) == ([0.25, 0.75], "m/3")
        assert [row.shape for row in rows] == [(), ()]

    def test_several_outputs_by_name(self) -> None:
        labels = np.array([[1, 2], [3, 4]], "<i8")
        body, headers = answer(scores(), (described("labels", labels, "INT64"), labels.tobytes()))
        first, second = DIRECT.decode(body, headers, 2).rows
        assert (first["OUTPUT__0"], first["labels"].tolist()) == (0.25, [1, 2])
        assert (second["OUTPUT__0"], second["labels"].tolist()) == (0.75, [3, 4])

    def test_a_row_with_a_nan_in_any_output_is_none(self) -> None:
        bad = np.array([[1, np.inf], [1, 2]], "<f8")
        body, headers = answer(scores(), (described("b", bad, "FP64"), bad.tobytes()))
        first, second = DIRECT.decode(body, headers, 2).rows
        assert first is None
        assert second["b"].tolist() == [1, 2]

    @pytest.mark.parametrize("data", [[0.25, 0.75], [[0.25], [0.75]]])
    def test_numbers_as_json(self, data: list[Any]) -> None:
        output = {"name": "o", "datatype": "FP32", "shape": [2, 1], "data": data}
        body, headers = answer((output, b""))
        for found in (headers, {}):
            assert DIRECT.decode(body, found, 2).rows == [0.25, 0.75]

    def test_nan_as_json(self) -> None:
        output = {"name": "o", "datatype": "FP32", "shape": [2], "data": [float("nan"), 1.0]}
        body, _ = answer((output, b""))
        assert b"NaN" in body
        assert DIRECT.decode(body, {}, 2).rows == [None, 1]

    @pytest.mark.parametrize("last", [b"", b"}"])
    def test_a_proxy_that_drops_the_header(self, last: bytes) -> None:
        """Also where the tensors end as JSON does."""
        letters = np.frombuffer(b"ab" + (last or b"c") * 2, "u1").reshape(2, 2)
        body, _ = answer(scores(), (described("ü", letters, "UINT8"), letters.tobytes()))
        first, _ = DIRECT.decode(body, {}, 2).rows
        assert (first["OUTPUT__0"], first["ü"].tolist()) == (0.25, [97, 98])

    @pytest.mark.parametrize("name", ["", None, 3])
    def test_a_model_without_a_name(self, name: object) -> None:
        body, headers = answer(scores(), model_name=name)
        assert DIRECT.decode(body, headers, 2).model_id is None

    @pytest.mark.parametrize(
        "changes",
        [
            {"datatype": "BYTES"},
            {"datatype": None},
            {"datatype": []},
            {"shape": []},
            {"shape": [2, 0]},
            {"shape": [2, 1.0]},
            {"shape": [2, 10**30]},
            {"shape": [2, *[1] * 40]},
            {"shape": "2"},
            {"name": None},
            {"parameters": {"binary_data_size": 4}},
            {"parameters": {}},
            {"parameters": None},
            {"data": [1, 2, 3]},
            {"data": ["a", "b"]},
            {"data": [[1], [2, 3]]},
            {"data": None},
        ],
    )
    def test_what_is_no_answer(self, changes: dict[str, Any]) -> None:
        body, headers = answer(scores(**changes))
        with pytest.raises(BadResponseError) as caught:
            DIRECT.decode(body, headers, 2)
        assert not isinstance(caught.value, WrongCountError)

    @pytest.mark.parametrize("count", [1, 3])
    def test_another_number_of_rows(self, count: int) -> None:
        body, headers = answer(scores())
        with pytest.raises(WrongCountError, match=f"2 rows for {count} instances"):
            DIRECT.decode(body, headers, count)

    def test_bytes_that_no_output_takes(self) -> None:
        body, headers = answer(scores())
        for wrong in (body + b"x", body[:-1]):
            with pytest.raises(BadResponseError):
                DIRECT.decode(wrong, headers, 2)

    @pytest.mark.parametrize("size", ["", "0", "-1", "1e3", "99999", "9" * 5_000, "١"])
    def test_a_size_that_is_none(self, size: str) -> None:
        body, _ = answer(scores())
        with pytest.raises(BadResponseError, match="its Inference-Header-Content-Length is"):
            DIRECT.decode(body, {SIZE: size}, 2)

    @given(
        body=st.binary(max_size=200),
        headers=st.one_of(st.just({}), st.integers(0, 300).map(lambda size: {SIZE: str(size)})),
    )
    @example(body=b"[" * 100_000, headers={})
    @example(body=b'{"outputs":' + b"[" * 900 + b"]" * 900 + b"}", headers={})
    @example(body=b'{"outputs": [[]]}', headers={})
    @example(body=b'{"outputs": [{"name": "", "shape": [1], "datatype": "FP32", "data": {}}]}', headers={})
    @example(body=b'{"outputs": [{"name": "", "shape": [1], "datatype": "BOOL", "data": [[]]}]}', headers={})
    @example(body=b'{"outputs": [{"name": "", "shape": [1], "datatype": "INT8", "data": [300]}]}', headers={})
    def test_whatever_comes_is_predictions_or_a_bad_response(
        self, body: bytes, headers: Mapping[str, str]
    ) -> None:
        with suppress(BadResponseError):
            assert len(DIRECT.decode(body, headers, 1).rows) == 1
