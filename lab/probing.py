"""One probe of a search: a run at one rate, and what it shows of each tier of objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lab.target import Target
from loadtest.analysis.analyse import Analysis, analyse
from loadtest.analysis.objective_figures import objective_figures
from loadtest.analysis.settings import Settings, keep, kept
from loadtest.display import Display
from loadtest.driver.run import run
from loadtest.interrupt import Stop
from loadtest.raw_log import RawLog
from loadtest.run_folder import RESULTS
from loadtest.search.objectives import LATENCIES, Tier
from loadtest.search.probes import Observation, Probe

# Of arrivals: what independent users make, and what the search was measured on.
SCHEDULE = "poisson"


class ProbeError(Exception):
    """A probe says nothing of the objectives; the message says why, and what to do."""


class ProbeInterruptedError(Exception):
    """A probe was ended early; the message says by what."""


@dataclass(frozen=True)
class Probed:
    """A run that was made for a search.

    Attributes:
        folder: Its raw log.
        log: The same, read.
        analysis: Of it.
    """

    folder: Path
    log: RawLog
    analysis: Analysis


def probe_folder(search: Path, number: int) -> Path:
    """Return the folder of a search's probe; the first has number 1."""
    return search / "probes" / f"{number:02d}"


def tightest_latency(tiers: Sequence[Tier]) -> float | None:
    """Return the shortest latency, seconds, among all objectives; None without one."""
    limits = [one.limit for tier in tiers for one in tier.objectives if one.metric in LATENCIES]
    return min(limits, default=None)


def make_probe(
    target: Target, probe: Probe, tightest_s: float | None, folder: Path, display: Display, stop: Stop
) -> Probed:
    """Load the target as a probe asks for, and return what was measured.

    The bodies of the results are not kept: those of a whole search take gigabytes, and the raw log has the
    times of every one.

    Raises:
        ProbeInterruptedError: The run was ended early.
        RunError: It could not begin.
    """
    options = replace(
        target.options,
        schedule=SCHEDULE,
        rate=probe.rate,
        duration=probe.seconds,
        warmup=target.warm_up_s,
        seed=probe.seed,
        out=folder,
    )
    run(options, system=target.system, display=target.noted(display), stop=stop)
    if stop.is_set():
        raise ProbeInterruptedError(stop.reason)
    (folder / RESULTS).unlink(missing_ok=True)
    keep(Settings(tightest_objective_s=tightest_s, warm_up_floor_s=target.warm_up_s), folder)
    probed = read_probe(folder)
    if probed.log.facts.partial:
        raise ProbeInterruptedError(probed.log.facts.partial)
    return probed


def read_probe(folder: Path) -> Probed:
    """Return a probe that was made, with its figures.

    Raises:
        RawLogError, SettingsError: The folder holds none.
    """
    log = RawLog.read(folder)
    return Probed(folder, log, analyse(log, kept(folder)))


def with_cloud_metrics(target: Target, probed: Probed, stop: Stop, tell: Callable[[str], None]) -> Probed:
    """Return a probe with what Cloud Monitoring tells of it, where that is asked; its raw log is the same.

    It is for after the last probe: by then, what there is of the others is visible without a wait.

    Args:
        target: Of the probe.
        probed: The probe.
        stop: Once set, what there is by then has to do.
        tell: Gets a line before each wait, and one for each reason that something is missing.
    """
    if target.cloud is None:
        return probed
    log = target.cloud.add_to(probed.folder, stop, tell)
    return Probed(probed.folder, log, analyse(log, probed.analysis.settings))


def observe(probe: Probe, analysis: Analysis, tiers: Sequence[Tier]) -> list[Observation]:
    """Return what a run shows of each tier.

    Raises:
        ProbeError: An objective cannot be held against it.
    """
    figures = objective_figures(analysis)
    n = analysis.rates["offered"].n
    longer = "raise --probe_s"
    if analysis.stability is None or n is None:
        raise ProbeError(
            f"{probe.seconds:g} s at {probe.rate:.6g}/s are too few messages for a verdict: {longer}"
        )
    for tier in tiers:
        for one in tier.objectives:
            if one.metric not in figures:
                raise ProbeError(
                    f"{one}: {n:,} messages, {probe.seconds:g} s at {probe.rate:.6g}/s, are too few for "
                    f"{one.metric}: {longer}"
                )
    return [tier.observe(probe.rate, figures, n, analysis.stability) for tier in tiers]
