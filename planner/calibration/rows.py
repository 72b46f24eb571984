"""Published rows: what one worker did with what was offered."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

ONE_WORKER = Path(__file__).with_name("one_worker.json")

# Done over offered from which on a row has kept up.
KEPT_UP = 0.99
# A queue that grows from an empty start has a median of about half its p99. Where it is more than this, the
# delay was there from the beginning: the worker was late, or slow at first, and the row's latency says no
# more of its law.
_EARLY = 0.7


@dataclass(frozen=True)
class Row:
    """One run at a constant rate.

    Attributes:
        gpu: "L4", "T4".
        mode: "local", the model in the worker; "endpoint".
        offered: Messages a second.
        done: Messages a second.
        p50_ms: Of the latency from publishing to the result.
        p99_ms: Likewise.
        gpu_p50_ms: Time of the model on the GPU.
    """

    gpu: str
    mode: Literal["local", "endpoint"]
    offered: float
    done: float
    p50_ms: float
    p99_ms: float
    gpu_p50_ms: float

    @property
    def kept_up(self) -> bool:
        """Whether it did what was offered."""
        return self.done >= KEPT_UP * self.offered

    @property
    def unexplained(self) -> str:
        """Why a law cannot explain this row's latency; empty where it can."""
        if self.kept_up or self.p50_ms <= _EARLY * self.p99_ms:
            return ""
        return (
            f"p50 is {self.p50_ms / self.p99_ms:.2f} of p99, where a queue that grows has about 0.5: the "
            "delay was there from the start"
        )


@dataclass(frozen=True)
class Published:
    """Rows with where they are from.

    Attributes:
        source: In words, with its date.
        worker: What all rows have in common.
        rows: In any order.
    """

    source: str
    worker: str
    rows: list[Row]

    def of(self, gpu: str, mode: str) -> list[Row]:
        """Return the rows of one configuration, by what was offered."""
        rows = [row for row in self.rows if (row.gpu, row.mode) == (gpu, mode)]
        return sorted(rows, key=lambda row: row.offered)


def read(path: Path = ONE_WORKER) -> Published:
    """Read rows.

    Raises:
        OSError: The file cannot be read.
        msgspec.DecodeError: It does not hold such rows; the message says where.
    """
    return msgspec.json.decode(path.read_bytes(), type=Published)
