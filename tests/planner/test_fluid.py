from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.planner.exact_servers import delays_of_servers
from launch.settings.endpoint_parsers import CPU
from planner.autoscalers.dataflow import DataflowSettings
from planner.autoscalers.vertex import VertexSettings
from planner.capacity import Capacity
from planner.delays import latencies
from planner.draws import draw
from planner.fluid import Job, simulate
from planner.timeline import Limit, bands
from planner.token_bucket import Quota
from planner.workload import parse_workload
from tests.planner.made_jobs import endpoint_job, even_draws, fixed_job, worker


def test_below_capacity_nothing_waits() -> None:
    timeline = simulate(parse_workload("ramp 100 400 60s"), fixed_job(5), even_draws())
    assert timeline["backlog"].max() == 0
    assert timeline["done_per_s"][-1, 0] == pytest.approx(397.5, abs=0.5)
    assert timeline["cpu"][-1, 0] == pytest.approx(0.9 * 397.5 / 500, abs=0.01)
    assert set(timeline["limit"].flat) == {Limit.NOBODY}
    assert latencies(timeline, fixed_job(5)).percentiles([50, 99]).tolist() == [[0.01], [0.01]]


def test_every_message_is_done_or_waits() -> None:
    job, drawn = fixed_job(5), draw(20)
    timeline = simulate(parse_workload("burst 100 900 10m period=3m width=50"), job, drawn)
    np.testing.assert_allclose(timeline.arrived[-1].sum(axis=1), timeline.arrived[-1, 0].sum())
    total = timeline.served[-1].sum(axis=1) + timeline["backlog"][-1]
    np.testing.assert_allclose(total, timeline.arrived[-1].sum(axis=1))
    assert (np.diff(timeline.served, axis=0) >= 0).all()
    assert (timeline.served <= timeline.arrived + 1e-6).all()


def test_delays_in_overload_by_hand() -> None:
    """1.5 x capacity for 60 s: message n waits n / capacity - n / rate, at most 30 s, 15 s in the mean."""
    timeline = simulate(parse_workload("constant 750 60s"), fixed_job(5), even_draws(), after_s=40)
    found = latencies(timeline, fixed_job(5))
    assert timeline.unserved[0] == pytest.approx(0, abs=1e-6)
    assert found.seconds.mean() - 0.01 == pytest.approx(15, rel=0.01)
    assert found.percentiles([50, 99])[:, 0] - 0.01 == pytest.approx([15, 29.7], rel=0.01)
    assert found.over_time(np.array([0.0, 30.0, 60.0]), 50)[:, 0] == pytest.approx([7.5, 22.5], rel=0.02)
    assert timeline.share_limited(Limit.WORKERS)[0] > 0.8


def test_what_has_no_answer_counts_as_at_least_its_wait() -> None:
    timeline = simulate(parse_workload("constant 750 60s"), fixed_job(5), even_draws())
    found = latencies(timeline, fixed_job(5))
    assert found.unanswered.mean() == pytest.approx(1 / 3, abs=0.01)
    assert found.percentiles([100])[0, 0] == pytest.approx(20, rel=0.03)


def test_overload_against_exact_events() -> None:
    """50 servers at 1.3 x their capacity for 60 s: p50 within 5 %, p99 within 10 % of exact events."""
    a, b, batch, servers = 0.05, 0.012, 16, 50
    time = a + b * batch
    capacity = batch / time
    exact = delays_of_servers(1.3 * capacity * servers, 60, servers, batch, a, b)
    # One server, at its capacity: a full batch; what waits at random below it plays no part in an overload.
    carried = Capacity.of_points([capacity], [capacity], [0.9], [[time]])
    job = replace(fixed_job(servers), worker=carried)
    timeline = simulate(
        parse_workload(f"constant {1.3 * capacity * servers} 60s"), job, even_draws(), after_s=30
    )
    found = latencies(timeline, job)
    assert found.seconds.mean() == pytest.approx(exact.mean(), rel=0.05)
    assert found.percentiles([50])[0, 0] == pytest.approx(np.percentile(exact, 50), rel=0.05)
    assert found.percentiles([99])[0, 0] == pytest.approx(np.percentile(exact, 99), rel=0.10)


