"""How a figure stands to its goal."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Verdict:
    """A figure of ours and its goal.

    Attributes:
        value: NaN where it was not measured, null in JSON.
        above: Whether the goal is a least value, else it is a highest one.
        unit: Follows both numbers.
    """

    name: str
    value: float
    goal: float
    above: bool
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the figure reaches the goal; None where it was not measured."""
        if math.isnan(self.value):
            return None
        return self.value >= self.goal if self.above else self.value <= self.goal

    def __str__(self) -> str:
        bound = "at least" if self.above else "at most"
        goal = f"(goal: {bound} {self.goal:.3g}{self.unit})"
        if self.met is None:
            return f"{self.name}: not measured {goal}"
        met = "met" if self.met else "not met"
        return f"{self.name}: {self.value:.3g}{self.unit} {goal}: {met}"


def figures(verdicts: Iterable[Verdict]) -> list[dict[str, object]]:
    """Return the verdicts for JSON."""
    return [{**asdict(verdict), "met": verdict.met} for verdict in verdicts]
