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
from pipeline.request import json_body
from pipeline.request.errors import DecodeError, EncodeError, InferenceError, WriteError
from pipeline.request.hooks import Hook, make_inputs, make_prediction
from pipeline.request.input_spec import InputSpec
from pipeline.request.json_body import NOTHING, plain
from pipeline.request.json_text import NotAnObjectError
from pipeline.request.messages import DeadLetter, Request, Result, Timeline

JSON_TYPE = "application/json"
FLOAT32_TYPE = "application/x-float32"

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
            through unless the hook takes them out, or the bytes of any other content-type.

    Raises:
        DecodeError: The message is not a request; says why, and carries the id as far as it is known.
    """
    request_id = attributes.get("request_id") or message_id
    try:
        content_type = attributes.get("content-type", JSON_TYPE)
        if content_type != JSON_TYPE:
            content_type = content_type.partition(";")[0].strip().lower()
        if content_type == JSON_TYPE:
            body = json_body.parse(data, spec) if hook is None else json_body.parse_for_hook(data)
            request_id = attributes.get("request_id") or _body_id(body) or message_id
            if "prediction" in body:
                raise DecodeError(
                    "the body has a field called prediction, as results do: "
                    "was a result published to the input topic? Else rename the field"
                )
            if hook is None:
                inputs = json_body.take_inputs(body, data, spec)
                passthrough = json_body.take_passthrough(body, data, spec)
            else:
                inputs = make_inputs(hook, body, attributes, spec)
                passthrough = json_body.passthrough_of_hook(body)
        elif hook is not None:
            inputs, passthrough = make_inputs(hook, data, attributes, spec), NOTHING
        elif content_type == FLOAT32_TYPE:
            inputs, passthrough = spec.from_bytes(data), NOTHING
        else:
            raise DecodeError(
                f"content-type {content_type[:100]!r} is not supported: send {JSON_TYPE} or {FLOAT32_TYPE}"
            )
    except NotAnObjectError as error:
        raise DecodeError(f"{error}: expected {_example(spec, hook)}", request_id) from None
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


def _example(spec: InputSpec, hook: Hook | None) -> str:
    return spec.example() if hook is None else f"an object that {hook} takes"


def _body_id(body: Mapping[str, Any]) -> str | None:
    for name in ("request_id", "message_id"):
        value = body.get(name)
        if value is None or value == "":
            continue
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
