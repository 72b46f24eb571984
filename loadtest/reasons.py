"""Why requests became dead letters: the reasons, counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

# Different reasons that are told apart; each is a message of at most a kilobyte.
MAX_REASONS = 1_000
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Reason:
    """One reason and how often it came. Messages that differ in their numbers alone count as one.

    Attributes:
        stage: Where the requests failed: decode, inference, encode or write.
        message: Of the first of them.
        count: Distinct requests.
    """

    stage: str
    message: str
    count: int


class Reasons:
    """The account of a run's reasons. One thread adds."""

    def __init__(self) -> None:
        self._first: dict[tuple[str, str], str] = {}
        self._counts: dict[tuple[str, str], int] = {}

    def add(self, attributes: Mapping[str, str]) -> None:
        """Count the dead letter that has these attributes."""
        # .get: indexing a protobuf map creates the key.
        stage, message = attributes.get("error_stage", ""), attributes.get("error_message", "")
        key = (stage, _NUMBER.sub("0", message))
        if key not in self._first:
            if len(self._first) >= MAX_REASONS:
                key, message = ("", ""), "other reasons"
            self._first.setdefault(key, message)
        self._counts[key] = self._counts.get(key, 0) + 1

    def commonest(self) -> list[Reason]:
        """Return all reasons, the commonest first."""
        counts = sorted(self._counts.items(), key=lambda item: -item[1])
        return [Reason(key[0], self._first[key], count) for key, count in counts]
