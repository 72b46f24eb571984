"""What every part is given, and what it leaves: rows of figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.workload import Scale

# Figures and words by name, as JSON has them.
Row = Mapping[str, object]

# What a row has in place of its figures where the part's time was up before it.
NOT_MEASURED = "not_measured"
NO_TIME = {NOT_MEASURED: "no time was left"}

# How much longer than its time a part may take before it is ended.
GRACE_S = 20.0


@dataclass(frozen=True)
class Context:
    """Where and for how long a part measures.

    Attributes:
        scale: What is computed, and on what.
        with_beam: Whether Apache Beam is installed.
        folder: For files; it is there, and goes when the command ends.
        ends_at: When the part's time is up, of `time.monotonic`.
    """

    scale: Scale
    with_beam: bool
    folder: Path
    ends_at: float

    def left(self) -> float:
        """Return the seconds that are left; 0 where time is up."""
        return max(0.0, self.ends_at - time.monotonic())

    def share(self, of: int, longest: float) -> float:
        """Return seconds for the next of `of` measurements: its share of what is left, at most `longest`."""
        return min(longest, self.left() / max(1, of))


class NotAvailableError(Exception):
    """A part, or a row of it, cannot be measured here; the message says why."""


# A part yields each row as soon as it is measured, so that what came before a failure is kept.
Measure = Callable[[Context], Iterator[Row]]
