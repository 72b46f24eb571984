from __future__ import annotations

import pytest

from launch.settings.machines import Gpu
from planner.autoscalers.dataflow import DataflowSettings
from planner.cost.amount import Amount, exactly
from planner.cost.prices import PriceError, read_prices
from planner.cost.run_cost import (
    Messages,
    ReplicaShape,
    WorkerShape,
    committed,
    engine_cost,
    exactly_once,
    mean_count,
    per_million,
    per_month,
    pubsub_cost,
    replicas_cost,
    workers_cost,
)
from planner.draws import draw
from planner.fluid import Job, simulate
from planner.workload import parse_workload
from tests.planner.made_jobs import worker

PRICES = read_prices()
MESSAGES = Messages(per_s=1_000, in_bytes=2_000, out_bytes=500)


def usd(amount: Amount) -> float:
    return float(amount.as_json()["usd"])


def test_a_worker_costs_what_is_known_of_it() -> None:
    """n1-standard-4 for streaming: 0.3293 an hour, and a disk of 30 GB."""
    assert usd(workers_cost(exactly(1), WorkerShape("n1-standard-4", disk_gb=0), PRICES)) == pytest.approx(
        0.3293, abs=1e-4
    )
    assert usd(workers_cost(exactly(10), WorkerShape("n1-standard-4"), PRICES)) == pytest.approx(
        10 * (0.3293355 + 30 * 0.000054), abs=1e-5
    )


def test_gpus_are_billed_also_where_they_are_built_in() -> None:
    bare = usd(workers_cost(exactly(1), WorkerShape("n1-standard-4"), PRICES))
    with_gpu = usd(workers_cost(exactly(1), WorkerShape("n1-standard-4", Gpu("nvidia-tesla-t4", 1)), PRICES))
    assert with_gpu - bare == pytest.approx(0.42, abs=1e-5)
    items = workers_cost(exactly(1), WorkerShape("g2-standard-4"), PRICES).as_json()["items"]
    assert items[-1]["usd"] == pytest.approx(0.672)


def test_replicas_cost_what_is_known_of_them() -> None:
    """The price lists of March 2026: 0.219 and 0.438 for n1, a line of its own for g2."""
    assert usd(replicas_cost(exactly(1), ReplicaShape("n1-standard-4"), PRICES)) == pytest.approx(
        0.219, abs=5e-4
    )
    assert usd(replicas_cost(exactly(1), ReplicaShape("n1-standard-8"), PRICES)) == pytest.approx(
        0.438, abs=1e-3
    )
    assert usd(
        replicas_cost(exactly(3), ReplicaShape("g2-standard-4", Gpu("nvidia-l4", 1)), PRICES)
    ) == pytest.approx(3 * 0.81293)
    with_gpu = replicas_cost(exactly(1), ReplicaShape("n1-standard-4", Gpu("nvidia-tesla-t4", 1)), PRICES)
    assert usd(with_gpu) == pytest.approx(0.2186 + 0.4024, abs=1e-3)


def test_the_surcharge_on_compute_engine_gives_the_known_prices() -> None:
    """15 % on Compute Engine's price is Vertex AI's in each known pair, within half a percent."""
    for name in ("g2-standard-4", "g2-standard-8"):
        estimate = PRICES[f"gce_machine_{name}"].value * (1 + PRICES["vertex_surcharge"].value)
        assert estimate == pytest.approx(PRICES[f"vertex_machine_{name}"].value, rel=0.005)


def test_a_machine_without_a_price_is_refused_with_what_to_add() -> None:
    with pytest.raises(PriceError, match=r"add \[gce_machine_c2-standard-8\] with value"):
        replicas_cost(exactly(1), ReplicaShape("c2-standard-8"), PRICES)
    with pytest.raises(PriceError, match="dataflow_gpu_nvidia-h100-80gb"):
        workers_cost(exactly(1), WorkerShape("a3-highgpu-1g"), PRICES)


def test_streaming_engine_is_a_range_until_its_units_are_known() -> None:
    assumed = engine_cost(MESSAGES, PRICES)
    written = assumed.as_json()
    # 1,000/s of 2,500 bytes are 9 GB an hour.
    assert (written["usd_low"], written["usd"], written["usd_high"]) == (0, 0.162, 0.162)
    assert "assumed" in written["items"][0]["note"]
    known = engine_cost(MESSAGES, PRICES, units_per_hour=10)
    assert usd(known) == pytest.approx(0.89)
    assert "not verified: dataflow_engine_unit" in str(known)


def test_pubsub_counts_small_messages_as_a_kilobyte() -> None:
    assert usd(pubsub_cost(MESSAGES, PRICES)) == pytest.approx(40 * 2 * 1_000 * 3_000 * 3_600 / 2**40)


def test_per_month_and_per_million() -> None:
    hour = workers_cost(exactly(2), WorkerShape("n1-standard-4"), PRICES)
    assert per_month(hour).compare(per_month(hour)) == 1
    assert usd(per_month(hour)) == pytest.approx(730 * usd(hour), rel=1e-5)
    assert usd(per_million(hour, MESSAGES)) == pytest.approx(usd(hour) / 3.6, rel=1e-4)
    assert "a month of 730 h, prices of 2026-08-20" in str(per_month(hour))


def test_committed_use_leaves_disks_and_gpus() -> None:
    hour = workers_cost(exactly(1), WorkerShape("n1-standard-4", Gpu("nvidia-tesla-t4", 1)), PRICES)
    rest = 30 * 0.000054 + 0.42
    for years, part in ((1, 0.8), (3, 0.6)):
        assert usd(committed(hour, years, PRICES)) == pytest.approx(
            part * (usd(hour) - rest) + rest, abs=1e-5
        )
    assert "not verified: dataflow_committed_1y" in str(committed(hour, 1, PRICES))
    with pytest.raises(PriceError, match="dataflow_committed_2y"):
        committed(hour, 2, PRICES)


def test_exactly_once_needs_more_workers() -> None:
    """Google's own run: 16 % fewer workers at least once; whoever reads the amount is told."""
    hour = workers_cost(exactly(84), WorkerShape("n1-standard-4"), PRICES)
    dearer = exactly_once(hour, PRICES)
    assert dearer.compare(hour) == pytest.approx(100 / 84)
    assert "not verified: dataflow_at_least_once" in str(dearer)
    assert "Google's own run" in str(dearer.as_json()["prices"])


def test_exactly_once_is_billed_for_all_its_data() -> None:
    written = engine_cost(MESSAGES, PRICES, at_least_once=False).as_json()
    assert written["usd_low"] == written["usd"] == written["usd_high"]


def test_a_run_costs_what_it_asked_for_on_average() -> None:
    job = Job(worker(), DataflowSettings(min_workers=2, max_workers=20))
    timeline = simulate(parse_workload("step 100 1000 2h steps=2"), job, draw(20), step_s=1.0, record_s=5.0)
    count = mean_count(timeline, "wanted_workers")
    assert count.likely == pytest.approx(timeline["wanted_workers"][:, 0].mean())
    assert count.low < count.high
    hour = workers_cost(count, WorkerShape("n1-standard-4"), PRICES).as_json()
    assert hour["usd_low"] <= hour["usd"] <= hour["usd_high"]
    assert hour["usd_high"] == pytest.approx(count.high / count.likely * hour["usd"], rel=1e-5)
