"""Workers, replicas and jobs that tests of the planner share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from planner.autoscalers.dataflow import DataflowSettings
from planner.autoscalers.vertex import VertexSettings
from planner.capacity import Capacity
from planner.draws import Draws, draw
from planner.fluid import Endpoint, Job

# Everybody alike: no skew, no spread of starts.
EVEN: Mapping[str, float] = {"worker_skew": 0.0, "worker_start_spread": 0.0}


def even_draws(count: int = 1, **known: float) -> Draws:
    """Draw with workers that are all alike."""
    return draw(count, fixed={**EVEN, **known})


def worker(capacity: float = 100.0, cpu: float = 0.9) -> Capacity:
    """Return a worker that does all up to its capacity, with CPU in proportion."""
    return Capacity.by_hand(capacity, cpu, 0.01)


def fixed_job(workers: int, capacity: float = 100.0) -> Job:
    """Return a job whose number of workers never changes."""
    return Job(worker(capacity), DataflowSettings(min_workers=workers, max_workers=workers))


def endpoint_job(job: Job, replica: Capacity, settings: VertexSettings, *, deployed: bool = True) -> Job:
    """Return the same job with an endpoint."""
    return replace(job, endpoint=Endpoint(replica, settings, deployed))
