"""What goes into a call's body and comes out of its answer: JSON predict, and raw predict in float32."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import orjson

from pipeline.options.address import RAW
from pipeline.request.input_spec import Inputs
from pipeline.request.wire_format import FLOAT32_TYPE, JSON_TYPE

_SHAPE = re.compile(rf"{re.escape(FLOAT32_TYPE)}\s*;\s*shape=\"?([0-9]+(?:x[0-9]+)*)\"?", re.IGNORECASE)


class BadAnswerError(Exception):
    """A successful answer that cannot be read."""


class WrongCountError(BadAnswerError):
    """An answer with another number of predictions than there were instances."""


class Predictions(NamedTuple):
    """What an answer's body holds."""

    rows: list[Any]
    """One for each instance, in order; None for one that is null, NaN or infinite."""
    model_id: str | None
    """Vertex AI's id of the deployed model, where the body has it."""


class Bodies(Protocol):
    """How one protocol writes requests and reads predictions."""

    content_type: str

    def write(self, rows: Sequence[Inputs]) -> bytes:
        """The body of a call for these rows, in this order."""

    def read(self, body: bytes, content_type: str, count: int) -> Predictions:
        """The `count` predictions of an answer.

        Raises:
            BadAnswerError: the body is not what the protocol says.
            WrongCountError: it holds another number of predictions.
        """


def bodies(protocol: str) -> Bodies:
    """The bodies of `predict` or `raw`."""
    return _RawBodies() if protocol == RAW else _JsonBodies()


class _JsonBodies:
    """`{"instances": […]}` and `{"predictions": […]}`."""

    content_type = JSON_TYPE

    def write(self, rows: Sequence[Inputs]) -> bytes:
        # One array instead of many: written in half the time.
        instances = np.stack(rows) if isinstance(rows[0], np.ndarray) else list(rows)  # type: ignore[arg-type]
        return orjson.dumps({"instances": instances}, option=orjson.OPT_SERIALIZE_NUMPY)

    def read(self, body: bytes, content_type: str, count: int) -> Predictions:
        strict = True
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            try:
                answer = json.loads(body)  # takes the NaN and Infinity that Python servers write
                strict = False
            except ValueError:
                raise BadAnswerError(f"the answer is not JSON ({error}): {body[:80]!r}") from None
        predictions = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(predictions, list):
            raise BadAnswerError(f'the answer has no list "predictions": {body[:80]!r}')
        if len(predictions) != count:
            raise WrongCountError(f"the answer has {len(predictions)} predictions for {count} instances")
        if not strict:
            predictions = [prediction if _is_finite(prediction) else None for prediction in predictions]
        model_id = answer.get("deployedModelId")
        return Predictions(predictions, model_id if isinstance(model_id, str) and model_id else None)


class _RawBodies:
    """Little-endian float32; the answer's shape is a parameter of its media type."""

    content_type = FLOAT32_TYPE

    def write(self, rows: Sequence[Inputs]) -> bytes:
        return np.stack(rows).astype("<f4", copy=False).tobytes()  # type: ignore[arg-type]

    def read(self, body: bytes, content_type: str, count: int) -> Predictions:
        match = _SHAPE.fullmatch(content_type.strip())
        if match is None:
            raise BadAnswerError(
                f"the answer's Content-Type is {content_type[:80]!r}, expected {FLOAT32_TYPE}; shape=NxD"
            )
        shape = tuple(map(int, match.group(1).split("x")))
        if len(body) != 4 * math.prod(shape):
            raise BadAnswerError(f"the answer has {len(body)} bytes, its shape {match.group(1)} takes others")
        if shape[0] != count:
            raise WrongCountError(f"the answer has {shape[0]} predictions for {count} instances")
        array = np.frombuffer(body, "<f4").reshape(shape)
        finite = np.isfinite(array.reshape(count, -1)).all(axis=1)
        rows = [row if fine else None for row, fine in zip(array, finite, strict=True)]
        return Predictions(rows, None)


def _is_finite(prediction: Any) -> bool:
    if isinstance(prediction, dict):
        return all(map(_is_finite, prediction.values()))
    if isinstance(prediction, list):
        return all(map(_is_finite, prediction))
    return type(prediction) is not float or math.isfinite(prediction)
