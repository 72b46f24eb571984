"""What `benchmarks.hostile` measures: good requests, alone and beside hostile ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from benchmarks.harness.verdict import Verdict

P99_GOAL = 2.0  # times the p99 without hostile inputs, at most
MEMORY_GOAL_MIB = 200.0  # above that without hostile inputs, at most


@dataclass(frozen=True)
class Load:
    """The good requests of a turn.

    Attributes:
        rate: A second.
        seconds: After the warm-up.
    """

    rate: float
    seconds: float
    warmup_s: float = 3.0


@dataclass(frozen=True)
class Turn:
    """What one turn has shown of the good requests and of the process that serves them.

    Attributes:
        sent: Good requests.
        answered: Those with the right answer.
        latencies_ms: Of the good requests that were answered, from when each was due.
        peak_mib: The highest resident memory of the process and of its children together.
        restarts: Processes that ended or were replaced.
        outcomes: What became of each hostile input; empty in a turn without.
        ran: Whether code of a hostile file ran.
    """

    sent: int
    answered: int
    latencies_ms: Sequence[float]
    peak_mib: float
    restarts: int
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)
    ran: bool = False


@dataclass(frozen=True)
class Measured:
    """The turns of one target, in pairs: one without hostile inputs, one with.

    Attributes:
        p99_held: Whether the goal for the p99 stands. It does not where a hostile answer is a good request's
            own, which is then tried again.
    """

    target: str
    quiet: Sequence[Turn]
    hostile: Sequence[Turn]
    p99_held: bool = True

    @property
    def p99_ratio(self) -> float:
        """The p99 beside hostile inputs over that without."""
        return percentiles(self.hostile)["p99"] / percentiles(self.quiet)["p99"]

    @property
    def more_mib(self) -> float:
        """The highest peak of memory beside hostile inputs less the highest without."""
        return max(turn.peak_mib for turn in self.hostile) - max(turn.peak_mib for turn in self.quiet)

    @property
    def outcomes(self) -> dict[str, dict[str, int]]:
        """What became of each hostile input, all turns together."""
        found: dict[str, dict[str, int]] = {}
        for turn in self.hostile:
            for name, counts in turn.outcomes.items():
                total = found.setdefault(name, {})
                for outcome, count in counts.items():
                    total[outcome] = total.get(outcome, 0) + count
        return found

    @property
    def verdicts(self) -> list[Verdict]:
        """How the target stands to the goals."""
        missing = sum(turn.sent - turn.answered for turn in self.hostile)
        restarts = sum(turn.restarts for turn in self.hostile)
        found = [
            Verdict(f"{self.target}: good requests without a right answer", missing, 0, above=False),
            Verdict(f"{self.target}: processes that ended", restarts, 0, above=False),
            Verdict(
                f"{self.target}: memory above that without", self.more_mib, MEMORY_GOAL_MIB, above=False,
                unit=" MiB",
            ),
        ]  # fmt: skip
        if self.target == "files":
            ran = sum(turn.ran for turn in self.hostile)
            found.append(Verdict(f"{self.target}: turns in which a file ran code", ran, 0, above=False))
        if self.p99_held:
            name = f"{self.target}: p99 of good requests, with / without"
            found.append(Verdict(name, self.p99_ratio, P99_GOAL, above=False))
        return found


def percentiles(turns: Sequence[Turn]) -> dict[str, float]:
    """Return the latencies of the good requests of all turns together, in ms."""
    values = np.concatenate([np.asarray(turn.latencies_ms) for turn in turns])
    p50, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99, "max": float(values.max())}
