"""The filter language of subscriptions.

As https://cloud.google.com/pubsub/docs/subscription-message-filter documents it:

    attributes:KEY                        the message has the attribute
    attributes.KEY = "VALUE"              it has the attribute with this value
    attributes.KEY != "VALUE"             it has not: no such attribute, or another value
    hasPrefix(attributes.KEY, "PREFIX")   the attribute's value starts so
    NOT term    term AND term AND …    term OR term OR …    (expression)

Names and operators are case-sensitive. A key is of letters, digits, `_` and `-`, or a string literal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from broker.errors import InvalidArgumentError

MAX_FILTER_BYTES = 256

Predicate: TypeAlias = Callable[[Mapping[str, str]], bool]
"""Whether a message with these attributes is delivered."""

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<word>[A-Za-z0-9_][A-Za-z0-9_-]*)
      | (?P<symbol>!=|[:.=(),])
      | (?P<end>$)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(
    r"""\\(?:
        u(?P<u>[0-9A-Fa-f]{4})
      | U(?P<U>[0-9A-Fa-f]{8})
      | x(?P<x>[0-9A-Fa-f]{2})
      | (?P<octal>[0-7]{3})
      | (?P<one>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_ONE_CHARACTER = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
    "\\": "\\", '"': '"', "'": "'", "?": "?", "`": "`",
}  # fmt: skip


class _Token(NamedTuple):
    """`kind` is `string`, `word`, `symbol` or `end`; `text` of a string is its value; `at` counts from 1."""

    kind: str
    text: str
    at: int


def parse_filter(text: str) -> Predicate:
    """Return what a filter selects.

    Raises:
        InvalidArgumentError: The filter is too long, or breaks the grammar: says at which character, and what
            was expected there.
    """
    size = len(text.encode())
    if size > MAX_FILTER_BYTES:
        raise InvalidArgumentError(
            f"Subscription.filter has {size} bytes; at most {MAX_FILTER_BYTES} are allowed"
        )
    return _Parser(text).filter()


class _Parser:
    """Recursive descent; the limit of a filter's length bounds its depth."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._tokenize()
        self._next = 0

    def filter(self) -> Predicate:
        predicate = self._expression()
        token = self._take()
        if token.kind != "end":
            raise self._error(token, "AND, OR or the end of the filter")
        return predicate

    def _expression(self) -> Predicate:
        terms = [self._term()]
        operator = self._peek()
        if not _is_operator(operator):
            return terms[0]
        while _is_operator(self._peek()):
            token = self._take()
            if token.text != operator.text:
                raise self._error(token, f"{operator.text}: AND beside OR needs parentheses")
            terms.append(self._term())
        joined = all if operator.text == "AND" else any
        return lambda attributes: joined(term(attributes) for term in terms)

    def _term(self) -> Predicate:
        token = self._take()
        if token.kind == "word" and token.text == "NOT":
            negated = self._term()
            return lambda attributes: not negated(attributes)
        if token.kind == "symbol" and token.text == "(":
            inner = self._expression()
            self._symbol(")")
            return inner
        if token.kind == "word" and token.text == "hasPrefix":
            return self._has_prefix()
        if token.kind == "word" and token.text == "attributes":
            return self._comparison()
        raise self._error(token, "attributes, hasPrefix, NOT or (")

    def _comparison(self) -> Predicate:
        if self._symbol(":", ".").text == ":":
            has = self._key()
            return lambda attributes: has in attributes
        key = self._key()
        operator = self._symbol("=", "!=").text
        value = self._string()
        if operator == "=":
            return lambda attributes: attributes.get(key) == value
        return lambda attributes: attributes.get(key) != value

    def _has_prefix(self) -> Predicate:
        self._symbol("(")
        name = self._take()
        if (name.kind, name.text) != ("word", "attributes"):
            raise self._error(name, "attributes")
        self._symbol(".")
        key = self._key()
        self._symbol(",")
        prefix = self._string()
        self._symbol(")")
        return lambda attributes: key in attributes and attributes[key].startswith(prefix)

    def _key(self) -> str:
        token = self._take()
        if token.kind not in ("word", "string"):
            raise self._error(token, "an attribute's key")
        return token.text

    def _string(self) -> str:
        token = self._take()
        if token.kind != "string":
            raise self._error(token, 'a string in double quotes, such as "value"')
        return token.text

    def _symbol(self, *symbols: str) -> _Token:
        token = self._take()
        if token.kind != "symbol" or token.text not in symbols:
            raise self._error(token, " or ".join(symbols))
        return token

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        # The end may be looked at more than once.
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _tokenize(self) -> list[_Token]:
        tokens: list[_Token] = []
        position = 0
        while not tokens or tokens[-1].kind != "end":
            match = _TOKEN.match(self._text, position)
            if match is None or match.lastgroup is None:
                at = position + len(self._text[position:]) - len(self._text[position:].lstrip()) + 1
                found = self._text[at - 1]
                hint = (
                    "a closing double quote" if found == '"' else "a word, a string or one of : . = != ( ) ,"
                )
                raise self._error(_Token("symbol", found, at), hint)
            text = match[match.lastgroup]
            at = match.start(match.lastgroup) + 1
            tokens.append(_Token(match.lastgroup, self._unescape(text, at) if match["string"] else text, at))
            position = match.end()
        return tokens

    def _unescape(self, literal: str, at: int) -> str:
        def replace(match: re.Match[str]) -> str:
            for group, base in (("u", 16), ("U", 16), ("x", 16), ("octal", 8)):
                if match[group] is not None and (code := int(match[group], base)) <= 0x10FFFF:
                    return chr(code)
            if match["one"] in _ONE_CHARACTER:
                return _ONE_CHARACTER[match["one"]]
            raise self._error(
                _Token("symbol", match[0], at + 1 + match.start()),
                r"an escape such as \", \\, \n, \u307F, \x41 or \101",
            )

        return _ESCAPE.sub(replace, literal[1:-1])

    def _error(self, token: _Token, expected: str) -> InvalidArgumentError:
        found = "the filter ends" if token.kind == "end" else f"there is {token.text!r}"
        return InvalidArgumentError(
            f"Subscription.filter {self._text!r}, character {token.at}: {found}; expected {expected}"
        )


def _is_operator(token: _Token) -> bool:
    return token.kind == "word" and token.text in ("AND", "OR")
