"""What a job's log says of its endpoint at its end, kept in the raw log of the run."""

from __future__ import annotations

from pathlib import Path

from loadtest.bottleneck.job_log import with_job_log
from loadtest.raw_log import RUN, RawLog
from local.job_flags import JobFlags
from pipeline.options.job_options import ENDPOINT


def keep_endpoint_totals(folder: Path, run: str, flags: JobFlags, job_log: Path) -> None:
    """Write the raw log of a run again, with how long bundles waited for the endpoint, throttled or not.

    The job says so in its log's last line, once it has stopped; with one run of the job, that is the run's.
    A job without an endpoint has no such line, and an earlier run's raw log is left as it is.

    Args:
        folder: Of the run.
        run: Its id.
        flags: Of the job.
        job_log: Of the job, which has stopped.
    """
    if flags.inference_mode != ENDPOINT or not (folder / RUN).is_file():
        return
    log = RawLog.read(folder)
    if log.facts.run == run:
        with_job_log(log, job_log.read_text(errors="replace")).write(folder)
