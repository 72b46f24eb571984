from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from loadtest.bottleneck import reading
from loadtest.bottleneck.job_log import with_job_log
from loadtest.bottleneck.reading import evidence
from loadtest.bottleneck.thresholds import HAND_OVER_S
from loadtest.raw_log import Sample
from tests.loadtest.bottleneck.runs import STARTED, run
from tests.loadtest.bottleneck.test_job_log import LINE


def test_means_and_rates_are_those_of_the_window() -> None:
    found = evidence(run(late_s=0.001, server_ms=2.0), 5, 15)
    assert (found.messages, found.offered) == (1000, 100)
    assert found.answered == pytest.approx(100, rel=0.01)
    assert found.achieved == 1
    assert found.growth == pytest.approx(0, abs=1e-3)
    assert found.detectable_growth == pytest.approx(5 / math.sqrt(1000))
    assert found.latency_s == pytest.approx(0.011, abs=1e-6)
    assert found.late_s == pytest.approx(0.001, abs=1e-6)
    stages = (found.queue_s, found.batch_wait_s, found.inference_s, found.server_s, found.rest_s)
    assert stages == pytest.approx((0.002, 0.001, 0.003, 0.002, 0.004), abs=1e-6)
    assert found.cpus == 2


def test_what_nobody_has_measured_is_not_known() -> None:
    found = evidence(run(flags=None, kind=""), 5, 15)
    unknown = (
        found.server_s, found.batch_limit, found.decoding, found.model_calls, found.endpoint_calls,
        found.bundles_limit, found.waiting, found.throttled, found.refused, found.job_cores,
        found.broker_cores,
        found.driver_cores, found.worker_utilisation, found.workers, found.upscale_decisions,
        found.fixed_share,
    )  # fmt: skip
    assert unknown == (None,) * len(unknown)


def test_a_message_without_an_answer_counts_for_as_long_as_it_was_waited_for() -> None:
    log = run()
    log.messages.result_at[1000] = np.nan
    log.messages.sent_at[1001] = np.nan
    found = evidence(log, 5, 15)
    waited = log.facts.ended_at - log.messages.intended[1000]
    assert found.latency_s == pytest.approx((0.01 * 999 + waited) / 1000, rel=1e-6)
    assert found.achieved == 1499 / 1500
    assert found.late_s == pytest.approx((log.facts.ended_at - log.messages.intended[1001]) / 1000, rel=1e-6)


def test_calls_are_counted_once_for_all_of_their_requests() -> None:
    # 100 requests a second in batches of 4: 25 calls of 20 ms.
    found = evidence(run(batch_size=4, inference_ms=20.0), 5, 15)
    assert found.batch_size == pytest.approx(4)
    assert found.model_calls == pytest.approx(0.5, rel=0.01)
    assert (found.model_limit, found.batch_limit, found.endpoint_calls) == (1, 128, None)


def test_decoding_is_told_by_the_batch_wait() -> None:
    # Batches of 3, 2 ms for each request: waits of 6, 4 and 2 ms, a fifth of the time at 100 a second.
    log = run(batch_size=3)
    log.messages.stages_ms[:, 1] = HAND_OVER_S * 1e3 + np.resize([6.0, 4.0, 2.0], len(log.messages))
    assert evidence(log, 5, 15).decoding == pytest.approx(0.2, rel=0.01)


def test_in_endpoint_mode_calls_are_the_endpoints_and_decoding_is_not_known() -> None:
    flags = "--inference_mode=endpoint --endpoint_batch_size=8 --endpoint_max_concurrency=5"
    found = evidence(run(flags=flags, batch_size=4, inference_ms=20.0), 5, 15)
    assert found.endpoint_calls == pytest.approx(0.5, rel=0.01)
    assert (found.endpoint_limit, found.batch_limit, found.bundles_limit) == (5, 8, 1)
    assert (found.model_calls, found.model_limit, found.decoding) == (None, None, None)


def test_a_run_that_does_not_keep_up_is_measured_until_its_last_answer() -> None:
    # Batches of one, 20 ms each: all of the time until the last one, although the schedule ended long before.
    log = run(capacity=50, inference_ms=20.0, cores={"job": 0.97})
    found = evidence(log, 5, 20)
    assert found.growth == pytest.approx(0.5, rel=0.01)
    assert found.answered == pytest.approx(50, rel=0.01)
    assert found.model_calls == pytest.approx(1, rel=0.01)
    assert found.job_cores == pytest.approx(0.97)


