"""JSON from outside: its nesting, and its fields as text, at the cost of its bytes.

As Python objects, JSON takes up to 45 times its bytes (`[],` over and over), and Python's own walks fail on
deep ones. Nothing here makes objects of values.
"""

from __future__ import annotations

import codecs
import json
import re
from dataclasses import dataclass
from math import inf, isfinite

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.request.errors import DecodeError

MAX_DEPTH = 100
"""Of requests and of an endpoint's answers: lists and objects within one another, the outermost included."""

MAX_WRITTEN_DEPTH = 254
"""Of results: orjson writes no deeper ones."""

MAX_FIELDS = 10_000
"""Fields of an object of which the values are left as text. Each takes about 200 bytes."""

_CHUNK_BYTES = 1 << 16
# What a number that a float cannot hold has, each digit taken for a 0: an exponent of three digits, or
# 308 - 99 digits in a row and more (12 * 17 is less). Texts may have it, too.
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
_LARGE_EXPONENTS = (b"0e000", b"0e+000")
_STRIDE = 17
_MANY_DIGITS = b"0" * (12 * _STRIDE)
_TEXT_OR_NUMBER = re.compile(rb'"(?:[^"\\]++|\\.)*+"|(-?[0-9][-+.0-9eE]*+)', re.DOTALL)
_BYTE = re.compile(r"\(byte ([0-9]+)\)")

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])

# What each byte adds to the level, as an int8.
_STEPS = bytes({ord("["): 1, ord("{"): 1, ord("]"): 255, ord("}"): 255}.get(byte, 0) for byte in range(256))


class NotJsonError(DecodeError):
    """Bytes that are not JSON."""


class NotAnObjectError(NotJsonError):
    """There is no JSON, or it is a list, a text, a number, true, false or null."""


@dataclass(frozen=True, slots=True)
class Nesting:
    """How JSON is nested.

    Attributes:
        depth: Lists and objects within one another, at most.
        fields: Of the outermost object.
    """

    depth: int
    fields: int


def nesting(data: bytes, max_depth: float = inf, max_fields: float = inf) -> Nesting:
    """Return how JSON is nested; of what is not JSON, at least the nesting of its valid beginning.

    Of what exceeds one of the two limits, the beginning that does.
    """
    if b"\\" in data:
        # They stand in texts only. Pairs of them first: a quote after a pair ends its text.
        data = data.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
    deepest = fields = level = in_text = 0
    for start in range(0, len(data), _CHUNK_BYTES):
        part = data[start : start + _CHUNK_BYTES]
        has_quotes = b'"' in part
        if in_text and not has_quotes:
            continue
        characters = np.frombuffer(part, np.uint8)
        # bytes.translate takes a third of the time of an array's lookup: 9 MB of `[],` take 6 ms so.
        steps = np.frombuffer(part.translate(_STEPS), np.int8)
        outside: NDArray[np.bool_] | None = None
        if has_quotes:
            quoted = np.cumsum(characters == ord('"'), dtype=np.int32) + in_text
            outside = (quoted & 1) == 0
            in_text = int(quoted[-1]) & 1
            steps = steps * outside
        levels = np.cumsum(steps, dtype=np.int32) + level
        deepest = max(deepest, int(levels.max()))
        if b":" in part:
            colons = (characters == ord(":")) & (levels == 1)
            fields += int(np.count_nonzero(colons if outside is None else colons & outside))
        level = int(levels[-1])
        if deepest > max_depth or fields > max_fields:
            break
    return Nesting(deepest, fields)


def containers(data: bytes) -> int:
    """Return how many lists and objects JSON has, at most: brackets in texts count, too."""
    return data.count(b"[") + data.count(b"{")


def is_too_deep(data: bytes) -> bool:
    """Return whether JSON is nested deeper than MAX_DEPTH."""
    return containers(data) > MAX_DEPTH and nesting(data, MAX_DEPTH).depth > MAX_DEPTH


