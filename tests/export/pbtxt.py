"""Reads protobuf's text format, as far as a config.pbtxt has it, and refuses what is none."""

from __future__ import annotations

import json
import re
from typing import Any

_TOKEN = re.compile(r'\s*("(?:[^"\\\n]|\\.)*"|[A-Za-z_]\w*|-?\d+|[{}\[\]:,])')


def parse(text: str) -> dict[str, list[Any]]:
    """Return the values of each field, in order; messages are dicts of the same kind."""
    tokens = []
    place = 0
    text = text.rstrip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        assert found, text[place : place + 40]
        tokens.append(found[1])
        place = found.end()
    message, rest = _message(tokens)
    assert rest == [], rest
    return message


def _message(tokens: list[str]) -> tuple[dict[str, list[Any]], list[str]]:
    fields: dict[str, list[Any]] = {}
    while tokens and tokens[0] != "}":
        name, *tokens = tokens
        assert re.fullmatch(r"[a-z_]+", name), name
        colon = tokens[0] == ":"
        tokens = tokens[colon:]
        if tokens[0] == "[":
            tokens = tokens[1:]
            while tokens[0] != "]":
                value, tokens = _value(tokens)
                fields.setdefault(name, []).append(value)
                assert tokens[0] in (",", "]"), tokens[0]
                assert tokens[:2] != [",", "]"]
                tokens = tokens[tokens[0] == "," :]
            fields.setdefault(name, [])
            tokens = tokens[1:]
        else:
            # Without a colon stands a message only.
            assert colon or tokens[0] == "{", name
            value, tokens = _value(tokens)
            fields.setdefault(name, []).append(value)
    return fields, tokens


def _value(tokens: list[str]) -> tuple[Any, list[str]]:
    first, *rest = tokens
    if first == "{":
        message, rest = _message(rest)
        assert rest[0] == "}"
        return message, rest[1:]
    assert first not in ("}", "]", "[", ":", ","), first
    if first.startswith('"'):
        return json.loads(first), rest
    return (int(first), rest) if re.fullmatch(r"-?\d+", first) else (first, rest)
