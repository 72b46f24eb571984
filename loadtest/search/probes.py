"""What a search asks for, and what it gets to know."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Purpose = Literal["bracket", "look above", "look below", "recheck", "bisect", "root", "confirm", "breach"]
"""Why a probe is made; `recipe` has them all."""


@dataclass(frozen=True)
class Probe:
    """A run at one rate.

    Attributes:
        rate: Offered, messages a second.
        seconds: Length of the measured window, after the warm-up.
        seed: Of the arrivals; each probe has another.
        purpose: Why it is made.
    """

    rate: float
    seconds: float
    seed: int
    purpose: Purpose


@dataclass(frozen=True)
class Breach:
    """The first objective that a probe did not meet.

    Attributes:
        metric: Of the objective, or "backlog_slope" where the backlog grew.
        objective: As it was written, or "stable".
        observed: In the unit of `objectives.Figure`.
    """

    metric: str
    objective: str
    observed: float


@dataclass(frozen=True)
class Observation:
    """What came of a probe for one tier of objectives.

    Attributes:
        rate: Offered, messages a second.
        margin: Below 0 where the objectives are met, above where not: `Tier.observe` has the formula.
        standard_error: Of the margin; NaN where it is not known, 0 where the margin has no noise.
        passed: Whether all objectives are met and the backlog did not grow.
        n: Messages of the window.
        stable: Whether the backlog did not grow.
        growth: Of the backlog, over the rate: the system carried (1 - growth) of it.
        first_breach: None where it passed.
    """

    rate: float
    margin: float
    standard_error: float
    passed: bool
    n: int
    stable: bool
    growth: float
    first_breach: Breach | None = None
