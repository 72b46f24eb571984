"""Flags that name what is sampled beside the messages: a cloud job, an endpoint, GPUs."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from loadtest.metrics.cloud_metrics import Watched, of_endpoint, of_input_subscription, of_job
from loadtest.options import resource_path
from local.job_flags import JobFlags
from pipeline.options.address import parse_endpoint, parse_url
from pipeline.options.google_api import MONITORING, MONITORING_OVERRIDE, api_url

WORKERS_TIMEOUT_S = 600.0

_HELPS: Mapping[str, str] = {
    "job": "Dataflow job, id or name, whose metrics Cloud Monitoring is asked for",
    "region": "of --job, where several jobs have its name",
    "input_subscription": "subscription that the job reads, whose backlog is the job's",
    "endpoint": "Vertex AI endpoint that the job calls, id or full name, whose metrics are asked for",
    "workers_timeout": "seconds to wait for all workers of --job and replicas of --endpoint to be up before "
    f"the first run (default: {WORKERS_TIMEOUT_S:g}; 0: not at all)",
    "dcgm_exporter": "URL of a dcgm-exporter, such as http://HOST:9400/metrics, in the place of NVML",
}
_NVML = "say why NVML tells of no GPU; without it, a machine without a GPU is passed over"


@dataclass(frozen=True)
class MetricsFlags:
    """What is sampled beside the messages and the processes of this machine.

    Attributes:
        watched: What Cloud Monitoring is asked for.
        workers_timeout_s: How long to wait for workers and replicas at most.
        dcgm_exporter: URL; empty for NVML.
        gpu_expected: Whether it matters why there is no GPU.
    """

    watched: tuple[Watched, ...]
    workers_timeout_s: float
    dcgm_exporter: str
    gpu_expected: bool


NO_METRICS = MetricsFlags((), 0.0, "", gpu_expected=False)


def add_metrics_flags(parser: argparse.ArgumentParser) -> None:
    """Add them to a parser; all values are text."""
    for name, told in _HELPS.items():
        parser.add_argument(f"--{name}", metavar=name.upper(), help=told)
    parser.add_argument("--nvml", action="store_true", help=_NVML)


def parse_metrics_flags(
    given: argparse.Namespace, project: str, flags: JobFlags | None, problems: list[str]
) -> MetricsFlags:
    """Return what the flags ask for.

    Args:
        given: The command line.
        project: Of what is given by its id.
        flags: Of the job that is to run here; None for one that runs elsewhere.
        problems: Gets a line for each thing that is wrong.
    """
    watched: list[Watched] = []

    def watch(name: str, of: Callable[[], list[Watched]]) -> None:
        try:
            watched.extend(of())
        except ValueError as error:
            problems.append(f"--{name}: {error}")

    here = flags is not None
    for name in ("job", "region", "input_subscription"):
        if here and getattr(given, name):
            problems.append(f"--{name} is of a job that runs elsewhere: give --input_topic, too")
    if given.region and not given.job:
        problems.append("--region is of --job, which is missing")
    if given.job and not here:
        watched += of_job(project, given.job, given.region or "")
    if given.input_subscription and not here:
        subscription = resource_path(project, "subscriptions", given.input_subscription)
        watch("input_subscription", lambda: of_input_subscription(subscription))
    if given.endpoint:
        if here and "/" not in given.endpoint:
            problems.append(
                f"--endpoint={given.endpoint}: beside a job that runs here it takes the full name, "
                "projects/PROJECT/locations/REGION/endpoints/ID"
            )
        else:
            watch("endpoint", lambda: of_endpoint(project, parse_endpoint(given.endpoint)))
    if watched:
        try:
            api_url(MONITORING_OVERRIDE, MONITORING)
        except ValueError as error:
            problems.append(str(error))
    if given.dcgm_exporter:
        try:
            parse_url(given.dcgm_exporter)
        except ValueError as error:
            problems.append(f"--dcgm_exporter: {error}")
    return MetricsFlags(
        watched=tuple(watched),
        workers_timeout_s=_timeout(given.workers_timeout, problems),
        dcgm_exporter=given.dcgm_exporter or "",
        gpu_expected=given.nvml or (flags is not None and flags.asks_for_gpu),
    )


def _timeout(text: str | None, problems: list[str]) -> float:
    try:
        seconds = WORKERS_TIMEOUT_S if text is None else float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        problems.append(f"--workers_timeout={text} must be a number of at least 0")
        return 0.0
    return seconds
