"""A request's JSON body: the inputs as objects, all else as text.

A small body is parsed whole, which is faster, and what passes through made text again. A large one is parsed
only as far as the inputs need it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import accumulate
from math import prod
from operator import mul
from typing import Any

import msgspec
import numpy as np
import orjson

from pipeline.request.errors import DecodeError
from pipeline.request.input_spec import InputSpec, TensorSpec
from pipeline.request.json_text import (
    MAX_DEPTH,
    NotAnObjectError,
    check_depth,
    check_numbers,
    check_utf8,
    containers,
    not_json,
    raw_fields,
    too_deep,
)

EAGER_BYTES = 64 * 1024
"""Up to this size any body is parsed whole: at worst 3 MB of objects, for a moment."""

NOTHING = b"{}"
"""The text of what passes through where nothing does."""

# White space, as JSON has it, and the first bracket of an object.
_OBJECT = re.compile(rb"[ \t\r\n]*\{")

# Fields that are ours; all others pass through.
_OURS = frozenset({"features", "inputs", "request_id", "message_id"})

# A number of an input takes no more text than this, or the body is not taken for one that fits.
_VALUE_BYTES = 24
# More than the shape takes; so many values are parsed all the same, for a better reason.
_SPARE = 1_000
# For a hook all is parsed, which takes up to 250 bytes for an object.
_BYTES_A_CONTAINER = 16

# What orjson gives back as it was; of the whole number -0 it makes 0. Of floats, and of whole numbers beyond
# 64 bits, it makes the nearest float: it writes 1.2345678901234569e+23 for 123456789012345678901234.
_EXACT = frozenset({str, int, bool, type(None)})
_SCALARS = _EXACT | {float}
# What a float looks like where orjson wrote it. Texts may look so, too.
_FLOAT = re.compile(rb"[0-9](?:\.|e[-+0-9])")
# Numbers of which the nearest float may be another: with more than 15 digits, or hardly above zero.
_INEXACT = re.compile(rb"[0-9][0-9.]{15}|[0-9.][eE][-+]?[0-9]{3}")
# What may follow a number that is a field's value.
_ENDS = b",} \t\r\n"
# Bytes in which a field is looked for from the front, as most inputs of that size stand at one end.
_START = 512
_WHOLE = re.compile(rb"-?[0-9]+")


def parse(data: bytes, spec: InputSpec) -> dict[str, Any]:
    """Return the fields of a body: ours parsed, those that pass through parsed or as msgspec.Raw.

    Raises:
        DecodeError: It is no JSON object, or a large one that is nested too deep, or its inputs are nothing
            like `spec`.
    """
    if len(data) <= EAGER_BYTES or _is_like(data, spec):
        return _parse_whole(data)
    body: dict[str, Any] = dict(raw_fields(data))
    for name in _OURS:
        if name in body:
            body[name] = _parse_ours(name, bytes(body[name]), spec)
    return body


def parse_for_hook(data: bytes) -> dict[str, Any]:
    """Return the fields of a body, all parsed.

    Raises:
        NotJsonError: It is no JSON object.
        DecodeError: It is nested too deep, or would take too much memory.
    """
    if not _OBJECT.match(data):
        # Unparsed: it may be anything, and of any size.
        raise NotAnObjectError("the JSON is not an object" if data else "the message is empty")
    count = containers(data)
    if count > MAX_DEPTH:
        # Bytes of another format may look as if they had as many.
        check_utf8(data)
    if len(data) > EAGER_BYTES and count > max(_SPARE, len(data) // _BYTES_A_CONTAINER):
        raise DecodeError(
            f"{count:,} lists and objects in {len(data):,} bytes of JSON: for a hook, one for "
            f"{_BYTES_A_CONTAINER} bytes is parsed"
        )
    check_depth(data)
    return _parse_whole(data)


def take_inputs(body: Mapping[str, Any], data: bytes, spec: InputSpec) -> Any:
    """Return the arrays that `spec` wants out of the body that `data` is.

    Raises:
        DecodeError: They are missing or do not fit, or the body is nested too deep.
    """
    try:
        inputs = spec.from_json(body)
    except DecodeError:
        check_depth(data)
        raise
    if spec.named and len(body["inputs"]) > len(spec.tensors):
        check_depth(data)
    return inputs


def take_passthrough(body: dict[str, Any], data: bytes, spec: InputSpec) -> bytes:
    """Return the fields that are not ours as the text of a JSON object, numbers of any size as they were.

    Args:
        body: What `parse` returned, with inputs that fit. Ours are taken out of it.
        data: The body's text.
        spec: What the inputs fit.

    Raises:
        DecodeError: The body is nested too deep, or a number is larger than any float.
    """
    del body["inputs" if spec.named else "features"]
    if not _OURS.isdisjoint(body):
        for name in _OURS:
            if type(body.pop(name, None)) in (list, dict):
                check_depth(data)
    if not body:
        return NOTHING
    values = body.values()
    if _EXACT.issuperset(map(type, values)):
        return orjson.dumps(body)
    if msgspec.Raw in map(type, values):
        text = msgspec.json.encode(body)
        check_numbers(text)
        return text
    try:
        text = orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise too_deep() from None
    if _SCALARS.issuperset(map(type, values)):
        if _stand_as_written(body, data):
            return text
    else:
        check_depth(text)
        if not _FLOAT.search(text):
            return text
    raw = raw_fields(data, max_fields=len(data))
    return msgspec.json.encode({name: raw[name] for name in body})


def _stand_as_written(body: Mapping[str, Any], data: bytes) -> bool:
    """Return whether the floats among scalar fields stand in `data` as orjson writes them.

    False may be wrong. For one float, 1 µs less than text from `raw_fields`; 9 µs beside 1,024 features.
    """
    for name, value in body.items():
        if type(value) is float:
            label, number = orjson.dumps(name) + b":", orjson.dumps(value)
            found = data.find(label, 0, _START)
            if found < 0:
                found = data.rfind(label)
            start = found + len(label)
            start += data.startswith(b" ", start)
            end = start + len(number)
            if found < 0 or not data.startswith(number, start) or data[end] not in _ENDS:
                return False
    return True


def passthrough_of_hook(body: Mapping[str, Any], data: bytes) -> bytes:
    """Return what a decode hook left of the fields that are not ours as the text of a JSON object.

    Args:
        body: What `parse_for_hook` returned, after the hook. Fields that it did not change come back as they
            were, numbers of any size too.
        data: The body's text.

    Raises:
        DecodeError: JSON cannot hold what the hook put there, or it is nested too deep.
    """
    left = {name: value for name, value in body.items() if name not in _OURS}
    try:
        text = orjson.dumps(left, plain, orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        problem = f"what the hook left in the body cannot be written as JSON: {error}"
        raise DecodeError(problem) from error
    check_depth(text)
    if not _EXACT.issuperset(map(type, left.values())) and _INEXACT.search(data):
        raw = raw_fields(data, max_fields=len(data))
        return msgspec.json.encode({name: _unchanged(raw.get(name), value) for name, value in left.items()})
    return text


def _unchanged(raw: msgspec.Raw | None, value: Any) -> msgspec.Raw:
    """Return the text of a field as it came where it has still that value, else the text of the value."""
    text = orjson.dumps(value, plain, orjson.OPT_SERIALIZE_NUMPY)
    if raw is not None and orjson.dumps(orjson.loads(bytes(raw))) == text:
        return raw
    return msgspec.Raw(text)


def whole_number(data: bytes, name: str) -> str | None:
    """Return the text of a field that is a whole number of any size; None if it is something else."""
    text = bytes(raw_fields(data, max_fields=len(data))[name])
    return text.decode() if _WHOLE.fullmatch(text) else None


def _parse_whole(data: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        if not data:
            raise NotAnObjectError("the message is empty") from None
        check_depth(data)
        raise not_json(data, error) from None
    if not isinstance(body, dict):
        raise NotAnObjectError("the JSON is not an object")
    return body


def plain(value: Any) -> Any:
    """Return as lists or numbers what orjson does not take of numpy's by itself, such as a reversed array.

    Raises:
        TypeError: It is something else.
    """
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError


def _is_like(data: bytes, spec: InputSpec) -> bool:
    """Return whether a body is large only as the inputs are, and parses at no more than their cost."""
    values = sum(prod(tensor.shape) for tensor in spec.tensors)
    lists = sum(map(_lists, spec.tensors))
    return len(data) <= _VALUE_BYTES * values and containers(data) <= lists + _SPARE


def _parse_ours(name: str, text: bytes, spec: InputSpec) -> Any:
    if name in ("request_id", "message_id"):
        # A list or an object is refused, whatever it holds.
        return [] if text.startswith((b"[", b"{")) else _loads(name, text)
    if not spec.named:
        return _parse_tensor(text, spec.tensors[0]) if name == "features" else None
    if name == "features" or not text.startswith(b"{"):
        return None
    raw = raw_fields(text)
    return {t.name: _parse_tensor(bytes(raw[t.name]), t) for t in spec.tensors if t.name in raw}


def _parse_tensor(text: bytes, tensor: TensorSpec) -> Any:
    values, lists = prod(tensor.shape), _lists(tensor)
    commas, count = text.count(b","), containers(text)
    # Not of a text, which costs what it is.
    if (commas > values + _SPARE or count > lists + _SPARE) and not text.startswith(b'"'):
        raise DecodeError(
            f"{tensor.name}: expected {values:,} numbers, got {commas + 1:,} values in {count:,} lists "
            "or objects"
        )
    return _loads(tensor.name, text)


def _loads(name: str, text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        # A number without end, as all else is checked already.
        raise DecodeError(f"{name}: not valid JSON: {error}") from None


def _lists(tensor: TensorSpec) -> int:
    return 1 + sum(accumulate(tensor.shape[:-1], mul))
