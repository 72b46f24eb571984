from __future__ import annotations

from dataclasses import replace

from planner.autoscalers.dataflow import DataflowSettings
from planner.autoscalers.vertex import VertexSettings
from planner.capacity import Capacity
from planner.fluid import Job
from planner.mistakes import mistakes
from tests.planner.made_jobs import endpoint_job, fixed_job, worker

GOOD = Capacity.by_hand(100.0, 1.0, 0.02)


def scaled(cpu: float = 0.9, max_workers: int = 5, parallelism_hint: int | None = None) -> Job:
    settings = DataflowSettings(max_workers=max_workers, parallelism_hint=parallelism_hint)
    return Job(worker(cpu=cpu), settings)


def test_a_good_job_has_none() -> None:
    assert mistakes(scaled()) == []
    assert mistakes(endpoint_job(scaled(), GOOD, VertexSettings(max_replicas=5))) == []


def test_a_single_process_container() -> None:
    job = endpoint_job(scaled(), Capacity.by_hand(100.0, 0.25, 0.02), VertexSettings(max_replicas=5))
    (line,) = mistakes(job)
    assert "a replica at its capacity reaches cpu-usage 25 % of 60 %: the endpoint never scales" in line
    assert "--workers=N" in line
    # With one number of replicas there is nothing to scale.
    fixed = endpoint_job(scaled(), Capacity.by_hand(100.0, 0.25, 0.02), VertexSettings(5, 5))
    assert mistakes(fixed) == []
    # A GPU that is busy scales it, whatever the CPU does.
    on_gpu = Capacity.by_hand(100.0, 0.25, 0.02, gpu=0.95)
    assert mistakes(endpoint_job(scaled(), on_gpu, VertexSettings(max_replicas=5, gpu=True))) == []


def test_idle_cpu_and_no_parallelism_hint() -> None:
    (line,) = mistakes(scaled(cpu=0.08))
    assert "8% of its CPU busy" in line
    assert "--max_active_bundles_per_worker (about 12)" in line
    assert mistakes(scaled(cpu=0.08, parallelism_hint=12)) == []
    assert mistakes(replace(fixed_job(3), worker=worker(cpu=0.08))) == []


def test_more_workers_than_replicas_carry() -> None:
    (line,) = mistakes(endpoint_job(scaled(max_workers=20), GOOD, VertexSettings(max_replicas=4)))
    assert "20 workers push 2,000 messages/s, 4 replicas carry 400" in line
    assert line.endswith("Take --max-replicas=20 or --max-workers=4")
