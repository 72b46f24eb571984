from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.request import json_text
from pipeline.request.errors import DecodeError
from pipeline.request.json_text import (
    MAX_DEPTH,
    MAX_FIELDS,
    Nesting,
    check_depth,
    check_numbers,
    nesting,
    raw_fields,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{}:, é'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='a"\\[]{}:,'), inner),
)


def depth(value: object) -> int:
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 1 + max(map(depth, value.values()), default=0) if isinstance(value, dict) else 0


@given(VALUES, st.booleans(), st.integers(1, 9))
def test_nesting_is_that_of_the_parsed_value(value: object, ascii_only: bool, chunk: int) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_text, "_CHUNK_BYTES", chunk)
        assert nesting(data) == Nesting(depth(value), len(value) if isinstance(value, dict) else 0)


@pytest.mark.parametrize("levels", [MAX_DEPTH, MAX_DEPTH + 1])
@pytest.mark.parametrize("inside", [b"", b'"\\\\"', b'"]"', b'"\\"]]]"', b"1", b"null"])
def test_depth(levels: int, inside: bytes) -> None:
    data = b"[" * levels + inside + b"]" * levels
    if levels > MAX_DEPTH:
        with pytest.raises(DecodeError, match="nested more than 100 deep"):
            check_depth(data)
    else:
        check_depth(data)


def test_brackets_in_a_text_are_no_lists() -> None:
    check_depth(b'{"x": "' + b"[" * 10_000 + b'"}')
    check_depth(b"[" + b"[]," * 10_000 + b"[]]")


@pytest.mark.parametrize(
    ("data", "least"),
    [
        (b"", 0),
        (b"[" * 200_000, 200_000),
        (b'{"a":' * 7, 7),
        (b'["]]]]]]", [[["[[[["]]]]', 4),
        (b'["\\\\", [["\\"", [', 4),
        (b'[["[[[[', 2),  # a text that is never closed hides the rest from any parser
        (b'["' + b'\\"' * 100_000, 1),
        (b"[[[]]]]]][[", 3),
        (b"\xdb\xfb\xdd\xfd[", 1),
    ],
)
def test_up_to_an_error_no_parser_meets_more(data: bytes, least: int) -> None:
    assert nesting(data).depth >= least


def test_a_text_of_quotes_takes_no_time_squared() -> None:
    """It would take an hour; the test's own limit ends it."""
    assert nesting(b'"' + b'\\"' * 4_000_000).depth == 0


@pytest.mark.parametrize("position", [0, 3, 4, 7])
def test_what_is_not_utf8(position: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a character is cut by the end of a part."""
    monkeypatch.setattr(json_text, "_CHUNK_BYTES", 4)
    data = b"a" * position + b"\xe2\x82" + b"a" * 9
    with pytest.raises(DecodeError, match=f"not UTF-8: byte 0xe2 at position {position}$"):
        raw_fields(data)
    with pytest.raises(DecodeError, match=f"not UTF-8: byte 0xe2 at position {position}$"):
        raw_fields(b"a" * position + b"\xe2\x82")


def test_fields_are_the_text_that_came() -> None:
    fields = raw_fields('{"a": [1,  2.50], "é" : "\\u00e9", "a": 123456789012345678901234}'.encode())
    assert {name: bytes(text) for name, text in fields.items()} == {
        "a": b"123456789012345678901234",
        "é": b'"\\u00e9"',
    }


def test_too_many_fields() -> None:
    def body(count: int) -> bytes:
        return b"{" + b",".join(b'"%d":{"a":1,"b":2}' % n for n in range(count)) + b"}"

    assert len(raw_fields(body(MAX_FIELDS))) == MAX_FIELDS
    with pytest.raises(DecodeError, match="more than 10,000 fields"):
        raw_fields(body(MAX_FIELDS + 1))


@pytest.mark.parametrize("number", [b"1e999", b"-1E+400", b"9" * 400, b"123456.5e305", b"9" * 215 + b"e94"])
def test_numbers_that_no_float_holds(number: bytes) -> None:
    with pytest.raises(DecodeError, match="too large for a number"):
        check_numbers(b'{"text": "\\"1e5", "x": [1, ' + number + b"]}")
    check_numbers(b'{"x": "' + number + b'", "y": "\\"' + number + b'\\\\"}')


@pytest.mark.parametrize("before", range(18))
def test_a_number_of_many_digits_is_found_wherever_it_stands(before: int) -> None:
    for number in (b"9" * 310, b"9" * 210 + b"e99"):
        with pytest.raises(DecodeError, match="too large for a number"):
            check_numbers(b"[1," + b" " * before + number + b"]")


@pytest.mark.parametrize("number", [b"1e308", b"9" * 300, b"1e-999", b"1.7976931348623157e+308"])
def test_numbers_that_a_float_holds(number: bytes) -> None:
    check_numbers(b"[" + number + b"]")
