"""What a search that was made here came to, for comparing it with others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from lab.probing import probe_folder, read_probe
from lab.words import by_rate
from loadtest.analysis.analyse import Analysis
from loadtest.search.outcome import Outcome
from loadtest.search.tiers import TiersSearch

_JOB_CPU = "job/cpu_s"


def outcome_of(search: TiersSearch, out: Path, flags: Mapping[str, str], ended: str) -> Outcome:
    """Return what a search of a local job came to, for its first tier.

    The figures beside the rate are those of the latest probe at it, which is the one that confirmed it.

    Args:
        search: Ended or not.
        out: Its folder, with the raw logs of its probes.
        flags: That set this job apart from those it is compared with.
        ended: Why it ended early; empty where it did not.

    Raises:
        RawLogError: The raw log of the confirming probe is gone.
    """
    boundary = search.boundaries()[0]
    if boundary.claim is None:
        return Outcome(flags, out.name, ended, boundary)
    number = by_rate(search.history)[boundary.claim]
    analysis = read_probe(probe_folder(out, number)).analysis
    p99 = analysis.corrected.figures["p99"]
    interval = None
    if p99.low is not None and p99.high is not None and math.isfinite(p99.high):
        interval = (p99.low, p99.high)
    return Outcome(
        flags,
        out.name,
        ended,
        boundary,
        p99.value,
        interval,
        _cpu_us(analysis),
        analysis.batches.mean if analysis.batches else None,
    )


def _cpu_us(analysis: Analysis) -> float | None:
    """Return the job's processor time over the window for each answer in it, microseconds."""
    cores = next((each.mean for each in analysis.resources if each.name == _JOB_CPU), None)
    answered = analysis.rates["answered"].value
    return None if cores is None or not answered else 1e6 * cores / answered
