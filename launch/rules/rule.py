"""What one rule on settings is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

S = TypeVar("S")
S_contra = TypeVar("S_contra", contravariant=True)


@dataclass(frozen=True)
class Rule(Generic[S_contra]):
    """One rule on the settings of a class.

    Attributes:
        name: What is refused, in a few words.
        problem: Returns what is wrong, with its fix; None if nothing is.
    """

    name: str
    problem: Callable[[S_contra], str | None]


def problems(rules: Iterable[Rule[S]], settings: S) -> list[str]:
    """Return what is wrong with the settings, one problem for each rule that they break."""
    found = (rule.problem(settings) for rule in rules)
    return [problem for problem in found if problem]
