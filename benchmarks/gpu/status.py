"""What became of a part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from benchmarks.gpu.context import NOT_MEASURED, Row


class Status(StrEnum):
    """What became of a part, as gpu.json has it."""

    MEASURED = "measured"
    PARTIAL = "measured in part"
    NOT_AVAILABLE = "not available"
    HUNG = "ended by force"
    FAILED = "failed"


# The exit code of a part's process that is not available here.
NOT_AVAILABLE_CODE = 4


@dataclass(frozen=True)
class Outcome:
    """What became of a part, and why.

    Attributes:
        reason: Empty where all was measured.
    """

    status: Status
    reason: str = ""

    @property
    def is_error(self) -> bool:
        """Whether the command fails for it."""
        return self.status in (Status.HUNG, Status.FAILED)


def outcome(exit_code: int | None, rows: Sequence[Row], why_not: str, log: str) -> Outcome:
    """Return what became of a part.

    Args:
        exit_code: Of its process; None where that had to be ended.
        rows: What it left.
        why_not: The reason that a part leaves that is not available.
        log: What the process wrote.
    """
    if exit_code == NOT_AVAILABLE_CODE:
        return Outcome(Status.NOT_AVAILABLE, why_not)
    tail = " ".join(log.split())[-1500:]
    if exit_code is None:
        return Outcome(Status.HUNG, f"it went on after its time was up: {tail}".removesuffix(": "))
    if exit_code != 0:
        return Outcome(Status.FAILED, f"exit code {exit_code}: {tail}")
    left_out = sum(NOT_MEASURED in row for row in rows)
    if left_out:
        return Outcome(Status.PARTIAL, f"no time was left for {left_out} of {len(rows)} rows")
    return Outcome(Status.MEASURED)
