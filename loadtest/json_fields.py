"""The few fields that the driver needs of a record or a result, at the cost of its bytes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import orjson

from pipeline.request.json_body import EAGER_BYTES
from pipeline.request.json_text import MAX_WRITTEN_DEPTH, raw_fields

_IDENTITY: Sequence[str] = ("record_id", "label")
_ANSWER: Sequence[str] = ("prediction", "latency_ms", "batch_size")


def record_fields(data: bytes) -> dict[str, object]:
    """Return `record_id` and `label` of a JSON object, as far as it has them.

    Raises:
        DecodeError: It is no JSON object, or nested more than 254 deep.
    """
    raw = raw_fields(data, MAX_WRITTEN_DEPTH)
    return {name: _value(raw[name]) for name in _IDENTITY if name in raw}


def result_fields(data: bytes) -> dict[str, object]:
    """Return `prediction`, `latency_ms`, `batch_size` and, of what passed through, `record_id` and `label`.

    Raises:
        DecodeError: It is no JSON object, or nested more than 254 deep.
    """
    raw = raw_fields(data, MAX_WRITTEN_DEPTH)
    fields = {name: _value(raw[name]) for name in _ANSWER if name in raw}
    carried = bytes(raw.get("passthrough", b""))
    if carried.startswith(b"{"):
        fields["passthrough"] = record_fields(carried)
    return fields


def _value(raw: msgspec.Raw) -> object:
    """Return a value; None for a large one, which is none that the driver looks at."""
    if len(raw) > EAGER_BYTES:
        return None
    try:
        return orjson.loads(memoryview(raw))
    except orjson.JSONDecodeError:  # a number larger than any float
        return None
