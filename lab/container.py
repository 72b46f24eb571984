"""The endpoint container on this machine: its flags, its start, its end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.interrupt import Stop
from local.container import Container
from local.job_flags import JobFlags
from local.run import EXAMPLE
from local.topics import Topics
from pipeline.options.job_options import ENDPOINT
from serving.flags import OptionsError
from serving.options import parse

LOG = "serving.log"
_STAND_IN = "placeholder"  # of topics, without which the job would refuse its flags


@dataclass(frozen=True)
class Served:
    """A container that runs here.

    Attributes:
        url: Of its predictions.
        pid: Of its first process, the parent of the others.
        healthy_after_s: Seconds from the start of the process until it was healthy.
    """

    url: str
    pid: int
    healthy_after_s: float


def container_flags(of_job: Sequence[str], problems: list[str]) -> JobFlags:
    """Return the flags after `--`, for a job in endpoint mode; what is wrong with them goes to `problems`.

    The container takes those that it shares with the job, such as --model_path and --max_batch_size.
    """
    flags = JobFlags(of_job, default_model=str(EXAMPLE / "model.pt2"))
    problems += flags.problems(Topics.fresh(_STAND_IN).job_arguments(), (ENDPOINT,))
    in_mode = flags.in_mode(ENDPOINT)
    if flags.asks_for_triton:
        problems.append("--endpoint_protocol: the container that is started here does not speak triton")
    if not in_mode.needs_container:
        problems.append("--endpoint, --endpoint_url: the container is started here: leave them out after --")
    return in_mode


def most_instances(flags: JobFlags, problems: list[str]) -> int:
    """Return how many instances a call to the container may have.

    Args:
        flags: From `container_flags`.
        problems: Gets what the container would refuse of them.
    """
    storage, arguments = flags.for_container()
    try:
        return parse(arguments, {"AIP_STORAGE_URI": storage}).max_batch_size
    except OptionsError as error:
        problems += str(error).splitlines()
        return 1


@contextmanager
def container_here(
    flags: JobFlags, folder: Path, stop: Stop, say: Callable[[str], object]
) -> Iterator[Served]:
    """Start the container, yield it once it is healthy, and stop it at the end.

    Args:
        flags: From `container_flags`, without problems.
        folder: For its log.
        stop: Ended when the container ends by itself.
        say: Told what is waited for.

    Raises:
        ChildError: It did not start, was not healthy in time, or ended by itself.
        RunError: `stop` was set while it started.
    """
    say("waiting for the endpoint container to be healthy")
    started = time.monotonic()
    container = Container(*flags.for_container(), folder / LOG, on_failure=stop.end)
    try:
        url = container.predict_url(stop)
        yield Served(url, container.pid, time.monotonic() - started)
    finally:
        container.stop()
    if container.failure:
        raise container.failure
