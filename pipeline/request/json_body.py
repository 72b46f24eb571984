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
    NotAnObjectError,
    check_depth,
    check_numbers,
    containers,
    not_json,
    raw_fields,
    too_deep,
)

EAGER_BYTES = 64 * 1024
"""Up to this size any body is parsed whole: at worst 3 MB of objects, for a moment."""

NOTHING = b"{}"
"""The text of what passes through where nothing does."""

# Fields that are ours; all others pass through.
_OURS = frozenset({"features", "inputs", "request_id", "message_id"})

# A number of an input takes no more text than this, or the body is not taken for one that fits.
_VALUE_BYTES = 24
# More than the shape takes; so many values are parsed all the same, for a better reason.
_SPARE = 1_000
# For a hook all is parsed, which takes up to 250 bytes for an object.
_BYTES_A_CONTAINER = 16

# What orjson gives back as it was. It makes a float of a number beyond 64 bits.
_EXACT = frozenset({str, int, bool, type(None)})
# So it writes that float. Texts may look so, too.
_ROUNDED = re.compile(rb"[0-9]e\+?[0-9]")


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
        DecodeError: It is no JSON object, or nested too deep, or would take too much memory.
    """
    count = containers(data)
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
    if _EXACT.issuperset(map(type, body.values())):
        return orjson.dumps(body)
    if msgspec.Raw in map(type, body.values()):
        text = msgspec.json.encode(body)
        check_numbers(text)
        return text
    try:
        text = orjson.dumps(body)
    except orjson.JSONEncodeError:
        raise too_deep() from None
    check_depth(text)
    if _ROUNDED.search(text):
        raw = raw_fields(data)
        text = msgspec.json.encode({name: raw[name] for name in body})
    return text


def passthrough_of_hook(body: Mapping[str, Any]) -> bytes:
    """Return what a decode hook left of the fields that are not ours as the text of a JSON object.

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
    return text


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
