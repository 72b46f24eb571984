"""Encodes requests and decodes predictions: JSON predict, and raw predict in the input's dtype."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson

from pipeline.options.address import PREDICT, RAW
from pipeline.request.input_spec import Inputs, raw_type
from pipeline.request.json_text import MAX_DEPTH, containers, is_too_deep
from pipeline.request.wire_format import FLOAT32_TYPE, JSON_TYPE

# At most 32 dimensions (NumPy's limit before 2.0), none of them empty.
_SIZE = "[1-9][0-9]{0,8}"
_SHAPE = re.compile(
    rf"{re.escape(FLOAT32_TYPE)}\s*;\s*shape=\"?({_SIZE}(?:x{_SIZE}){{0,31}})\"?", re.IGNORECASE
)

# A list, an object or a string takes 50 to 90 bytes of memory, and `[],` is one in 3 bytes. One in 8 costs as
# much as the numbers of an answer do. Below so many, they may be as dense as they like: 9 MB of memory.
_BYTES_AN_OBJECT = 8
_FREE_OBJECTS = 100_000


class BadResponseError(Exception):
    """A successful response that cannot be decoded."""


class SplitError(BadResponseError):
    """A response to a call of several instances that smaller calls may get right."""


class WrongCountError(SplitError):
    """A response whose number of predictions is not the number of instances."""


class TooLargeError(SplitError):
    """A response with more bytes than are read."""


class Predictions(NamedTuple):
    """The content of a response's body.

    Attributes:
        rows: One prediction for each instance, in order; None for one that is null, NaN or infinite.
        model_id: Vertex AI's id of the deployed model, if the body has it.
    """

    rows: list[Any]
    model_id: str | None


class Codec(Protocol):
    """The encoder of requests and decoder of responses of one protocol."""

    def content_type(self, rows: Sequence[Inputs]) -> str:
        """Return the media type of a call for these rows."""

    def encode(self, rows: Sequence[Inputs]) -> bytes:
        """Return the body of a call for these rows, in this order."""

    def decode(self, body: bytes, content_type: str, count: int) -> Predictions:
        """Return the `count` predictions of a response.

        Raises:
            BadResponseError: The body is not what the protocol says.
            WrongCountError: It holds another number of predictions.
        """


def codec_for(protocol: str) -> Codec:
    """Return the codec of `predict` or `raw`."""
    return _CODECS[protocol]


class _JsonCodec:
    """`{"instances": […]}` and `{"predictions": […]}`."""

    def content_type(self, rows: Sequence[Inputs]) -> str:
        return JSON_TYPE

    def encode(self, rows: Sequence[Inputs]) -> bytes:
        # One array instead of many: encoded in half the time.
        instances = np.stack(rows) if isinstance(rows[0], np.ndarray) else list(rows)  # type: ignore[arg-type]
        return orjson.dumps({"instances": instances}, option=orjson.OPT_SERIALIZE_NUMPY)

    def decode(self, body: bytes, content_type: str, count: int) -> Predictions:
        _check_cost(body)
        strict = True
        try:
            content = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            try:
                # It accepts the NaN and Infinity that Python servers write.
                content = json.loads(body.decode("utf-8-sig"))
                # And also integers of more than 64 bits and half surrogates, which no result can hold.
                orjson.dumps(content)
                strict = False
            except (ValueError, orjson.JSONEncodeError):
                raise BadResponseError(f"the answer is not JSON ({error}): {body[:80]!r}") from None
        predictions = content.get("predictions") if isinstance(content, dict) else None
        if not isinstance(predictions, list):
            raise BadResponseError(f'the answer has no list "predictions": {body[:80]!r}')
        if len(predictions) != count:
            raise WrongCountError(f"the answer has {len(predictions)} predictions for {count} instances")
        if not strict:
            predictions = [prediction if _is_finite(prediction) else None for prediction in predictions]
        model_id = content.get("deployedModelId")
        return Predictions(predictions, model_id if isinstance(model_id, str) and model_id else None)


class _RawCodec:
    """Little-endian: the one input in its own dtype, the response in float32.

    The response's shape is a parameter of its media type.
    """

    def content_type(self, rows: Sequence[Inputs]) -> str:
        return raw_type(_array(rows[0]).dtype)

    def encode(self, rows: Sequence[Inputs]) -> bytes:
        batch = np.stack([_array(row) for row in rows])
        return batch.astype(batch.dtype.newbyteorder("<"), copy=False).tobytes()

    def decode(self, body: bytes, content_type: str, count: int) -> Predictions:
        match = _SHAPE.fullmatch(content_type.strip())
        if match is None:
            raise BadResponseError(
                f"the answer's Content-Type is {content_type[:80]!r}, expected {FLOAT32_TYPE}; shape=NxD"
            )
        shape = tuple(map(int, match.group(1).split("x")))
        if len(body) != 4 * math.prod(shape):
            raise BadResponseError(
                f"the answer has {len(body)} bytes, its shape {match.group(1)} takes others"
            )
        if shape[0] != count:
            raise WrongCountError(f"the answer has {shape[0]} predictions for {count} instances")
        array = np.frombuffer(body, "<f4").reshape(shape)
        finite = np.isfinite(array.reshape(count, -1)).all(axis=1)
        rows = [row if fine else None for row, fine in zip(array, finite, strict=True)]
        return Predictions(rows, None)


def _array(row: Inputs) -> np.ndarray:
    """Return the one input of a row."""
    if isinstance(row, np.ndarray):
        return row
    (array,) = row.values()
    return array


def _check_cost(body: bytes) -> None:
    """Check that what a parser makes of the body takes memory of its size, and can be walked.

    Raises:
        BadResponseError: It does not.
    """
    # Each takes two bytes at least, and most answers are smaller.
    if len(body) // 2 > _FREE_OBJECTS:
        objects = containers(body) + int(np.count_nonzero(np.frombuffer(body, np.uint8) == ord('"'))) // 2
        if objects > max(_FREE_OBJECTS, len(body) // _BYTES_AN_OBJECT):
            raise BadResponseError(
                f"the answer has {objects:,} lists, objects and strings in {len(body):,} bytes: at most "
                f"{_FREE_OBJECTS:,} are taken, or one in {_BYTES_AN_OBJECT} bytes: {body[:80]!r}"
            )
    if is_too_deep(body):
        raise BadResponseError(f"the answer is nested more than {MAX_DEPTH} deep: {body[:80]!r}")


def _is_finite(prediction: Any) -> bool:
    if isinstance(prediction, dict):
        return all(map(_is_finite, prediction.values()))
    if isinstance(prediction, list):
        return all(map(_is_finite, prediction))
    return type(prediction) is not float or math.isfinite(prediction)


_CODECS: dict[str, Codec] = {PREDICT: _JsonCodec(), RAW: _RawCodec()}
