"""One figure, and what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Basis = Literal["measured", "extrapolated", "assumed"]
"""Whether a figure was measured, continues what was measured, or was given."""

Guard = Literal["ok", "diagnostic", "refused"]
"""Whether there are enough samples for a percentile; a refused one has no value."""


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        name: Such as "p99".
        value: None where there is none; `note` says why.
        unit: Such as "ms", "1/s", "%"; empty for a count.
        basis: What it rests on.
        low: Lower end of its 95 % interval; None where there are too few samples for one.
        high: Upper end of it; infinite where too few samples lie beyond it.
        standard_error: In the unit; None where there are too few samples for one.
        n: Samples that it was made from.
        effective_n: Independent samples that are worth as much; less than `n` where neighbours are alike.
        guard: Whether the samples are enough.
        at_least: Whether it lies among messages without an answer, so that the true value may be higher.
        note: What else there is to know; empty for nothing.
    """

    name: str
    value: float | None
    unit: str
    basis: Basis = "measured"
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None
    n: int | None = None
    effective_n: float | None = None
    guard: Guard = "ok"
    at_least: bool = False
    note: str = ""