def test_capacity_grows_with_the_load_of_the_moment() -> None:
    """The published effect: at 75 offered 71 are done, at 150 116, because batches grow."""
    grows = Capacity.of_points([50, 75, 150], [50, 71, 116], [0.3, 0.5, 0.7], [[0.1]] * 3)
    job = replace(fixed_job(1), worker=grows)
    for offered, done in ((50, 50), (75, 71), (150, 116)):
        timeline = simulate(parse_workload(f"constant {offered} 3s"), job, even_draws(), record_s=0.1)
        assert timeline["done_per_s"][0, 0] == pytest.approx(done)


def test_the_autoscaler_ends_an_overload() -> None:
    settings = DataflowSettings(min_workers=2, max_workers=20)
    job = Job(worker(), settings)
    timeline = simulate(parse_workload("step 100 1000 2h steps=2"), job, even_draws(), step_s=1.0)
    workers = timeline["workers"][:, 0]
    assert workers[3_500] == 2
    assert workers.max() >= 12
    # 1,000/s at 90 % for 100/s keeps 11.25 workers at 80 %; the backlog is gone.
    assert 11 <= workers[-1] <= 14
    assert timeline["backlog"][-1, 0] == pytest.approx(0, abs=1e-6)
    # Nobody reacts before the signal has lasted 2 minutes.
    wanted = timeline["wanted_workers"][:, 0]
    assert wanted[: 3_600 + 120].max() == 2


def test_a_job_that_is_launched_with_the_load_starts_late() -> None:
    job = replace(fixed_job(5), running=False)
    timeline = simulate(parse_workload("constant 100 10m"), job, even_draws(job_start_s=170.0))
    workers = timeline["workers"][:, 0]
    assert workers[:169].max() == 0
    assert workers[171] == 5
    assert latencies(timeline, job).percentiles([100])[0, 0] == pytest.approx(170, abs=1.5)


def test_a_job_with_gpus_starts_when_they_do() -> None:
    settings = DataflowSettings(min_workers=2, max_workers=2, gpu=True)
    job = Job(worker(), settings, running=False)
    timeline = simulate(parse_workload("constant 100 15m"), job, even_draws(gpu_worker_start_s=500.0))
    assert int(np.argmax(timeline["workers"][:, 0] > 0)) == pytest.approx(500, abs=1)


def test_workers_that_start_apart_join_one_by_one() -> None:
    job = replace(fixed_job(20), running=False)
    drawn = draw(1, fixed={"worker_skew": 0.0, "worker_start_spread": 0.3, "job_start_s": 170.0})
    workers = simulate(parse_workload("constant 100 10m"), job, drawn)["workers"][:, 0]
    assert len(set(workers)) > 10
    assert workers[170] == pytest.approx(10, abs=1)


def test_skew_makes_the_most_loaded_worker_the_limit() -> None:
    """20 workers at 93 %: alike they keep up, with 10 % of skew the most loaded fall behind."""
    load = parse_workload("constant 1860 10m")
    even = simulate(load, fixed_job(20), even_draws())
    uneven = simulate(load, fixed_job(20), even_draws(worker_skew=0.1))
    assert even["backlog"].max() == 0
    assert uneven["backlog"][-1, 0] > 1_000
    # The most loaded hundredth has 2.7 standard deviations more than the mean, and only it waits long.
    job = fixed_job(1_000)
    waits = latencies(simulate(parse_workload("constant 84000 10m"), job, even_draws(worker_skew=0.1)), job)
    assert waits.percentiles([90])[0, 0] == pytest.approx(0.01)
    assert waits.percentiles([99.5])[0, 0] > 10
    # A lone worker has nobody to differ from.
    alone = simulate(parse_workload("constant 93 10m"), fixed_job(1), even_draws(worker_skew=0.1))
    assert alone["backlog"].max() == pytest.approx(0, abs=1e-9)


