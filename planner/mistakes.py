"""Settings of the two autoscalers that cannot work, found without a simulation, each with its mend."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from launch.settings.endpoint_parsers import CPU, GPU_DUTY_CYCLE
from planner.fluid import Endpoint, Job
from planner.unknowns import UNKNOWNS


def mistakes(job: Job) -> list[str]:
    """Return a line for each setting of a job that cannot do what it is there for."""
    found = _idle_cpu(job)
    if job.endpoint:
        found += [line for check in _OF_ENDPOINTS for line in check(job, job.endpoint)]
    return found


def _idle_cpu(job: Job) -> list[str]:
    """Find workers whose CPU stays below the floor even at their capacity: a backlog adds none."""
    settings = job.autoscaler
    floor = UNKNOWNS["cpu_floor"].default
    busiest = float(job.worker.cpu.max())
    if (
        settings.parallelism_hint is not None
        or busiest > floor
        or settings.min_workers == settings.max_workers
    ):
        return []
    return [
        f"a worker at its capacity has {busiest:.0%} of its CPU busy: Dataflow adds none for a backlog below "
        f"{floor:.0%}. Give --max_active_bundles_per_worker (about {settings.bundle_threads}), or set "
        "--min-workers to what the load needs"
    ]


def _unreachable_target(job: Job, endpoint: Endpoint) -> list[str]:
    """Find a replica that stays below its target at its capacity, as one process on four cores does."""
    settings = endpoint.autoscaler
    if settings.min_replicas == settings.max_replicas:
        return []
    most = {
        CPU: 100 * float(endpoint.replica.cpu.max()),
        GPU_DUTY_CYCLE: 100 * float(endpoint.replica.gpu.max()),
    }
    reached = {metric: most[metric] for metric in settings.targets if metric in most}
    if len(reached) < len(settings.targets) or any(
        value > settings.targets[metric] for metric, value in reached.items()
    ):
        return []
    shown = ", ".join(
        f"{metric} {value:.0f} % of {settings.targets[metric]} %" for metric, value in reached.items()
    )
    return [
        f"a replica at its capacity reaches {shown}: the endpoint never scales. Run a process for each core "
        "(--serving-args='--workers=N'), or lower the target in --scaling-metric"
    ]


def _too_few_replicas(job: Job, endpoint: Endpoint) -> list[str]:
    """Find workers that push more at their most than all replicas carry at theirs."""
    pushed = job.autoscaler.max_workers * job.worker.most
    carried = endpoint.autoscaler.max_replicas * endpoint.replica.most
    if pushed <= carried:
        return []
    replicas = math.ceil(pushed / endpoint.replica.most)
    workers = max(int(carried / job.worker.most), 1)
    return [
        f"{job.autoscaler.max_workers} workers push {pushed:,.0f} messages/s, "
        f"{endpoint.autoscaler.max_replicas} replicas carry {carried:,.0f}: the rest is refused. "
        f"Take --max-replicas={replicas} or --max-workers={workers}"
    ]


_OF_ENDPOINTS: Sequence[Callable[[Job, Endpoint], list[str]]] = (_unreachable_target, _too_few_replicas)
