"""Reads the JSON of an answer: at a bounded cost, and with the NaN that servers in Python write."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import orjson

from pipeline.inference.endpoint.codec import BadResponseError
from pipeline.request.json_text import MAX_DEPTH, containers, is_too_deep

# A list, an object or a string takes 50 to 90 bytes of memory, and `[],` is one in 3 bytes. One in 8 costs as
# much as the numbers of an answer do. Below so many, they may be as dense as they like: 9 MB of memory.
_BYTES_AN_OBJECT = 8
_FREE_OBJECTS = 100_000


def loads(body: bytes) -> tuple[Any, bool]:
    """Return the content of a body, and whether it may hold a NaN or an infinity.

    Raises:
        BadResponseError: It is not JSON, or would cost too much.
    """
    _check_cost(body)
    try:
        return orjson.loads(body), False
    except orjson.JSONDecodeError as error:
        try:
            # It accepts the NaN and Infinity that Python servers write.
            content = json.loads(body.decode("utf-8-sig"))
            # And also integers of more than 64 bits and half surrogates, which no result can hold.
            orjson.dumps(content)
        except (ValueError, orjson.JSONEncodeError):
            raise BadResponseError(f"the answer is not JSON ({error}): {body[:80]!r}") from None
        return content, True


def is_finite(prediction: Any) -> bool:
    """Return whether a value out of JSON holds no NaN and no infinity."""
    if isinstance(prediction, dict):
        return all(map(is_finite, prediction.values()))
    if isinstance(prediction, list):
        return all(map(is_finite, prediction))
    return type(prediction) is not float or math.isfinite(prediction)


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
