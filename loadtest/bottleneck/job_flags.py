"""The limits that a job's flags set, as far as the raw log knows the flags."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from pipeline.options.job_options import ENDPOINT, FLAGS, SINGLE
from pipeline.options.spelling import with_underscores

# Of Dataflow's options.
_MOST_WORKERS = "max_num_workers"
_READ = (
    "inference_mode", "max_batch_size", "endpoint_batch_size", "endpoint_max_concurrency", "worker_processes",
)  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """What the flags allow.

    Attributes:
        endpoint: Whether the model is behind an endpoint.
        batch: Most requests in a call of the model or of the endpoint.
        concurrency: Most calls of the endpoint in flight, of each process.
        single_process: Whether a worker has one process for all of its processors.
        most_workers: Of the job; None where the flags do not say.
    """

    endpoint: bool
    batch: int
    concurrency: int
    single_process: bool
    most_workers: int | None


def limits(text: str) -> Limits:
    """Return what a job's flags allow, with the job's own defaults.

    Args:
        text: The flags as a shell would read them: --name=value or --name value; the last of several counts.

    Raises:
        ValueError: A value is none that the job would take.
    """
    words = with_underscores(shlex.split(text), [*(flag.name for flag in FLAGS), _MOST_WORKERS])
    given: dict[str, str] = {}
    for word, after in zip(words, [*words[1:], ""], strict=False):
        name, equals, value = word.removeprefix("--").partition("=")
        if word.startswith("--"):
            given[name] = value if equals else after
    options = {
        flag.name: flag.parse(given.get(flag.name) or flag.default or "")
        for flag in FLAGS
        if flag.name in _READ
    }
    endpoint = options["inference_mode"] == ENDPOINT
    most = given.get(_MOST_WORKERS)
    return Limits(
        endpoint=endpoint,
        batch=options["endpoint_batch_size" if endpoint else "max_batch_size"],
        concurrency=options["endpoint_max_concurrency"],
        single_process=options["worker_processes"] == SINGLE,
        most_workers=int(most) if most else None,
    )
