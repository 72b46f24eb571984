"""A search for the highest rate that meets the objectives: its probes, made one after the other."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from rich.console import Console

from lab import words
from lab.found import HOLD, Found, Probes
from lab.metrics_flags import NO_METRICS, MetricsFlags
from lab.probing import (
    Probed,
    ProbeError,
    ProbeInterruptedError,
    make_probe,
    observe,
    probe_folder,
    tightest_latency,
    with_cloud_metrics,
)
from lab.target import Target, started
from loadtest.display import Display, progress_display
from loadtest.driver.errors import RunError
from loadtest.interrupt import Stop
from loadtest.options import RunOptions
from loadtest.search.probes import Probe
from loadtest.search.search_file import SEARCH, write
from loadtest.search.tiers import TiersSearch
from loadtest.terminal import say
from local.children import ChildError
from local.job_flags import JobFlags

# Tries of a probe that the driver could not keep the schedule of.
_TRIES = 2


def find(
    search: TiersSearch, target: Target, out: Path, hold_s: float, stop: Stop, console: Console | None
) -> Found:
    """Make the probes that a search asks for, and write its file after each.

    Args:
        search: Begun or not.
        target: What is loaded.
        out: Gets search.json, and a folder for each probe.
        hold_s: Seconds to sustain the first tier's answer for, afterwards; 0: not at all.
        stop: Once set, the search ends, and can be resumed.
        console: Told what is done, and why; None: nobody.

    Raises:
        RunError: A run could not begin.
    """
    found = Found(search, Probes(search, out))
    tightest = tightest_latency(search.tiers)
    write(out / SEARCH, search)
    try:
        while (probe := search.next()) is not None:
            number = len(search.history) + 1
            spent = sum(each.seconds for each, _ in search.history)
            tell(console, words.announced(number, probe, target.warm_up_s, spent, search.settings.budget_s))
            folder = probe_folder(out, number)
            probed = _valid_probe(target, probe, tightest, folder, stop, console)
            if probed is None:
                search.unreachable(probe)
                write(out / SEARCH, search)
                continue
            observations = observe(probe, probed.analysis, search.tiers)
            search.observe(probe, observations)
            found.probed.made[number] = probed
            write(out / SEARCH, search)
            for tier, observation in zip(search.tiers, observations, strict=True):
                tell(console, f"  {tier}: {words.outcome(observation)}")
        claim = search.boundaries()[0].claim
        if hold_s and claim is not None:
            tell(console, f"holding {claim:,.6g}/s for {hold_s:g} s")
            probe = Probe(claim, hold_s, search.settings.seed + len(search.history), "confirm")
            found.held = _valid_probe(target, probe, tightest, out / HOLD, stop, console)
            if found.held is None:
                found.ended = f"the driver could not hold {claim:,.6g}/s"
    except (ProbeError, ProbeInterruptedError) as error:
        found.ended = str(error)
    return found


def add_cloud_metrics(found: Found, target: Target, stop: Stop, console: Console | None) -> None:
    """Add what Cloud Monitoring tells of each run to it, once the last one has ended.

    Args:
        found: Its runs are replaced.
        target: What was loaded.
        stop: Once set, what there is by then has to do.
        console: Told what is waited for, and what is missing; None: nobody.
    """
    if target.cloud is None:
        return
    told: set[str] = set()

    def once(text: str) -> None:
        # What is missing is mostly so in all runs, and for one reason.
        if text not in told:
            told.add(text)
            tell(console, text)

    once("asking Cloud Monitoring for the metrics of each run")
    for number, probed in found.probed.made.items():
        found.probed.made[number] = with_cloud_metrics(target, probed, stop, once)
    if found.held is not None:
        found.held = with_cloud_metrics(target, found.held, stop, once)


def search_job(
    options: RunOptions,
    flags: JobFlags | None,
    search: TiersSearch,
    out: Path,
    stop: Stop,
    console: Console | None,
    metrics: MetricsFlags = NO_METRICS,
) -> Found:
    """Start the job, search, and stop it; a job that does not start, or ends by itself, ends the search.

    Args:
        options: Of each run.
        flags: Of the job; None for one that runs elsewhere.
        search: Begun or not.
        out: Gets the logs of what is started, and what `find` writes.
        stop: Once set, the search ends; a process that ends by itself sets it, too.
        console: Told what is done, and why; None: nobody.
        metrics: What is sampled beside the messages and the processes.

    Raises:
        PubsubError, GoogleAPICallError: The broker cannot be used.
    """
    found = Found(search, Probes(search, out))
    told = Console(stderr=True, quiet=True) if console is None else console
    try:
        with started(options, flags, out, stop, told, metrics) as target:
            found = find(search, target, out, 0.0, stop, console)
            add_cloud_metrics(found, target, stop, console)
    except (ChildError, RunError) as error:
        # The first line says what ended, the last one what that had to say.
        lines = str(error).splitlines()
        found.ended = " ".join(dict.fromkeys((lines[0], lines[-1])))
    return found


def _valid_probe(
    target: Target, probe: Probe, tightest_s: float | None, folder: Path, stop: Stop, console: Console | None
) -> Probed | None:
    """Return a probe whose driver kept its schedule; None where it did not, twice."""
    for _ in range(_TRIES):
        shown: AbstractContextManager[Display] = (
            nullcontext(Display()) if console is None else progress_display(console)
        )
        with shown as display:
            probed = make_probe(target, probe, tightest_s, folder, display, stop)
        if probed.analysis.validity.valid:
            return probed
        tell(console, f"  INVALID: {'; '.join(probed.analysis.validity.reasons)}")
    return None


def tell(console: Console | None, text: str) -> None:
    """Print a sentence of what is done, if somebody is told."""
    if console is not None:
        say(console, text)
