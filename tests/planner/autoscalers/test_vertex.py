from __future__ import annotations

import numpy as np
import pytest

from launch.settings.endpoint_parsers import CPU, GPU_DUTY_CYCLE, PUBSUB_UNDELIVERED, REQUEST_COUNT
from planner.autoscalers.vertex import (
    CYCLE_S,
    ReplicaSignals,
    VertexAutoscaler,
    VertexSettings,
    replica_start,
    wanted_replicas,
)
from planner.draws import draw

KNOWN = {"replica_metric_lag_s": 0.0, "replica_tolerance": 0.05}


def signals(
    replicas: float = 2,
    cpu: float = 0.6,
    gpu: float = 0.0,
    instances: float = 100,
    undelivered: float = 0,
    calling: bool = True,
) -> ReplicaSignals:
    of, busy, duty, rate, waiting = np.array(
        [[replicas], [cpu], [gpu], [instances], [undelivered]], dtype=float
    )
    return ReplicaSignals(of, busy, duty, rate, waiting, np.array([calling]))


def autoscaler(settings: VertexSettings, **known: float) -> VertexAutoscaler:
    return VertexAutoscaler(settings, draw(1, fixed=KNOWN | known), cycles=1_000)


def decide(of: VertexAutoscaler, seen: ReplicaSignals, cycles: int, since: int = 0) -> list[float]:
    """Return the targets of so many cycles, all of which see the same."""
    return [float(of.decide((since + cycle + 1) * CYCLE_S, seen)[0]) for cycle in range(cycles)]


def test_the_worked_examples_of_googles_page() -> None:
    assert wanted_replicas(np.array([2.0]), np.array([100.0]), 60).tolist() == [4]
    assert wanted_replicas(np.array([10.0]), np.array([1.0]), 60).tolist() == [1]


def test_up_at_once() -> None:
    settings = VertexSettings(min_replicas=2, max_replicas=10)
    assert decide(autoscaler(settings), signals(cpu=1.0), 1) == [4]


def test_down_only_after_five_minutes_below() -> None:
    """The highest target of the last 5 minutes counts: 20 cycles."""
    of = autoscaler(VertexSettings(min_replicas=1, max_replicas=10))
    assert decide(of, signals(replicas=10, cpu=0.6), 1) == [10]
    later = decide(of, signals(replicas=10, cpu=0.01), 25, since=1)
    assert later[:19] == [10] * 19
    assert later[19:] == [1] * 6


def test_a_small_deviation_changes_nothing() -> None:
    settings = VertexSettings(min_replicas=1, max_replicas=20)
    assert decide(autoscaler(settings), signals(replicas=10, cpu=0.62), 1) == [10]
    assert decide(autoscaler(settings), signals(replicas=10, cpu=0.64), 1) == [11]
    assert decide(autoscaler(settings, replica_tolerance=0.1), signals(replicas=10, cpu=0.64), 1) == [10]


def test_the_range_bounds_it() -> None:
    settings = VertexSettings(min_replicas=2, max_replicas=3)
    assert decide(autoscaler(settings), signals(cpu=1.0), 1) == [3]
    assert decide(autoscaler(settings), signals(cpu=0.0), 1) == [2]


@pytest.mark.parametrize(
    ("metric", "seen", "wanted"),
    [
        ({CPU: 50}, signals(cpu=1.0), 4),
        ({GPU_DUTY_CYCLE: 40}, signals(cpu=1.0, gpu=0.6), 3),
        ({REQUEST_COUNT: 1_000}, signals(instances=150), 9),
        ({PUBSUB_UNDELIVERED: 500}, signals(undelivered=4_100), 9),
        ({CPU: 60, GPU_DUTY_CYCLE: 60}, signals(cpu=0.7, gpu=1.0), 4),
    ],
)
def test_the_highest_of_its_metrics_counts(metric: dict[str, int], seen: ReplicaSignals, wanted: int) -> None:
    settings = VertexSettings(max_replicas=20, scaling_metric=metric)
    assert decide(autoscaler(settings), seen, 1) == [wanted]


def test_calls_of_many_instances_are_few_calls() -> None:
    settings = VertexSettings(max_replicas=20, scaling_metric={REQUEST_COUNT: 1_000}, instances_per_call=10)
    assert decide(autoscaler(settings), signals(instances=150), 1) == [1]


def test_with_a_gpu_cpu_or_gpu_counts_whichever_is_higher() -> None:
    assert VertexSettings().targets == {CPU: 60}
    assert VertexSettings(gpu=True).targets == {CPU: 60, GPU_DUTY_CYCLE: 60}


def test_an_old_metric_shows_a_change_later() -> None:
    of = autoscaler(VertexSettings(min_replicas=2, max_replicas=10), replica_metric_lag_s=60.0)
    assert decide(of, signals(cpu=1.0), 6) == [2, 2, 2, 2, 4, 4]


def test_the_lag_of_a_replica_has_three_parts() -> None:
    drawn = draw(5)
    whole = replica_start(VertexSettings(), drawn)
    np.testing.assert_allclose(whole.total_s, drawn["replica_change_s"])
    assert all((part > 0).all() for part in (whole.provision_s, whole.pull_s, whole.load_s))
    known = replica_start(VertexSettings(image_pull_s=200.0, model_load_s=0.0), drawn)
    np.testing.assert_allclose(known.total_s, whole.provision_s + 200)


def test_scale_to_zero_wakes_and_goes_again() -> None:
    settings = VertexSettings(
        min_replicas=0, max_replicas=5, scale_to_zero=True, initial_replicas=2, min_scaleup_s=300,
        idle_scaledown_s=600,
    )  # fmt: skip
    of = autoscaler(settings)
    assert decide(of, signals(replicas=0, cpu=0, calling=False), 3) == [0, 0, 0]
    assert of.called_at_zero(45.0, np.array([True])).tolist() == [2]
    assert decide(of, signals(replicas=2, cpu=0.3), 1, since=3) == [1]
    silent = signals(replicas=1, cpu=0, calling=False)
    # Until 600 s after the last call, at 60 s.
    targets = decide(of, silent, 41, since=4)
    assert targets.index(0.0) == 39
    assert set(targets[39:]) == {0.0}


def test_it_stays_up_for_its_least_time() -> None:
    settings = VertexSettings(
        min_replicas=0, max_replicas=5, scale_to_zero=True, min_scaleup_s=900, idle_scaledown_s=300
    )
    of = autoscaler(settings)
    of.called_at_zero(0.0, np.array([True]))
    targets = decide(of, signals(replicas=1, cpu=0, calling=False), 61)
    assert targets.index(0.0) == 59


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="0 to 3 is no range of replicas"):
        VertexSettings(min_replicas=0, max_replicas=3)
    with pytest.raises(ValueError, match="4 to 3 is no range of replicas"):
        VertexSettings(min_replicas=4, max_replicas=3)
    with pytest.raises(ValueError, match="mood is no metric: choose of cpu-usage"):
        VertexSettings(scaling_metric={"mood": 3})
