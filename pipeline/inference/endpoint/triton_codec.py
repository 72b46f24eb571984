"""Triton's protocol: KServe v2 with binary tensors, to Triton itself or to its front end for Vertex AI.

The body is a JSON object of `json_size` bytes, then the tensors one after the other, little-endian:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from pipeline.inference.endpoint.answer_json import loads
from pipeline.inference.endpoint.codec import BadResponseError, EncodedCall, Predictions, WrongCountError
from pipeline.options.address import Address
from pipeline.request.input_spec import Inputs

UNNAMED_INPUT = "INPUT__0"
"""The name of an input that --input_shape does not name: the first one's of Triton's PyTorch backend."""

_SIZE_HEADER = "Inference-Header-Content-Length"
# Triton's front end for Vertex AI compares this text, and answers 500 with a space after the semicolon.
_VERTEX_TYPE = "application/vnd.vertex-ai-triton.binary+json;json-header-size="
_REDIRECT = "X-Vertex-Ai-Triton-Redirect"

# https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
DATATYPES = {
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "bool": "BOOL",
}
_DTYPES = {datatype: np.dtype(name).newbyteorder("<") for name, datatype in DATATYPES.items()}
# NumPy's limit before 2.0.
_MOST_DIMENSIONS = 32
# Of a JSON part whose size no header says: it names the outputs, and holds no numbers of theirs.
_MOST_UNSIZED_JSON = 64 * 1024


class _Output(NamedTuple):
    """An output of a response: its name, and an array of shape [count, …]."""

    name: str
    array: np.ndarray


class TritonCodec:
    """The codec of `triton`."""

    def __init__(self, address: Address) -> None:
        """Begin.

        Args:
            address: Says whether calls go to Triton itself or to its front end, and to which model there.
        """
        self._direct = address.is_infer_url
        self._routing = (
            {} if address.model is None or self._direct else {_REDIRECT: f"v2/models/{address.model}/infer"}
        )

    def encode(self, rows: Sequence[Inputs]) -> EncodedCall:
        """See `Codec`."""
        inputs = []
        parts = []
        for name, array in _columns(rows).items():
            data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            parts.append(data)
            inputs.append(
                {
                    "name": name,
                    "shape": array.shape,
                    "datatype": DATATYPES[array.dtype.name],
                    "parameters": {"binary_data_size": len(data)},
                }
            )
        head = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
        return EncodedCall(b"".join([head, *parts]), self._headers(len(head)))

    def decode(self, body: bytes, headers: Mapping[str, str], count: int) -> Predictions:
        """See `Codec`.

        An output of shape [count, 1] is a number for each row: a scalar has this shape in Triton's config.
        """
        size = _json_size(body, headers)
        head, _ = loads(body[:size])
        described = head.get("outputs") if isinstance(head, dict) else None
        if not isinstance(described, list) or not described:
            raise BadResponseError(f'the answer has no list "outputs": {body[:80]!r}')
        outputs = []
        place = size
        for each in described:
            output, place = _output(each, body, place, count)
            outputs.append(output)
        if place != len(body):
            raise BadResponseError(f"the answer has {len(body):,} bytes, its outputs take {place:,}")
        return Predictions(_predictions(outputs, count), _model_id(head))

    def _headers(self, json_size: int) -> Mapping[str, str]:
        if self._direct:
            return {"Content-Type": "application/octet-stream", _SIZE_HEADER: str(json_size)}
        return {"Content-Type": f"{_VERTEX_TYPE}{json_size}", **self._routing}


def _columns(rows: Sequence[Inputs]) -> dict[str, np.ndarray]:
    """Return the batch of each input, by name."""
    if isinstance(rows[0], np.ndarray):
        return {UNNAMED_INPUT: np.stack(rows)}  # type: ignore[arg-type]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _json_size(body: bytes, headers: Mapping[str, str]) -> int:
    """Return how many bytes of an answer are JSON.

    Raises:
        BadResponseError: The header is wrong, or there is none and the body does not begin with JSON.
    """
    text = headers.get(_SIZE_HEADER.lower())
    if text is not None:
        # Triton's is at most as long as that of the body.
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= len(body)):
            raise BadResponseError(f"the answer has {len(body):,} bytes, its {_SIZE_HEADER} is {text[:40]!r}")
        return int(text)
    if body.rstrip().endswith(b"}") and _is_json(body):
        return len(body)
    # A proxy has dropped the header. One character is one byte in this encoding.
    try:
        _, size = json.JSONDecoder().raw_decode(body[:_MOST_UNSIZED_JSON].decode("latin-1"))
    except (ValueError, RecursionError):
        raise BadResponseError(f"the answer does not begin with JSON: {body[:80]!r}") from None
    return size


def _is_json(body: bytes) -> bool:
    try:
        loads(body)
    except BadResponseError:
        return False
    return True


def _output(described: Any, body: bytes, place: int, count: int) -> tuple[_Output, int]:
    """Return an output, and where in the body the next one begins.

    Raises:
        BadResponseError: It is not what the protocol says, or of a datatype that is not a number's.
        WrongCountError: It has another number of rows.
    """
    try:
        name, shape, datatype = described["name"], described["shape"], described["datatype"]
    except (TypeError, KeyError):
        raise BadResponseError(f"an output without name, shape or datatype: {body[:80]!r}") from None
    if not isinstance(name, str) or not _is_shape(shape):
        raise BadResponseError(f"an output of shape {str(shape)[:80]}: {body[:80]!r}")
    if not isinstance(datatype, str) or datatype not in _DTYPES:
        raise BadResponseError(
            f"output {name[:80]!r} is {str(datatype)[:20]!r}, expected one of {', '.join(_DTYPES)}"
        )
    if shape[0] != count:
        raise WrongCountError(f"output {name[:80]!r} has {shape[0]} rows for {count} instances")
    dtype = _DTYPES[datatype]
    if "data" in described:
        return _Output(name, _listed(name, described["data"], dtype, shape)), place
    parameters = described.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    expected = math.prod(shape) * dtype.itemsize
    if size != expected or place + expected > len(body):
        raise BadResponseError(
            f"output {name[:80]!r} has {str(size)[:20]} bytes, its shape {shape} takes {expected:,}"
        )
    array = np.frombuffer(body, dtype, count=math.prod(shape), offset=place).reshape(shape)
    return _Output(name, array), place + expected


def _is_shape(shape: Any) -> bool:
    return (
        isinstance(shape, list)
        and 0 < len(shape) <= _MOST_DIMENSIONS
        and all(type(size) is int and 0 < size < 10**9 for size in shape)
    )


def _listed(name: str, data: Any, dtype: np.dtype, shape: list[int]) -> np.ndarray:
    """Return the array of an output that came as JSON, its numbers in one list or nested.

    Raises:
        BadResponseError: The numbers are not what dtype and shape say.
    """
    try:
        return np.array(data, dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError):
        raise BadResponseError(f"output {name[:80]!r} does not hold {dtype} of shape {shape}") from None


def _predictions(outputs: list[_Output], count: int) -> list[Any]:
    finite = np.ones(count, bool)
    columns = []
    for _, array in outputs:
        if array.dtype.kind == "f":
            finite &= np.isfinite(array.reshape(count, -1)).all(axis=1)
        columns.append(list(array.reshape(count) if array.shape == (count, 1) else array))
    if len(outputs) == 1:
        rows = columns[0]
    else:
        names = [output.name for output in outputs]
        rows = [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    return [row if fine else None for row, fine in zip(rows, finite, strict=True)]


def _model_id(head: dict[str, Any]) -> str | None:
    name, version = head.get("model_name"), head.get("model_version")
    if not isinstance(name, str) or not name:
        return None
    return f"{name}/{version}" if isinstance(version, str) and version else name
