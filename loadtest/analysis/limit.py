"""What limits a run, where its figures may be used."""

from __future__ import annotations

from loadtest.analysis.settings import Settings
from loadtest.bottleneck.diagnose import diagnose
from loadtest.bottleneck.diagnosis import Diagnosis
from loadtest.bottleneck.reading import LOCAL_JOB, evidence
from loadtest.bottleneck.thresholds import QUICK_S
from loadtest.raw_log import RawLog

# `RunFacts.system["kind"]`: the rules are about jobs, and have nothing to say of an endpoint loaded straight.
_JOBS = (LOCAL_JOB, "job")


def limit_of(
    log: RawLog, window: tuple[float, float], settings: Settings, *, valid: bool
) -> Diagnosis | None:
    """Return what limits a run.

    Args:
        log: Of the run.
        window: Start and end, seconds since the schedule's zero; long enough for a slope.
        settings: The tightest objective is what the mean latency is held against.
        valid: Whether the driver kept its schedule.

    Returns:
        None for what is no job, and where the job's flags in the log are none that it takes. Of a run that
        is not valid the driver alone can be the limit that is named: else None, too.
    """
    if log.facts.system.get("kind") not in _JOBS:
        return None
    tightest = settings.tightest_objective_s
    try:
        found = diagnose(evidence(log, *window, QUICK_S if tightest is None else tightest))
    except ValueError:
        return None
    return found if valid or found.limit == "driver" else None
