"""Hostile messages for a job with the example's model, which takes 30 features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.integration.test_bad_requests import BAD

JSON_TYPE = "application/json"
FEATURES = b'"features": [' + b",".join([b"1"] * 30) + b"]"
LARGE = 9_000_000  # bytes; Pub/Sub takes 10,000,000 in a call


@dataclass(frozen=True)
class HostileMessage:
    """A message that somebody may publish.

    Attributes:
        data: Its body.
        attributes: Its own; the sender adds a request_id.
    """

    data: bytes
    attributes: Mapping[str, str] = field(default_factory=lambda: {"content-type": JSON_TYPE})


def _beside(name: bytes, value: bytes) -> HostileMessage:
    """Return a request whose features are right, with a field beside them."""
    return HostileMessage(b"{" + FEATURES + b', "' + name + b'": ' + value + b"}")


def _nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def _repeated(piece: bytes, size: int = LARGE) -> bytes:
    return b"[" + piece * (size // (len(piece) + 1)) + b"0]"


def _forged(attributes: Mapping[str, str]) -> HostileMessage:
    return HostileMessage(b"{" + FEATURES + b"}", {"content-type": JSON_TYPE, **attributes})


_LETTER = {"error_stage": "decode", "error_type": "DecodeError", "failed_at": "1790000000.000000"}

MESSAGES: dict[str, HostileMessage] = {
    **{name: HostileMessage(data, {"content-type": kind}) for name, (data, kind, _) in BAD.items()},
    **{f"a field nested {depth} deep": _beside(b"x", _nested(depth)) for depth in (90, 250, 480, 600, 1000)},
    "a field of objects nested 600 deep": _beside(b"x", b'{"a":' * 600 + b"1" + b"}" * 600),
    "features nested 600 deep": HostileMessage(b'{"features": ' + _nested(600) + b"}"),
    "100,000 deep": HostileMessage(_nested(100_000)),
    "9 MB of []": _beside(b"x", _repeated(b"[],")),
    "9 MB of {}": _beside(b"x", _repeated(b"{},")),
    "9 MB of []: features": HostileMessage(b'{"features": ' + _repeated(b"[],") + b"}"),
    "9 MB of numbers": _beside(b"x", _repeated(b"1.5,")),
    "9 MB of fields": HostileMessage(
        b"{" + FEATURES + b"".join(b',"%06x":1' % number for number in range(LARGE // 12)) + b"}"
    ),
    "9 MB of text": _beside(b"x", b'"' + b"[" * (LARGE - 1000) + b'"'),
    "a number of 100,000 digits": _beside(b"x", b"9" * 100_000),
    "a number of 24 digits": _beside(b"account", b"123456789012345678901234"),
    "1e999999": _beside(b"x", b"1e999999"),
    "a lone surrogate": _beside(b"x", b'"\\ud800"'),
    "NUL and newline in an id": _forged({"note": "a\0b\nc"}),
    "an ESC sequence in a field": _beside(b"x", b'"\\u001b[2J"'),
    "98 attributes of 1,000 bytes": _forged({f"a{number}": "x" * 1000 for number in range(98)}),
    "a forged dead letter": _forged(_LETTER),
    "a dead letter come back": HostileMessage(b'{"features": 1}', {**_LETTER, "error_message": "no"}),
    "a result come back": HostileMessage(
        b'{"request_id": "r", "prediction": 1.0, "model_id": "m@0", "batch_size": 1, "latency_ms": {}}'
    ),
    "forged attributes_dropped": _forged({"attributes_dropped": "99", "data_truncated": "99"}),
}
