"""`./launch.sh status`. What cannot be read is shown as -, never as 0."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from launch.cloud.monitoring import Monitoring
from launch.cloud.running_job import RunningJob, delivery
from launch.cloud.shell import CommandError, Shell
from launch.settings.job import RunningJobSettings

# Metrics of Cloud Monitoring: https://cloud.google.com/monitoring/api/metrics_gcp_d_h#gcp-dataflow
WORKERS = "active_worker_instances"
MIN_WORKERS = "min_worker_instances_limit"
MAX_WORKERS = "max_worker_instances_limit"
BACKLOG_S = "estimated_backlog_processing_time"
LAG_S = "system_lag"
METRICS = (WORKERS, MIN_WORKERS, MAX_WORKERS, BACKLOG_S, LAG_S)


def show(settings: RunningJobSettings, shell: Shell) -> None:
    """Print a job's state, streaming mode, workers, backlog and lag.

    Metrics that cannot be read are no error: a note says why.

    Raises:
        CommandError: The job cannot be read.
    """
    running = RunningJob(settings.job, settings, shell)
    described = running.describe() or {}
    values = _metrics(settings, shell, running)
    if shell.dry_run:
        return
    changed = described.get("runtimeUpdatableParams", {})
    state = described.get("currentState", "")
    rows = (
        ("job", f"{described.get('name', running.name)}, {running.id}"),
        ("state", state.removeprefix("JOB_STATE_").lower() or "-"),
        ("delivery", delivery(described) or "-"),
        ("workers now", _whole(values.get(WORKERS))),
        ("workers min", _limit(changed, "minNumWorkers", values.get(MIN_WORKERS))),
        ("workers max", _limit(changed, "maxNumWorkers", values.get(MAX_WORKERS))),
        ("hint", str(changed.get("workerUtilizationHint", "-"))),
        ("backlog", _seconds(values.get(BACKLOG_S))),
        ("lag", _seconds(values.get(LAG_S))),
    )
    for name, value in rows:
        print(f"{name:<12} {value}", file=shell.out)


def _metrics(settings: RunningJobSettings, shell: Shell, running: RunningJob) -> Mapping[str, float | None]:
    values: dict[str, float | None] = {}
    try:
        monitoring = Monitoring(shell, settings.project)
        for metric in METRICS:
            values[metric] = monitoring.latest(metric, running.id)
    except (OSError, CommandError) as error:
        shell.note(f"metrics cannot be read: {error}")
    return values


def _limit(changed: Mapping[str, Any], name: str, metric: float | None) -> str:
    return str(changed[name]) if name in changed else _whole(metric)


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} s"
