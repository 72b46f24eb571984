"""What comes first on a page: what several measurements say together."""

from __future__ import annotations

from dataclasses import dataclass

from loadtest.report.tables import Shown


@dataclass(frozen=True)
class LeadSection:
    """What is shown of them.

    Attributes:
        kicker: What was measured.
        outcome: found or not found.
        headline: The answer, in one sentence.
        sentences: What it rests on.
        figures: Of the answer.
    """

    kicker: str
    outcome: str
    headline: str
    sentences: tuple[str, ...]
    figures: list[Shown]