def test_a_quota_holds_back_once_its_burst_is_used() -> None:
    job = replace(fixed_job(5), quotas=(Quota("publish", 200.0, 6_000.0),))
    timeline = simulate(parse_workload("constant 400 2m"), job, even_draws())
    done = timeline["done_per_s"][:, 0]
    assert done[:29] == pytest.approx(400)
    assert done[31:] == pytest.approx(200)
    assert timeline["limit"][60, 0] == Limit.QUOTA
    # 200/s go in while 400/s come: 30 s are free of it.
    assert timeline["backlog"][-1, 0] == pytest.approx(200 * 90, rel=0.01)


def test_a_quota_of_bytes_is_one_of_messages() -> None:
    assert Quota.of_bytes("pull", 1e6, 2_000) == Quota("pull", 500, 30_000)


def replica(capacity: float = 100.0, cpu: float = 1.0) -> Capacity:
    return Capacity.by_hand(capacity, cpu, 0.02)


def test_replicas_limit_the_workers_until_they_have_scaled() -> None:
    job = endpoint_job(fixed_job(10), replica(), VertexSettings(min_replicas=2, max_replicas=20))
    timeline = simulate(parse_workload("constant 600 30m"), job, even_draws())
    limit = timeline["limit"][:, 0]
    assert limit[10] == Limit.ENDPOINT
    # With a backlog the workers push their 1,000/s, of which 200/s go through.
    assert timeline["throttled"][10, 0] == pytest.approx(0.8)
    assert timeline["done_per_s"][10, 0] == pytest.approx(200)
    # 600/s at 100/s a replica, aiming at 60 %: 10 replicas.
    assert timeline["replicas"][-1, 0] == 10
    assert limit[-1] == Limit.NOBODY


def test_a_single_process_container_never_scales() -> None:
    """One process on four cores: a replica at its capacity is at 25 % CPU, and 60 % is the target."""
    settings = VertexSettings(min_replicas=1, max_replicas=10, scaling_metric={CPU: 60})
    job = endpoint_job(fixed_job(10), replica(cpu=0.25), settings)
    timeline = simulate(parse_workload("constant 500 1h"), job, even_draws(), step_s=1.0)
    assert timeline["replicas"].max() == 1
    assert timeline["backlog"][-1, 0] == pytest.approx(400 * 3_600, rel=0.01)
    # Four processes: the same cores, all of them.
    scaled = endpoint_job(fixed_job(10), replica(cpu=1.0), settings)
    assert (
        simulate(parse_workload("constant 500 1h"), scaled, even_draws(), step_s=1.0)["replicas"][-1, 0] >= 9
    )


def test_a_backlog_with_idle_cpu_never_scales_without_a_parallelism_hint() -> None:
    """I/O bound: 8 % CPU at capacity."""
    bound = Job(worker(cpu=0.08), DataflowSettings(min_workers=2, max_workers=20))
    load = parse_workload("constant 800 1h")
    stuck = simulate(load, bound, even_draws(), step_s=1.0)
    assert stuck["workers"].max() == 2
    assert stuck["backlog"][-1, 0] > 1e6
    hinted = replace(bound, autoscaler=replace(bound.autoscaler, parallelism_hint=12))
    freed = simulate(load, hinted, even_draws(), step_s=1.0)
    assert freed["workers"].max() > 8
    assert freed["backlog"][-1, 0] == pytest.approx(0, abs=1e-6)


def test_more_replicas_than_they_may_be_leave_workers_waiting() -> None:
    """2 replicas carry 200/s, 10 workers push 1,000/s: without a throttling counter all of them are taken."""
    settings = DataflowSettings(min_workers=3, max_workers=10, throttling_counter=False)
    few = VertexSettings(min_replicas=2, max_replicas=2)
    job = endpoint_job(Job(worker(), settings), replica(), few)
    load = parse_workload("constant 400 1h")
    runaway = simulate(load, job, even_draws(), step_s=1.0)
    assert runaway["workers"][-1, 0] == 10
    assert runaway["done_per_s"][-1, 0] == pytest.approx(200)
    counted = replace(job, autoscaler=replace(settings, throttling_counter=True))
    told = simulate(load, counted, even_draws(), step_s=1.0)
    assert told["workers"].max() == 3
    assert told["done_per_s"][-1, 0] == pytest.approx(200)