def check_depth(data: bytes) -> None:
    """Check that JSON is nested no deeper than MAX_DEPTH.

    Raises:
        DecodeError: It is.
    """
    if is_too_deep(data):
        raise too_deep()


def raw_fields(
    data: bytes, max_depth: int = MAX_DEPTH, max_fields: int = MAX_FIELDS
) -> dict[str, msgspec.Raw]:
    """Return the fields of a JSON object with their values as text, which are views of `data`.

    All of `data` is checked to be JSON, but for numbers that no float can hold (`check_numbers`).

    Raises:
        DecodeError: It is nested deeper than `max_depth`, or has more than `max_fields` fields.
        NotJsonError: It is not JSON.
        NotAnObjectError: It is another kind of JSON.
    """
    check_utf8(data)
    if containers(data) > max_depth or data.count(b":") > max_fields:
        found = nesting(data, max_depth, max_fields)
        if found.depth > max_depth:
            raise too_deep(max_depth)
        if found.fields > max_fields:
            raise DecodeError(f"the JSON object has more than {max_fields:,} fields")
    try:
        return _fields.decode(data)
    except msgspec.ValidationError:
        raise NotAnObjectError("the JSON is not an object") from None
    except msgspec.DecodeError as error:
        raise not_json(data, error) from None


def check_numbers(data: bytes) -> None:
    """Check that each number in JSON is one that a float can hold, as readers of JSON take it to be.

    Raises:
        DecodeError: One is not.
    """
    if not _may_have_huge_numbers(data):
        return
    for match in _TEXT_OR_NUMBER.finditer(data):
        number = match[1]
        if number is not None and not isfinite(float(number)):
            raise DecodeError(f"not valid JSON: {number[:20].decode()} is too large for a number")


def _may_have_huge_numbers(data: bytes) -> bool:
    # Of so many digits in a row, each 17th is one: 0.7 ms for 9 MB. An odd stride, as a list of short numbers
    # may have a digit at each 16th byte.
    sampled = data[::_STRIDE].translate(_DIGITS)
    if _MANY_DIGITS[::_STRIDE] not in sampled and b"e" not in data and b"E" not in data:
        return False
    # 12 ms for 9 MB; a regular expression for the same took 75 to 115.
    digits = data.translate(_DIGITS)
    return any(part in digits for part in (_MANY_DIGITS, *_LARGE_EXPONENTS))


def too_deep(most: int = MAX_DEPTH) -> DecodeError:
    """Return an error that says that JSON has more than `most` lists and objects within one another."""
    return DecodeError(f"the JSON is nested more than {most} deep, counted from its outermost object")


def not_json(data: bytes, error: json.JSONDecodeError | msgspec.DecodeError) -> NotJsonError:
    """Return an error that says in words why orjson or msgspec refuses `data`."""
    try:
        check_utf8(data)
    except NotJsonError as utf8:
        return utf8
    if isinstance(error, json.JSONDecodeError):
        problem, position, doc = str(error), error.pos, error.doc
        near = doc[max(0, position - 1) : position + 9]
    else:
        problem = str(error).removeprefix("JSON is malformed: ")
        found = _BYTE.search(problem)
        position = int(found[1]) if found else 0
        near = data[max(0, position - 1) : position + 9].decode(errors="replace")
    if "NaN" in near or "Infinity" in near:
        problem = f"it has no NaN and no Infinity (position {position})"
    return NotJsonError(f"not valid JSON: {problem}")


def check_utf8(data: bytes) -> None:
    """Check that bytes are UTF-8, as JSON is.

    Raises:
        NotJsonError: They are not.
    """
    if data.isascii():
        return
    # In parts, as a text takes up to four times its bytes.
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(data), _CHUNK_BYTES):
        end = start + _CHUNK_BYTES
        held = len(decoder.getstate()[0])  # of a character that the part before has begun
        try:
            decoder.decode(data[start:end], final=end >= len(data))
        except UnicodeDecodeError as error:
            position = start - held + error.start
            raise NotJsonError(f"not UTF-8: byte 0x{data[position]:02x} at position {position}") from None
