"""Broker, endpoint container and job of a local run: started in order, stopped in reverse."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from google.api_core.exceptions import DeadlineExceeded, ServiceUnavailable
from rich.console import Console

from loadtest.interrupt import Stop
from loadtest.terminal import say
from local import children
from local.children import Child, ChildError, Job
from local.container import Container
from local.job_flags import JobFlags
from local.job_note import JobNote
from local.topics import Topics, nothing_answers
from local.triton.container import TritonContainer
from pipeline.pubsub.emulator import VARIABLE


@dataclass
class Processes:
    """What runs.

    Attributes:
        job: The job.
        job_log: Its log.
        note: What a waiting user is told of it.
        broker: The embedded broker; None where PUBSUB_EMULATOR_HOST names another.
        container: The endpoint container, or Triton in its place; None where none is needed.
        container_log: Its log.
    """

    job: Job
    job_log: Path
    note: JobNote
    broker: Child | None
    container: Container | TritonContainer | None
    container_log: Path

    @property
    def failure(self) -> ChildError | None:
        """How the first of them ended by itself; without the broker or the container the job fails, too."""
        named = (self.broker, self.container, self.job)
        return next((each.failure for each in named if each and each.failure), None)

    def pids(self) -> dict[str, int]:
        """Return the process ids of those that run here, by name."""
        named = {"job": self.job, "broker": self.broker, "container": self.container}
        return {name: each.pid for name, each in named.items() if each}

    def stop(self) -> list[str]:
        """Stop job and container; return a line for each that ends uncleanly, if none has failed before."""
        job_code = self.job.stop()
        container_code = self.container.stop() if self.container else 0
        if self.failure:
            return []
        ended = (("job", job_code, self.job_log), ("endpoint container", container_code, self.container_log))
        return [f"the {name} ended with exit code {code}; see {log}" for name, code, log in ended if code]


@contextmanager
def running(topics: Topics, flags: JobFlags, out: Path, stop: Stop, console: Console) -> Iterator[Processes]:
    """Start everything and yield it; stop at the end what has not been stopped.

    Args:
        topics: Made on the broker.
        flags: Of the job.
        out: Folder for the logs.
        stop: Ended when a process ends by itself.
        console: Told what is waited for.

    Raises:
        ChildError: A process did not start.
        RunError: `stop` was set meanwhile.
        PubsubError, GoogleAPICallError: The broker cannot be used.
    """
    with ExitStack() as started:
        broker = None
        if not os.environ.get(VARIABLE):
            broker, os.environ[VARIABLE] = children.start_broker(out / "broker.log", on_failure=stop.end)
            started.callback(os.environ.pop, VARIABLE)
            started.callback(broker.stop)
        _create(topics)
        container: Container | TritonContainer | None = None
        endpoint_url = None
        container_log = out / ("triton.log" if flags.asks_for_triton else "serving.log")
        if flags.needs_container:
            if flags.asks_for_triton:
                repository = out / "triton"
                container = TritonContainer(
                    *flags.for_triton(), repository, container_log, on_failure=stop.end
                )
            else:
                container = Container(*flags.for_container(), container_log, on_failure=stop.end)
            started.callback(container.stop)
            say(console, "waiting for the endpoint container to be healthy")
            endpoint_url = container.predict_url(stop)
        log = out / "pipeline.log"
        job = Job([*topics.job_arguments(), *flags.for_job(endpoint_url)], log, on_failure=stop.end)
        started.callback(job.stop)
        yield Processes(job, log, JobNote(job, log), broker, container, container_log)


def _create(topics: Topics) -> None:
    try:
        topics.create()
    except (ServiceUnavailable, DeadlineExceeded) as error:
        raise nothing_answers(error) from error
