"""What job and endpoint each cost of a message, and which of the two limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadtest.bottleneck.diagnosis import Diagnosis
from loadtest.bottleneck.evidence import Evidence
from loadtest.bottleneck.thresholds import BUSY
from loadtest.raw_log import Floats, RawLog
from loadtest.statistics.jackknife import ratio_of_sums

JOB, CONTAINER = "job", "container"
_ENDPOINT_LIMITS = ("endpoint latency", "endpoint capacity (429)")
_NO_LIMITS = ("none", "driver")
# Seconds of samples: fewer have no interval.
_LEAST_S = 10

Limiting = Literal["endpoint", "job", "shared cores", "neither"]


@dataclass(frozen=True)
class Estimate:
    """One figure with its 95 % interval.

    Attributes:
        value: In the unit.
        unit: Such as "ms" or "1/s".
        low: Lower end; None where there are too few samples for one.
        high: Upper end.
    """

    value: float
    unit: str
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        interval = ""
        if self.low is not None and self.high is not None:
            interval = f" ({number(self.low)} to {number(self.high)})"
        return f"{number(self.value)}{'' if self.unit in ('', '1/s') else f' {self.unit}'}{interval}"


def number(value: float) -> str:
    """Return it with three significant digits, and never as a power of ten."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


@dataclass(frozen=True)
class Costs:
    """Processor time of a message, which sharing cores does not change as it does the rates.

    Attributes:
        rate: Messages a second at which it was measured.
        job: Of the job, milliseconds.
        container: Of the endpoint's container, milliseconds.
        ratio: The job's over the container's: cores of workers for each core of replicas.
    """

    rate: float
    job: Estimate
    container: Estimate
    ratio: Estimate


def costs(log: RawLog, start: float, end: float) -> Costs | None:
    """Return what each process used of a message, by the seconds of a window; None where it is not known.

    Args:
        log: Of a run of the job in endpoint mode, with the container on this machine.
        start: Of the window, seconds since the schedule's zero.
        end: Of the window.
    """
    job, container = (_used(log, name, start, end) for name in (JOB, CONTAINER))
    at = _sampled(log, start, end)
    if len(at) < _LEAST_S or len(job) != len(container) or len(job) != len(at) - 1:
        return None
    answered, _ = np.histogram(log.messages.result_at, at)
    messages = answered.astype(np.float64)
    found = [ratio_of_sums(used, messages) for used in (job, container)]
    ratio = ratio_of_sums(job, container)
    if ratio is None or found[0] is None or found[1] is None:
        return None
    of_job, of_container = (_estimate(one, "ms", 1e3) for one in found if one is not None)
    rate = float(messages.sum() / (at[-1] - at[0]))
    return Costs(rate, of_job, of_container, _estimate(ratio, "", 1.0))


def _sampled(log: RawLog, start: float, end: float) -> Floats:
    at = log.values(f"{JOB}/cpu_s")[0]
    return at[(at >= log.facts.started + start) & (at <= log.facts.started + end)]


def _used(log: RawLog, process: str, start: float, end: float) -> Floats:
    at, used = log.values(f"{process}/cpu_s")
    inside = (at >= log.facts.started + start) & (at <= log.facts.started + end)
    # A process that was started again begins at 0.
    return np.diff(used[inside]).clip(0)


def _estimate(found: tuple[float, tuple[float, float] | None], unit: str, factor: float) -> Estimate:
    value, interval = found
    low, high = (None, None) if interval is None else (factor * interval[0], factor * interval[1])
    return Estimate(factor * value, unit, low, high)


def limiting(diagnosis: Diagnosis, evidence: Evidence) -> tuple[Limiting, list[str]]:
    """Return which of the two limits, and why.

    Args:
        diagnosis: Of an overloaded run.
        evidence: Of the same.
    """
    parts = {
        "job": evidence.job_cores,
        "container": evidence.container_cores,
        "broker": evidence.broker_cores,
        "driver": evidence.driver_cores,
    }
    known = {name: cores for name, cores in parts.items() if cores is not None}
    used = sum(known.values())
    told = ", ".join(f"{name} {cores:.2f}" for name, cores in known.items())
    why = [f"cores in use: {used:.2f} of {evidence.cpus} ({told})"] if known else []
    if diagnosis.limit in _NO_LIMITS:
        return "neither", why
    # With all cores in use, whatever waits longest waits for a core, too: a stage proves nothing.
    if evidence.cpus and used >= BUSY * evidence.cpus:
        return "shared cores", why
    return ("endpoint" if diagnosis.limit in _ENDPOINT_LIMITS else "job"), why
