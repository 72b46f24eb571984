"""The wire format: from a Pub/Sub message to a request, and from a result or dead letter to a message.

docs/wire-format.md describes it. Imports no Beam: the endpoint container and other tools use it too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from pipeline.pubsub.limits import (
    MAX_ATTRIBUTE_KEY_BYTES,
    MAX_ATTRIBUTE_VALUE_BYTES,
    MAX_ATTRIBUTES,
    MAX_MESSAGE_BYTES,
)
from pipeline.request import compression, json_body
from pipeline.request.errors import DecodeError, EncodeError, InferenceError, WriteError
from pipeline.request.hooks import Hook, make_inputs, make_prediction
from pipeline.request.input_spec import RAW_TYPES, InputSpec
from pipeline.request.json_body import NOTHING, plain
from pipeline.request.json_text import NotAnObjectError, NotJsonError
from pipeline.request.messages import DeadLetter, Request, Result, Timeline

JSON_TYPE = "application/json"
FLOAT32_TYPE = "application/x-float32"
GZIP = frozenset({"gzip", "x-gzip"})
"""The names of gzip as a content-encoding (RFC 9110, 8.4.1.3)."""
UNENCODED = frozenset({"", "identity"})
"""Content-encodings that are none."""

# Pub/Sub sets it where the topic has a schema: JSON, or BINARY for Avro and Protocol Buffers.
_SCHEMA_ENCODING = "googclient_schemaencoding"

# A Publish call of one message carries the topic's name (about 300 bytes at most), tags and lengths besides.
CALL_OVERHEAD_BYTES = 400

# `error_stage` of a dead letter, which is never without one of the others: where there was no room for
# `failed_at`, it was dropped, which is said.
_STAGES = frozenset(error.stage for error in (DecodeError, InferenceError, EncodeError, WriteError))
_MARKS = frozenset({"failed_at", "attributes_dropped"})

# The largest attribute that holds a count: name, digits, framing.
_COUNT_BYTES = 45
# Room for error_stage, whatever the data.
_LEAST_REASON_BYTES = 35


@dataclass(slots=True)
class WireMessage:
    """A Pub/Sub message that is ready to be published."""

    data: bytes
    attributes: dict[str, str] = field(default_factory=dict)


def decode(
    data: bytes,
    attributes: Mapping[str, str],
    spec: InputSpec,
    *,
    received: float,
    published: float | None = None,
    message_id: str | None = None,
    hook: Hook | None = None,
) -> Request:
    """Return the request in a Pub/Sub message.

    Args:
        data: The message's body.
        attributes: The message's.
        spec: The shapes and dtypes that the model takes.
        received: Epoch seconds.
        published: Epoch seconds, where they are known.
        message_id: The message's, where it is known.
        hook: Makes the inputs, as `hook(body, attributes)`. The body is the JSON object, whose fields pass
            through unless the hook takes them out; or the bytes as they came, of any other body.

    Raises:
        DecodeError: The message is not a request; says why, and carries the id as far as it is known.
    """
    request_id = attributes.get("request_id") or message_id
    try:
        content_type = attributes.get("content-type", JSON_TYPE)
        if content_type != JSON_TYPE and content_type not in RAW_TYPES:
            content_type = content_type.partition(";")[0].strip().lower()
        encoding = attributes.get("content-encoding")
        if encoding is not None:
            encoding = encoding.strip().lower()
            if encoding in UNENCODED:
                encoding = None
        body: dict[str, Any] | None = None
        text, note = data, ""
        if hook is not None:
            body, note = _body_for_hook(data, attributes, content_type, encoding)
        else:
            if encoding is not None:
                text = _unpacked(data, encoding)
            if content_type == JSON_TYPE:
                try:
                    body = json_body.parse(text, spec)
                except NotJsonError:
                    if encoding is not None or not compression.is_gzip(data):
                        raise
                    text = _unpacked(data, "gzip")
                    body = json_body.parse(text, spec)
        if body is not None:
            request_id = attributes.get("request_id") or _body_id(body, text) or message_id
            if "prediction" in body:
                raise DecodeError(
                    "the body has a field called prediction, as results do: "
                    "was a result published to the input topic? Else rename the field"
                )
            if hook is None:
                inputs = json_body.take_inputs(body, text, spec)
                passthrough = json_body.take_passthrough(body, text, spec)
                if text is not data:
                    _check_unpacked(passthrough, data)
            else:
                inputs = make_inputs(hook, body, attributes, spec)
                passthrough = json_body.passthrough_of_hook(body, data)
        elif hook is not None:
            inputs, passthrough = make_inputs(hook, data, attributes, spec, note), NOTHING
        elif content_type in RAW_TYPES:
            inputs, passthrough = spec.from_bytes(text, content_type), NOTHING
        else:
            raise DecodeError(
                f"content-type {content_type[:100]!r} is not supported: send {media_types(spec)}"
            )
    except NotJsonError as error:
        raise DecodeError(_problem(error, attributes, spec), request_id) from None
    except DecodeError as error:
        error.request_id = request_id
        raise
    return Request(
        request_id or hashlib.sha256(data).hexdigest()[:32],
        inputs,
        data,
        attributes,
        passthrough,
        Timeline(published, received),
    )


def encode(result: Result, now: float, hook: Hook | None = None) -> WireMessage:
    """Return the Pub/Sub message of a result; `now` (epoch seconds) becomes its `emitted`.

    With a hook, `hook(prediction)` is in the message instead of the model's own prediction.

    Raises:
        EncodeError: The result is larger than Pub/Sub takes, or holds what JSON cannot; or the hook failed.
    """
    request, times = result.request, result.request.timeline
    prediction = result.prediction
    if hook is not None:
        prediction = make_prediction(hook, prediction, request.request_id)
    body = {
        "request_id": request.request_id,
        "prediction": prediction,
        "model_id": result.model_id,
        "batch_size": result.batch_size,
        "timing": {
            "published": times.published,
            "received": times.received,
            "batched": times.batched,
            "inference_start": times.inference_start,
            "inference_end": times.inference_end,
            "emitted": now,
        },
        "latency_ms": {
            "queue": _milliseconds(times.published, times.received),
            "batch_wait": _milliseconds(times.received, times.inference_start),
            "inference": _milliseconds(times.inference_start, times.inference_end),
            "server": times.server_ms,
            "total": _milliseconds(times.published, now),
        },
        "passthrough": orjson.Fragment(request.passthrough),
    }
    try:
        data = orjson.dumps(body, plain, orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        whose = "" if hook is None else f" (its prediction is what {hook} returned)"
        problem = f"the result cannot be written as JSON: {error}{whose}"
        raise EncodeError(problem, request.request_id) from error
    attributes = {"request_id": request.request_id, "model_id": result.model_id}
    for name in ("intended_time", "sent_time"):
        if name in request.attributes:
            attributes[name] = request.attributes[name]
    # The attributes are counted only where they could matter: request_id and model_id are in the data too,
    # and the others came by Pub/Sub, with 1,024 bytes at most.
    if (
        len(data) > MAX_MESSAGE_BYTES // 3
        and len(data) + CALL_OVERHEAD_BYTES + attribute_bytes(attributes) > MAX_MESSAGE_BYTES
    ):
        raise EncodeError(
            f"the result has {len(data):,} bytes; Pub/Sub takes {MAX_MESSAGE_BYTES:,} at most",
            request.request_id,
        )
    return WireMessage(data, attributes)


def encode_dead_letter(letter: DeadLetter) -> WireMessage:
    """Return the Pub/Sub message of a dead letter: the original bytes, and why they were refused.

    What does not fit Pub/Sub's limits is dropped, the sender's attributes first, and `attributes_dropped`
    says how many were dropped. Bytes that leave no room for a reason at all (within 500 of the limit) are
    cut, and `data_truncated` says how many there were.
    """
    # Most needed first: what does not fit is dropped from the end.
    wanted = {"error_stage": letter.stage}
    if letter.request_id is not None:
        wanted["request_id"] = letter.request_id
    wanted["error_type"] = letter.error_type
    wanted["error_message"] = letter.error_message or letter.error_type
    wanted["failed_at"] = f"{letter.failed_at:.6f}"
    ours = {key: _cut(value, MAX_ATTRIBUTE_VALUE_BYTES) for key, value in wanted.items()}
    original = {
        key: value
        for key, value in letter.attributes.items()
        if key not in ours
        and key not in ("attributes_dropped", "data_truncated")
        and not key.startswith("goog")
    }

    # Room is kept for the counts of what was dropped and cut.
    most = MAX_MESSAGE_BYTES - CALL_OVERHEAD_BYTES - 2 * _COUNT_BYTES
    data = letter.data[: most - _LEAST_REASON_BYTES]
    kept: dict[str, str] = {}
    room = most - len(data)
    dropped = 0
    for key, value in (*ours.items(), *original.items()):
        size = attribute_bytes({key: value})
        fits = (
            size <= room
            and len(kept) < MAX_ATTRIBUTES - 2
            and len(key.encode()) <= MAX_ATTRIBUTE_KEY_BYTES
            and len(value.encode()) <= MAX_ATTRIBUTE_VALUE_BYTES
        )
        if fits:
            kept[key] = value
            room -= size
        else:
            dropped += 1
    if dropped:
        kept["attributes_dropped"] = str(dropped)
    if len(data) < len(letter.data):
        kept["data_truncated"] = str(len(letter.data))
    return WireMessage(data, kept)


def is_dead_letter(attributes: Mapping[str, str]) -> bool:
    """Return whether a message is one that `encode_dead_letter` has made, by attributes that it always sets.

    A sender's own `error_stage` alone makes none, nor does one that names no stage.
    """
    return attributes.get("error_stage") in _STAGES and not _MARKS.isdisjoint(attributes)


def attribute_bytes(attributes: Mapping[str, str]) -> int:
    """Return how many bytes attributes take in a message, at most."""
    # 12: the tags and lengths of a map entry and of its two strings, at their largest.
    return sum(len(key.encode()) + len(value.encode()) + 12 for key, value in attributes.items())


def _body_for_hook(
    data: bytes, attributes: Mapping[str, str], content_type: str, encoding: str | None
) -> tuple[dict[str, Any] | None, str]:
    """Return the JSON object for a decode hook, or None and why it gets the bytes instead, if it may wonder.

    Raises:
        DecodeError: It is a JSON object that is nested too deep, or would take too much memory.
    """
    if content_type != JSON_TYPE or encoding is not None or attributes.get(_SCHEMA_ENCODING) == "BINARY":
        return None, ""
    try:
        return json_body.parse_for_hook(data), ""
    except NotJsonError as error:
        return None, f" (the hook got bytes: {error})"


def _unpacked(data: bytes, encoding: str) -> bytes:
    if encoding not in GZIP:
        raise DecodeError(
            f"content-encoding {encoding[:100]!r} is not supported: send gzip, or none. "
            "A --decode_hook gets the bytes as they are"
        )
    try:
        return compression.unpack(data, compression.MAX_UNPACKED_BYTES)
    except compression.GzipError as error:
        raise DecodeError(f"the body cannot be unpacked: {error}") from None


def _check_unpacked(passthrough: bytes, data: bytes) -> None:
    most = max(compression.FREE_BYTES, compression.MOST_TIMES * len(data))
    if len(passthrough) > most:
        raise DecodeError(
            f"the fields that pass through have {len(passthrough):,} bytes: of a body of {len(data):,} bytes "
            f"of gzip, {most:,} do"
        )


def _problem(error: NotJsonError, attributes: Mapping[str, str], spec: InputSpec) -> str:
    if isinstance(error, NotAnObjectError):
        return f"{error}: expected {spec.example()}"
    if attributes.get(_SCHEMA_ENCODING) == "BINARY":
        return f"{error}; by {_SCHEMA_ENCODING} it is Avro or Protocol Buffers, which a --decode_hook takes"
    return str(error)


def media_types(spec: InputSpec) -> str:
    """Return the content-types that a body for these inputs may have, for messages."""
    return JSON_TYPE if spec.raw_type is None else f"{JSON_TYPE} or {spec.raw_type}"


def _body_id(body: Mapping[str, Any], data: bytes) -> str | None:
    for name in ("request_id", "message_id"):
        value = body.get(name)
        if value is None or value == "":
            continue
        if type(value) is float or value == 0:
            # Beyond 64 bits, or -0.
            value = json_body.whole_number(data, name)
        if type(value) not in (str, int):
            raise DecodeError(f"{name}: expected a string or a whole number")
        text = str(value)
        if len(text.encode()) > MAX_ATTRIBUTE_VALUE_BYTES:
            raise DecodeError(f"{name}: longer than {MAX_ATTRIBUTE_VALUE_BYTES} bytes")
        return text
    return None


def _milliseconds(start: float | None, end: float | None) -> float | None:
    # Rounded as a whole number of microseconds: a third of the time of round(…, 3).
    return None if start is None or end is None else round((end - start) * 1e6) / 1e3


def _cut(text: str, limit: int) -> str:
    """Return `text` cut to `limit` bytes of UTF-8, never in the middle of a character."""
    return text.encode(errors="replace")[:limit].decode(errors="ignore")
