"""The cache audit: whether answers to one body over and over come sooner than answers to unique ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from loadtest.analysis.analyse import Analysis
from loadtest.figures import figure, milliseconds
from loadtest.records import Records
from loadtest.statistics.percentiles import STUDENT_T

# Of the median, by which repeated bodies must be ahead: without any cache, two runs of the bundled job, one
# after the other, had medians of 3.32 and 3.77 ms (200 messages a second, 45 s each, an idle machine).
_LEAST_SHARE = 0.2

REPEATED, UNIQUE = "repeated", "unique"


@dataclass(frozen=True)
class Audit:
    """What two runs of one schedule say of a cache.

    Attributes:
        faster: Whether answers to repeated bodies come sooner by more than chance, and by more than two runs
            of one system may differ; None where it cannot be told.
        sentence: In words.
        repeated_ms: Median latency of repeated bodies; None where it is not known.
        unique_ms: Of unique bodies.
        sooner_ms: By how much those to repeated bodies come sooner.
        low_ms: Lower end of its 95 % interval.
        high_ms: Upper end of it.
    """

    faster: bool | None
    sentence: str
    repeated_ms: float | None = None
    unique_ms: float | None = None
    sooner_ms: float | None = None
    low_ms: float | None = None
    high_ms: float | None = None


def payloads(unique: Records) -> dict[str, Records]:
    """Return the records of both runs: one of the unique bodies over and over, and all of them.

    The repeated ones go first: what the job still has to warm up slows them, and feigns no cache.
    """
    return {REPEATED: Records(unique.bodies[:1], unique.ids[:1], unique.labels[:1]), UNIQUE: unique}


def audit(repeated: Analysis, unique: Analysis) -> Audit:
    """Return whether something answers from a cache.

    The medians are compared, each with its standard error by batch means; the interval of their difference is
    that of Student's t with the 19 degrees of freedom of one of them, which is the wider of what it may be.
    """
    for name, analysis in ((REPEATED, repeated), (UNIQUE, unique)):
        if analysis.verdict.outcome in ("INVALID", "no answer", "not sustained"):
            return _unknown(f"of the run with {name} bodies the verdict is {analysis.verdict.outcome}")
    medians = repeated.corrected.figures["p50"], unique.corrected.figures["p50"]
    values = [each.value for each in medians]
    errors = [each.standard_error for each in medians]
    if values[0] is None or values[1] is None or errors[0] is None or errors[1] is None:
        return _unknown("the runs are too short")
    sooner = values[1] - values[0]
    half = STUDENT_T * math.hypot(errors[0], errors[1])
    low, high = sooner - half, sooner + half
    told = (
        f"{milliseconds(abs(sooner))} {'sooner' if sooner >= 0 else 'later'} at the median than to unique "
        f"ones ({milliseconds(values[0])} against {milliseconds(values[1])}; sooner by {figure(low)} to "
        f"{figure(high)} ms with 95 % confidence)"
    )
    faster: bool | None = low > 0 and sooner >= _LEAST_SHARE * values[1]
    if faster:
        sentence = (
            f"Something answers from a cache: answers to one body over and over come {told}. Load it with "
            "unique bodies, or the figures are those of the cache."
        )
    elif low > 0:
        faster = None
        sentence = (
            f"Whether something answers from a cache cannot be told: answers to one body over and over come "
            f"{told}, but two runs may differ by as much without any. Repeat it, for longer."
        )
    else:
        sentence = f"No cache shows: answers to one body over and over come {told}."
    return Audit(faster, sentence, values[0], values[1], sooner, low, high)


def _unknown(why: str) -> Audit:
    return Audit(None, f"Whether something answers from a cache cannot be told: {why}.")
