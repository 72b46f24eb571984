"""One search of one job, with a broker of its own."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from benchmarks.harness import cli
from benchmarks.harness.jobs import our_job, pubsub, running_job, stock_job
from benchmarks.harness.models import MODEL
from lab.found import Found
from lab.search import find
from lab.target import LOCAL_WARM_UP_S, Target
from loadtest.driver.system import System
from loadtest.interrupt import Stop
from loadtest.raw_log import RawLog
from loadtest.records import read_records
from loadtest.search.answer import Boundary, Settings
from loadtest.search.objectives import Tier
from loadtest.search.tiers import TiersSearch
from local.run import EXAMPLE
from local.topics import Topics

SIDES: Mapping[str, Callable[[Topics, Path], list[str]]] = {
    "stock Beam": stock_job,
    "ours": lambda topics, folder: our_job(topics, f"--model_path={MODEL}"),
}
ORDER = ("ours", "stock Beam", "ours")

# An overloaded stock job would take minutes to work off its backlog, and the probe has failed by then.
DRAIN_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class How:
    """What all searches have in common.

    Attributes:
        tier: Objectives.
        settings: Of each search.
        stop: Ends them.
    """

    tier: Tier
    settings: Settings
    stop: Stop


@dataclass(frozen=True)
class Searched:
    """What a search came to.

    Attributes:
        side: Whose job.
        boundary: Of the search.
        ended: Why it ended early; empty where it did not.
        p50_ms: Median latency at the answer; None without one.
        p99_ms: Its 99th percentile.
        cpu_us: Processor time of the job for a message, microseconds.
    """

    side: str
    boundary: Boundary
    ended: str
    p50_ms: float | None
    p99_ms: float | None
    cpu_us: float | None

    @property
    def claim(self) -> float | None:
        """The confirmed rate, messages a second."""
        return self.boundary.claim


def search_side(side: str, how: How) -> Searched:
    """Search the highest rate that a side's job sustains."""
    cli.progress(f"{side}:")
    with tempfile.TemporaryDirectory(prefix="sustained-") as name, pubsub() as broker:
        folder = Path(name)
        topics = Topics.fresh(secrets.token_hex(4))
        topics.create()
        options = topics.run_options(1.0, 1.0, read_records(EXAMPLE / "records.jsonl"), folder)
        # Stock's job has no dead letters.
        options = replace(options, dead_letter_subscription="", drain_timeout=DRAIN_TIMEOUT_S)
        with running_job(SIDES[side](topics, folder), folder / "job.log") as job:
            pids = {"job": job.pid, "broker": broker.group}
            target = Target(options, System({"kind": side}, lambda: pids), LOCAL_WARM_UP_S)
            search = TiersSearch([how.tier], how.settings)
            found = find(search, target, folder, 0.0, how.stop, Console(stderr=True, highlight=False))
        return _searched(side, found)


def _searched(side: str, found: Found) -> Searched:
    (boundary,) = found.search.boundaries()
    of_claim = [
        found.probed[number]
        for number, (probe, _) in enumerate(found.search.history, start=1)
        if probe.rate == boundary.claim and number in found.probed
    ]
    if not of_claim:
        return Searched(side, boundary, found.ended, None, None, None)
    analysis = of_claim[-1].analysis
    figures = analysis.corrected.figures
    return Searched(
        side,
        boundary,
        found.ended,
        figures["p50"].value,
        figures["p99"].value,
        _cpu_us(of_claim[-1].log, *analysis.window),
    )


def _cpu_us(log: RawLog, start: float, end: float) -> float | None:
    """Return the job's processor time for a message of the window, microseconds."""
    at, seconds = log.values("job/cpu_s")
    at = at - log.facts.started
    inside = (at >= start) & (at <= end)
    if inside.sum() < 2:
        return None
    at, seconds = at[inside], seconds[inside]
    answered = log.messages.result_at - log.facts.started
    messages = int(((answered >= at[0]) & (answered < at[-1])).sum())
    return float(seconds[-1] - seconds[0]) / messages * 1e6 if messages else None
