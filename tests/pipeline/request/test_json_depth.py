"""The depth that is found in the bytes is never less than what a parser meets."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.request.json_depth import MAX_JSON_DEPTH, containers, depth, too_deep

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(alphabet='[]{}"\\a\u0142\n')),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(alphabet='[]{}"\\b'), inner)),
)


def levels(value: Any) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(levels, value), default=0) if isinstance(value, list) else 0


@given(JSON)
def test_depth_is_exact_for_json(value: Any) -> None:
    assert depth(orjson.dumps(value)) == levels(value) <= containers(orjson.dumps(value))


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", 0),
        (b"[" * 200_000, 200_000),
        (b'{"a":' * 7, 7),
        (b'["]]]]]]", [[["[[[["]]]]', 4),
        (b'["\\\\", [["\\"", [', 4),
        # A string that is never closed hides the rest from any parser.
        (b'[["[[[[', 2),
        (b'["' + b'\\"' * 100_000, 1),
        # Beyond the first error it may be anything, before it never less.
        (b"[[[]]]]]][[", 3),
        (b"\xdb\xfb\xdd\xfd[", 1),
    ],
)
def test_depth_up_to_an_error(data: bytes, expected: int) -> None:
    assert depth(data) == expected


@pytest.mark.parametrize("opening", [b"[", b'{"a":'])
def test_too_deep(opening: bytes) -> None:
    closing = b"]" if opening == b"[" else b"}"
    for levels_, expected in ((MAX_JSON_DEPTH, False), (MAX_JSON_DEPTH + 1, True)):
        assert too_deep(opening * levels_ + b"1" + closing * levels_) is expected
        assert too_deep(opening * levels_) is expected
    assert not too_deep(b"[" + (opening + b"1" + closing + b",") * 1_000 + b"1]")
    assert not too_deep(b'["' + b"[" * 1_000 + b'"]')
    assert too_deep(b"[[[[[" + b'{"a":[' * 48)


def test_a_string_of_quotes_takes_no_time_squared() -> None:
    """It would take an hour; the test's own limit ends it."""
    assert depth(b'"' + b'\\"' * 4_000_000) == 0
