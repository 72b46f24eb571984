"""What a job's log says of its endpoint at its end, as series of the raw log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from loadtest.raw_log import RawLog, Sample, Series

WAITED, THROTTLED = "job/endpoint_wait_s", "job/throttled_s"
ATTEMPTS, CONGESTED = "job/endpoint_attempts", "job/endpoint_congested"

_UNITS = {ATTEMPTS: "1", CONGESTED: "1", WAITED: "s", THROTTLED: "s"}

# As `pipeline.inference.endpoint.client` writes it; a job that was started again has written several.
_LINE = re.compile(
    r": (\d+) attempts, (\d+) of them found it full; bundles waited for it for ([0-9.]+) s, "
    r"throttled for ([0-9.]+) s$",
    re.MULTILINE,
)


def totals(text: str) -> Mapping[str, float] | None:
    """Return the sums over all lines of a log, by series; None where the job did not come to its end."""
    found = _LINE.findall(text)
    if not found:
        return None
    return {name: sum(float(line[column]) for line in found) for column, name in enumerate(_UNITS)}


def with_job_log(log: RawLog, text: str) -> RawLog:
    """Return the raw log with what the job's log says of its endpoint; one sample each, at the run's end.

    Args:
        log: Of a run.
        text: The job's log, after the job has ended.
    """
    found = totals(text)
    why = "" if found else "not available: the job's log has no last line of an endpoint"
    series = {name: Series(name, unit, "process", why) for name, unit in _UNITS.items()}
    samples = [Sample(log.facts.ended_at, name, value) for name, value in (found or {}).items()]
    return replace(log, series={**log.series, **series}, samples=(*log.samples, *samples))
