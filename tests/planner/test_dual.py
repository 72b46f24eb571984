from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from launch.settings.endpoint_parsers import CPU, PUBSUB_UNDELIVERED, REQUEST_COUNT
from planner.autoscalers.dataflow import DataflowSettings
from planner.autoscalers.vertex import VertexSettings
from planner.capacity import Capacity
from planner.cost.amount import Amount, exactly
from planner.cost.prices import read_prices
from planner.cost.run_cost import ReplicaShape, WorkerShape, replicas_cost, workers_cost
from planner.dual import limits_over_time, needed_replicas, needed_workers, ratio_curve, reversals
from planner.fluid import Endpoint, Job, simulate
from planner.timeline import Limit
from planner.workload import parse_workload
from tests.planner.made_jobs import endpoint_job, even_draws, worker

REPLICA = Capacity.by_hand(100.0, 1.0, 0.02)


def test_reversals_are_counted() -> None:
    wanted = np.array([[1, 1], [3, 1], [3, 2], [2, 2], [2, 2], [4, 3]])
    assert reversals(wanted).tolist() == [2, 0]
    assert reversals(np.ones((5, 2))).tolist() == [0, 0]


def test_first_the_workers_are_the_limit_and_then_the_replicas() -> None:
    """5 times the load: Dataflow adds workers, and then the replicas, just enough before, are too few."""
    job = Job(worker(), DataflowSettings(min_workers=3, max_workers=40))
    dual = endpoint_job(job, REPLICA, VertexSettings(min_replicas=4, max_replicas=30))
    timeline = simulate(parse_workload("step 200 1000 1h steps=2"), dual, even_draws(), step_s=1.0)
    periods = limits_over_time(timeline)
    assert [each.limit for each in periods][:3] == [Limit.NOBODY, Limit.WORKERS, Limit.ENDPOINT]
    assert periods[0].from_s == 0
    assert periods[0].to_s == pytest.approx(1_800, abs=5)
    assert periods[-1].limit is Limit.NOBODY
    assert periods[-1].to_s == 3_600
    assert all(one.to_s == other.from_s for one, other in pairwise(periods))


def test_a_load_that_swings_makes_the_autoscalers_turn_back() -> None:
    job = endpoint_job(
        Job(worker(), DataflowSettings(max_workers=30)), REPLICA, VertexSettings(max_replicas=30)
    )
    swinging = simulate(
        parse_workload("sine 100 1500 4h period=1h"), job, even_draws(), step_s=1.0, record_s=5.0
    )
    steady = simulate(parse_workload("constant 700 4h"), job, even_draws(), step_s=1.0, record_s=5.0)
    assert reversals(swinging["wanted_workers"])[0] >= 3
    assert reversals(swinging["wanted_replicas"])[0] >= 3
    assert reversals(steady["wanted_replicas"])[0] <= 1


def test_workers_that_a_rate_needs() -> None:
    settings = DataflowSettings(max_workers=50)
    # 90 % CPU at 100/s, aiming at 80 %: 88.9/s a worker.
    assert needed_workers(800, worker(), settings) == 9
    assert needed_workers(890, worker(), settings) == 11
    # A worker that never reaches the hint is bound by its capacity.
    assert needed_workers(800, worker(cpu=0.1), settings) == 8
    assert needed_workers(10, worker(), replace(settings, min_workers=4)) == 4


def test_replicas_that_a_rate_needs() -> None:
    assert needed_replicas(600, REPLICA, VertexSettings(max_replicas=50)) == 10
    one_process = Capacity.by_hand(100.0, 0.25, 0.02)
    assert needed_replicas(600, one_process, VertexSettings(max_replicas=50)) == 6
    by_calls = VertexSettings(max_replicas=50, scaling_metric={REQUEST_COUNT: 3_000})
    assert needed_replicas(600, REPLICA, by_calls) == 12
    by_backlog = VertexSettings(max_replicas=50, scaling_metric={PUBSUB_UNDELIVERED: 100})
    assert needed_replicas(600, REPLICA, by_backlog) == 6


def test_the_simulation_comes_to_rest_at_what_is_needed() -> None:
    settings = DataflowSettings(max_workers=50)
    endpoint = Endpoint(REPLICA, VertexSettings(max_replicas=50, scaling_metric={CPU: 60}))
    job = Job(worker(), settings, endpoint)
    timeline = simulate(parse_workload("constant 800 3h"), job, even_draws(replica_tolerance=0.0), step_s=1.0)
    assert timeline["replicas"][-1, 0] == needed_replicas(800, REPLICA, endpoint.autoscaler)
    # Between 75 and 80 % Dataflow changes nothing.
    assert needed_workers(800, worker(), settings) <= timeline["workers"][-1, 0] <= 10


def test_the_ratio_is_a_curve() -> None:
    prices = read_prices()

    def hour(workers: int, replicas: int) -> Amount:
        of_workers = workers_cost(exactly(workers), WorkerShape("n1-standard-4"), prices)
        return of_workers + replicas_cost(exactly(replicas), ReplicaShape("n1-standard-4"), prices)

    settings = DataflowSettings(min_workers=2, max_workers=50)
    job = Job(worker(400.0), settings)
    endpoint = Endpoint(REPLICA, VertexSettings(max_replicas=100))
    points = ratio_curve([100, 600, 3_000], job, endpoint, hour)
    assert [(each.workers, each.replicas) for each in points] == [(2, 2), (2, 10), (9, 50)]
    assert [round(each.ratio, 2) for each in points] == [1.0, 0.2, 0.18]
    assert points[0].cost < points[1].cost < points[2].cost
