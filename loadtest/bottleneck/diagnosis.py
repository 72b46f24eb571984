"""What limits a run, why, what to change first, and what that should bring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Limit = Literal[
    "driver",
    "broker",
    "decode",
    "batching",
    "model compute",
    "endpoint latency",
    "endpoint capacity (429)",
    "workers",
    "none",
]
"""What limits a run: what would let it carry more, or answer sooner, if it were faster or more of it."""

Relation = Literal["at least", "above", "below", "at most"]


@dataclass(frozen=True)
class Fact:
    """One measured figure, and what it is held against.

    Attributes:
        what: In words, without the figure.
        value: Measured.
        unit: Such as "s", "1/s", "cores"; "1" for a share.
        relation: How it stands to the bound; None where it is told for itself.
        bound: In the same unit; None where it is told for itself.
    """

    what: str
    value: float
    unit: str
    relation: Relation | None = None
    bound: float | None = None


@dataclass(frozen=True)
class Change:
    """The one change to try first.

    Attributes:
        flags: Of the job, the driver or the deployment, such as "--max_batch_size=64"; empty where no flag
            does it.
        text: What to do, in words.
    """

    flags: tuple[str, ...]
    text: str


@dataclass(frozen=True)
class Expectation:
    """What a change should bring. It is extrapolated: a formula over measurements, nothing measured.

    Attributes:
        figure: "rate" (messages carried, 1/s) or "latency" (mean, s).
        value: Expected after the change.
        unit: Of it.
        now: The same figure as measured.
        at_most: Whether the rate may be lower (the latency higher), as something else may limit it then.
        formula: In words and symbols, with its source.
    """

    figure: Literal["rate", "latency"]
    value: float
    unit: Literal["1/s", "s"]
    now: float
    at_most: bool
    formula: str
    basis: Literal["extrapolated"] = "extrapolated"


@dataclass(frozen=True)
class Diagnosis:
    """The limit of a run.

    Attributes:
        limit: Its name.
        because: The figures that say so, the deciding ones first.
        change: To try first.
        expected: Of the change; None where nothing is to be changed, or no formula tells.
    """

    limit: Limit
    because: tuple[Fact, ...]
    change: Change
    expected: Expectation | None
