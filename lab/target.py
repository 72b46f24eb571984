"""What is loaded: a job that is started on this machine, or one that runs elsewhere."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from lab.cloud import Cloud, opened
from lab.metrics_flags import NO_METRICS, MetricsFlags
from loadtest.display import Display
from loadtest.driver.system import System
from loadtest.interrupt import Stop
from loadtest.metrics.gpu_sources import gpu_sources
from loadtest.options import RunOptions
from loadtest.terminal import say
from local.job_flags import JobFlags
from local.job_note import JobNote, NotedDisplay
from local.processes import running
from local.topics import Topics

# Seconds that are cut from the start of a run at least (measured on synthetic queues).
LOCAL_WARM_UP_S = 10.0
CLOUD_WARM_UP_S = 60.0


@dataclass(frozen=True)
class Target:
    """A job that takes requests.

    Attributes:
        options: Of each run, but for its schedule and folder.
        system: For its raw log.
        warm_up_s: Cut from the start of each run at least.
        note: What a waiting user is told of a job that was started here; None of one that runs elsewhere.
        job_log: Its log; None elsewhere.
        cloud: What Cloud Monitoring tells of it; None where nothing is watched there.
    """

    options: RunOptions
    system: System
    warm_up_s: float
    note: JobNote | None = None
    job_log: Path | None = None
    cloud: Cloud | None = None

    def noted(self, display: Display) -> Display:
        """Return a display that shows the job's note as well."""
        return display if self.note is None else NotedDisplay(display, self.note)


@contextmanager
def started(
    options: RunOptions,
    flags: JobFlags | None,
    folder: Path,
    stop: Stop,
    console: Console,
    metrics: MetricsFlags = NO_METRICS,
) -> Iterator[Target]:
    """Start the job with broker and container, if it is to run here; yield it, and stop it at the end.

    Where Cloud Monitoring is asked, all workers and replicas are up by then, as far as it tells.

    Args:
        options: Of each run. Topics and subscriptions are those of a job that runs elsewhere.
        flags: Of the job that is to run here; None for one that runs elsewhere.
        folder: For the logs of what is started.
        stop: Ended when a process ends by itself.
        console: Told what is waited for.
        metrics: What is sampled beside the messages and the processes.

    Raises:
        ChildError: A process did not start, or ended by itself.
        PubsubError, GoogleAPICallError: The broker cannot be used.
        RunError: Cloud Monitoring is to be asked and there are no credentials, or workers are missing.
    """
    sources = partial(gpu_sources, metrics.dcgm_exporter, expected=metrics.gpu_expected)
    with opened(metrics.watched, stop) as cloud:
        if cloud is not None:
            cloud.wait_until_up(metrics.workers_timeout_s, stop, partial(say, console))
        if flags is None:
            system = System({"kind": "job"}, sources=sources)
            yield Target(options, system, CLOUD_WARM_UP_S, cloud=cloud)
            return
        topics = Topics.fresh(secrets.token_hex(4))
        with running(topics, flags, folder, stop, console) as processes:
            system = System({"kind": "local job", "flags": flags.text}, processes.pids, sources)
            yield Target(
                topics.in_options(options), system, LOCAL_WARM_UP_S, processes.note, processes.job_log, cloud
            )
            processes.stop()
            if processes.failure:
                raise processes.failure