def test_the_law_of_batch_and_time_is_fitted_over_calls() -> None:
    log = run()
    sizes = np.resize(np.repeat([1.0, 4.0, 16.0], [1, 4, 16]), len(log.messages))
    log.messages.batch_size[:] = sizes
    log.messages.stages_ms[:, 2] = 6 + 2 * sizes
    # 7 requests a call on average: 6 of 20 ms do not depend on it.
    assert evidence(log, 5, 15).fixed_share == pytest.approx(0.3, rel=0.01)


def test_calls_of_unlike_speed_are_no_fixed_cost() -> None:
    """A model without any, on a busy machine: 10 calls tell nothing, and more of them at most little."""
    random = np.random.default_rng(1)
    for count in (10, 25, 100):
        of_calls = random.integers(30, 129, count).astype(float)
        times = 0.008 * of_calls * random.lognormal(0, 0.3, count)
        sizes, seconds = (np.repeat(each, of_calls.astype(int)) for each in (of_calls, times))
        share = reading._fixed_share(sizes, seconds, 1 / sizes, float(of_calls.mean()))
        assert share is None if count == 10 else share is not None and share < 0.2


@pytest.mark.parametrize("sizes", [[8.0], [8.0, 9.0], [8.0, 9.0, 15.0]])
def test_batches_that_are_alike_tell_no_law(sizes: list[float]) -> None:
    log = run()
    log.messages.batch_size[:] = np.resize(sizes, len(log.messages))
    assert evidence(log, 5, 15).fixed_share is None


def test_the_drivers_processes_count_together() -> None:
    found = evidence(run(cores={"driver": 0.2, "sender-1": 0.3, "sender-2": 0.25, "broker": 0.4}), 5, 15)
    assert found.driver_cores == pytest.approx(0.75)
    assert found.broker_cores == pytest.approx(0.4)
    assert found.container_cores is None


def test_a_process_that_was_started_again_begins_at_nothing() -> None:
    log = run(cores={"job": 0.5})
    samples = tuple(
        replace(sample, value=sample.value - 5.0) if sample.at >= STARTED + 10 else sample
        for sample in log.samples
    )
    # Of ten steps of half a second's time, that over the restart is not known.
    assert evidence(replace(log, samples=samples), 5, 15).job_cores == pytest.approx(0.45)


def test_throttling_is_what_the_jobs_log_says() -> None:
    found = evidence(with_job_log(run(flags="--inference_mode=endpoint"), LINE), 5, 15)
    assert found.throttled == 6.5 / 8
    assert found.refused == 12 / 40
    # All of the run's 20 s, as the job tells of its whole life.
    assert found.waiting == pytest.approx(0.4, rel=0.01)


def test_the_cloud_tells_of_workers_and_of_answers_by_status() -> None:
    values = {
        "job/workers": 3.0, "job/vcpus": 12.0, "job/target_workers": 5.0, "job/cpu": 0.9,
        "endpoint/replicas": 2.0,
        "job/scaling/Upscale/High backlog": 1.0, "job/scaling/Downscale/Low worker utilization": 1.0,
        "endpoint/responses/200": 9.0, "endpoint/responses/429": 1.0,
    }  # fmt: skip
    flags = "--runner=DataflowRunner --inference_mode=endpoint --max_num_workers=5"
    found = evidence(run(flags=flags, kind="Dataflow job", values=values), 5, 15)
    assert (found.workers, found.target_workers, found.most_workers, found.replicas) == (3, 5, 5, 2)
    assert found.worker_utilisation == pytest.approx(0.9)
    assert (found.refused, found.upscale_decisions) == (0.1, 11)
    assert (found.processes, found.endpoint_limit, found.bundles_limit) == (12, 12 * 32, None)


def test_a_single_process_a_worker_is_one() -> None:
    flags = "--worker_processes=single"
    found = evidence(
        run(flags=flags, kind="Dataflow job", values={"job/workers": 3.0, "job/vcpus": 12.0}), 5, 15
    )
    assert (found.processes, found.model_limit, found.decoding) == (3, 3, None)


def test_no_answer_at_all_is_evidence_too() -> None:
    log = run()
    for times in (log.messages.result_at, log.messages.batch_size, log.messages.stages_ms):
        times[:] = np.nan
    found = evidence(log, 5, 15)
    assert (found.answered, found.inference_s, found.batch_size, found.model_calls) == (0, None, None, None)
    assert found.growth == pytest.approx(1, rel=0.01)


def test_a_window_without_messages_is_refused() -> None:
    with pytest.raises(ValueError, match="no message is due"):
        evidence(run(), 30, 40)


def test_samples_outside_the_window_do_not_count() -> None:
    log = run(values={"job/workers": 3.0})
    outside = Sample(STARTED + 1, "job/workers", 99.0)
    assert evidence(replace(log, samples=(*log.samples, outside)), 5, 15).workers == 3