def test_at_zero_replicas_calls_are_refused_until_one_is_up() -> None:
    settings = VertexSettings(
        min_replicas=0, max_replicas=4, scale_to_zero=True, idle_scaledown_s=300, min_scaleup_s=300
    )
    job = endpoint_job(fixed_job(2), replica(), settings)
    timeline = simulate(parse_workload("constant 50 20m"), job, even_draws(), after_s=1_200)
    replicas, throttled = timeline["replicas"][:, 0], timeline["throttled"][:, 0]
    assert replicas[0] == 0
    assert throttled[10] == 1
    up = int(np.argmax(replicas > 0))
    assert 155 <= up <= 165  # the central replica change takes 160 s
    assert timeline["done_per_s"][up - 1, 0] == 0
    assert replicas[-1] == 0
    assert timeline.unserved[0] == pytest.approx(0, abs=1e-6)


def test_a_first_deployment_takes_longer() -> None:
    job = endpoint_job(fixed_job(2), replica(), VertexSettings(max_replicas=4), deployed=False)
    timeline = simulate(parse_workload("constant 50 40m"), job, even_draws(deployment_s=900.0))
    assert int(np.argmax(timeline["replicas"][:, 0] > 0)) == pytest.approx(900, abs=2)


def test_the_same_seed_gives_the_same_bytes() -> None:
    job = endpoint_job(
        Job(worker(), DataflowSettings(max_workers=20)), replica(), VertexSettings(max_replicas=20)
    )
    load = parse_workload("sine 100 1200 30m period=15m")
    first, second = (simulate(load, job, draw(10, seed=3), step_s=1.0) for _ in range(2))
    assert first.served.tobytes() == second.served.tobytes()
    assert all(first[name].tobytes() == second[name].tobytes() for name in first.series)
    assert latencies(first, job).seconds.tobytes() == latencies(second, job).seconds.tobytes()
    other = simulate(load, job, draw(10, seed=4), step_s=1.0)
    assert first.served.tobytes() != other.served.tobytes()


def test_a_draw_does_not_depend_on_its_neighbours() -> None:
    """What is computed for many draws at once is what each would be alone."""
    job = endpoint_job(
        Job(worker(), DataflowSettings(max_workers=20)), replica(), VertexSettings(max_replicas=20)
    )
    load = parse_workload("ramp 100 1200 40m")
    drawn = draw(6, seed=5)
    together = simulate(load, job, drawn, step_s=1.0)
    alone = simulate(
        load, job, draw(1, fixed={name: float(drawn[name][3]) for name in drawn.values}), step_s=1.0
    )
    np.testing.assert_allclose(together["workers"][:, 3], alone["workers"][:, 0])
    np.testing.assert_allclose(together["replicas"][:, 3], alone["replicas"][:, 0])
    np.testing.assert_allclose(together["backlog"][:, 3], alone["backlog"][:, 0], atol=1e-6)


@pytest.mark.parametrize("rate", [100, 1e6])
def test_steps_go_with_time_and_not_with_messages(rate: float) -> None:
    job = fixed_job(round(rate / 80))
    assert simulate(parse_workload(f"constant {rate} 60s"), job, even_draws()).steps == 600
    assert simulate(parse_workload(f"constant {rate} 120s"), job, even_draws()).steps == 1_200


def test_bands_hold_the_central_draw() -> None:
    values = np.array([[5.0, 1, 2, 3], [2.0, 1, 2, 3]])
    low, central, high = bands(values)
    assert central.tolist() == [5, 2]
    assert (low <= central).all()
    assert high[0] == 5
    assert json.dumps(bands(values).tolist())


def test_hours_are_what_is_billed() -> None:
    timeline = simulate(parse_workload("constant 100 30m"), fixed_job(6), even_draws())
    assert timeline.hours("workers").tolist() == [3]
