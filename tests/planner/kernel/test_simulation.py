"""One worker in simulated time: its bundles, batches, processes and calls."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.io.source import MAX_BUNDLE_MESSAGES
from pipeline.options.job_options import JobOptions
from planner.kernel.simulation import evenly, poisson, simulate
from planner.kernel.worker import (
    LOCAL_ENGINE,
    AcrossBundles,
    Bundles,
    BundleWork,
    CallTime,
    EndpointCalls,
    ModelInWorker,
    OnCpu,
    OnGpu,
    WithinBundle,
    Worker,
    shared_gpu,
)

CALL = CallTime(0.01, 0.001)


def rate_of_backlog(worker: Worker, messages: int = 5000) -> float:
    done = np.sort(simulate(worker, np.zeros(messages), 1, 1e9).done)
    return len(done) / float(done[-1])


def test_defaults_are_those_of_the_job() -> None:
    flags = {one.name: one.metadata["flag"][2] for one in JobOptions.__dataclass_fields__.values()}
    across, endpoint = AcrossBundles(), EndpointCalls(CALL)
    assert LOCAL_ENGINE.max_messages == MAX_BUNDLE_MESSAGES
    assert str(across.max_batch_size) == flags["max_batch_size"]
    assert across.max_wait_s * 1000 == float(flags["max_batch_wait_ms"])
    assert str(endpoint.batch_size) == flags["endpoint_batch_size"]
    assert str(endpoint.max_concurrency) == flags["endpoint_max_concurrency"]
    assert endpoint.deadline_s == float(flags["endpoint_deadline_s"])


def test_a_lone_message_takes_the_sum_of_its_parts() -> None:
    work = BundleWork(0.001, 0.002, 0.004, 0.008, 0.016, 0.032)
    worker = Worker(2, ModelInWorker(CALL, AcrossBundles()), work, LOCAL_ENGINE)
    found = simulate(worker, np.array([0.0]), 1)
    # All but the commit, which comes after the result.
    assert found.latency_s.tolist() == pytest.approx([0.001 + 0.002 + 0.004 + 0.011 + 0.008 + 0.016])


def test_the_next_bundle_of_the_local_engine_has_what_came_meanwhile() -> None:
    worker = Worker(2, ModelInWorker(CallTime(1.0, 0.0), AcrossBundles()), bundles=LOCAL_ENGINE)
    found = simulate(worker, np.array([0.0, 0.1, 0.2, 0.3, 1.5]), 1)
    assert found.done.tolist() == pytest.approx([1.0, 2.0, 2.0, 2.0, 3.0])


def test_results_of_a_bundle_are_published_after_its_last_batch() -> None:
    model = ModelInWorker(CallTime(1.0, 0.0), AcrossBundles(max_batch_size=2))
    found = simulate(Worker(2, model, bundles=LOCAL_ENGINE), np.zeros(5), 1)
    assert found.batches == 3
    assert found.done.tolist() == [3.0] * 5


def test_bundles_meet_in_batches_of_their_process() -> None:
    bundles = Bundles(threads=12, max_messages=1)
    stock = simulate(
        Worker(4, ModelInWorker(CALL, WithinBundle(), OnGpu()), bundles=bundles), poisson(80, 20, 1), 1
    )
    ours = simulate(
        Worker(4, ModelInWorker(CALL, AcrossBundles(), OnGpu()), bundles=bundles), poisson(80, 20, 1), 1
    )
    assert stock.batch_size == 1.0
    assert ours.batch_size > 1.2
    assert np.quantile(ours.latency_s, 0.99) < np.quantile(stock.latency_s, 0.99)


@pytest.mark.parametrize(("contention", "expected"), [(1.0, 1), (0.0, 12)])
def test_threads_share_a_gpu_by_its_contention(contention: float, expected: float) -> None:
    model = ModelInWorker(CallTime(0.01, 0.0), WithinBundle(), OnGpu(contention))
    worker = Worker(4, model, bundles=Bundles(threads=12, max_messages=1))
    assert rate_of_backlog(worker) == pytest.approx(100 * expected, rel=0.01)


@pytest.mark.parametrize(("sharing", "faster"), [("none", 1.0), ("single-process", 1.0), ("mps", 4 / 2.5)])
def test_processes_share_a_gpu_as_the_flag_says(sharing: str, faster: float) -> None:
    model = ModelInWorker(CallTime(0.01, 0.0), WithinBundle(), shared_gpu(sharing))
    worker = Worker(4, model, bundles=Bundles(threads=1, max_messages=1), processes=4)
    assert rate_of_backlog(worker) == pytest.approx(100 * faster, rel=0.01)


def test_processes_share_the_vcpus() -> None:
    def rate(vcpus: float, processes: int) -> float:
        model = ModelInWorker(CallTime(0.01, 0.0), WithinBundle(), OnCpu())
        bundles = Bundles(threads=1, max_messages=1)
        return rate_of_backlog(Worker(vcpus, model, bundles=bundles, processes=processes))

    assert rate(4, 1) == pytest.approx(100, rel=0.01)
    assert rate(4, 4) == pytest.approx(400, rel=0.01)
    assert rate(2, 4) == pytest.approx(200, rel=0.01)


def test_threads_of_a_process_decode_one_after_the_other() -> None:
    work = BundleWork(decode_s=0.01)
    model = ModelInWorker(CallTime(0.0, 1e-6), WithinBundle(), OnGpu(0.0))
    bundles = Bundles(threads=12, max_messages=1)
    assert rate_of_backlog(Worker(4, model, work, bundles)) == pytest.approx(100, rel=0.01)
    four = Worker(4, model, work, bundles, processes=4)
    assert rate_of_backlog(four) == pytest.approx(400, rel=0.01)


def test_utilisation_is_work_over_vcpus() -> None:
    work = BundleWork(decode_s=0.002, encode_s=0.002)
    model = ModelInWorker(CallTime(0.0, 0.006), WithinBundle(1), OnCpu())
    found = simulate(Worker(2, model, work, LOCAL_ENGINE), evenly(50, 20), 1)
    assert found.used_s / found.until_s == pytest.approx(50 * 0.01, rel=0.01)


def test_duty_cycle_is_the_time_with_a_call_on_the_gpu() -> None:
    def share(device: OnCpu | OnGpu) -> float:
        model = ModelInWorker(CallTime(0.01, 0.0), WithinBundle(), device)
        found = simulate(Worker(2, model, bundles=LOCAL_ENGINE), evenly(50, 20), 1)
        return found.gpu_s / found.until_s

    assert share(OnGpu()) == pytest.approx(0.5, rel=0.01)
    assert share(OnCpu()) == 0.0


def test_a_key_is_in_one_bundle_at_a_time() -> None:
    model = ModelInWorker(CallTime(1.0, 0.0), WithinBundle(), OnGpu(0.0))
    one_key = Worker(4, model, bundles=Bundles(threads=12, max_messages=1, keys=1))
    no_keys = Worker(4, model, bundles=Bundles(threads=12, max_messages=1))
    assert simulate(one_key, np.zeros(3), 1).done.tolist() == pytest.approx([1.0, 2.0, 3.0])
    assert simulate(no_keys, np.zeros(3), 1).done.tolist() == pytest.approx([1.0, 1.0, 1.0])


def test_few_keys_leave_threads_idle() -> None:
    def rate(keys: int) -> float:
        model = ModelInWorker(CallTime(0.1, 0.0), WithinBundle(), OnGpu(0.0))
        return rate_of_backlog(Worker(4, model, bundles=Bundles(threads=12, max_messages=1, keys=keys)))

    assert rate(3) < 35
    assert rate(1000) > 100


def test_active_bundles_are_limited() -> None:
    model = ModelInWorker(CallTime(0.1, 0.0), WithinBundle(), OnGpu(0.0))
    worker = Worker(4, model, bundles=Bundles(threads=12, max_messages=1, max_active=5))
    assert rate_of_backlog(worker) == pytest.approx(50, rel=0.01)


def test_the_more_comes_in_a_look_the_more_is_done() -> None:
    bundles = Bundles(threads=12, max_messages=1000, gather_s=0.02)
    worker = Worker(4, ModelInWorker(CallTime(0.02, 0.002), WithinBundle(1000), OnGpu()), bundles=bundles)

    def done(rate: float) -> float:
        found = simulate(worker, evenly(rate, 20), 1)
        return len(found.done) / float(found.done.max())

    # Fifty bundles of 20 ms are all of its time; 2 ms of each message come on top.
    assert done(100) == pytest.approx(100 / 1.2, rel=0.02)
    assert done(200) == pytest.approx(200 / 1.4, rel=0.02)


def test_calls_with_pauses_between_them_take_longer() -> None:
    time = CallTime(0.001, 0.0, slow_down=((10.0, 6.0), (1000.0, 1.0)))
    worker = Worker(2, ModelInWorker(time, AcrossBundles()), bundles=LOCAL_ENGINE)
    slow = simulate(worker, evenly(10, 10), 1).latency_s
    between = simulate(worker, evenly(100, 10), 1).latency_s
    assert np.median(slow) == pytest.approx(0.006, rel=0.02)
    assert np.median(between) == pytest.approx(0.0035, rel=0.02)


class TestEndpoint:
    def worker(self, **settings: float) -> Worker:
        calls = EndpointCalls(CallTime(0.1, 0.0), batch_size=4, **settings)  # type: ignore[arg-type]
        return Worker(4, calls, bundles=Bundles(threads=12, max_messages=8))

    def test_a_bundle_is_split_evenly_into_calls_at_once(self) -> None:
        found = simulate(self.worker(at_once=100), np.zeros(6), 1)
        assert (found.batches, found.batch_size) == (2, 3.0)
        assert found.done.tolist() == pytest.approx([0.1] * 6)

    def test_calls_at_once_share_the_endpoint(self) -> None:
        assert rate_of_backlog(self.worker(at_once=2), 2000) == pytest.approx(80, rel=0.02)

    def test_calls_of_a_process_are_limited(self) -> None:
        worker = self.worker(at_once=1000, max_concurrency=3)
        assert rate_of_backlog(worker, 2000) == pytest.approx(120, rel=0.02)

    def test_an_endpoint_that_is_not_full_throttles_nobody(self) -> None:
        found = simulate(self.worker(at_once=4), poisson(40, 20, 1), 1)
        assert found.throttled_s == 0.0

    def test_a_full_endpoint_is_told_to_the_autoscaler(self) -> None:
        worker = self.worker(at_once=2, full_at=4)
        found = simulate(worker, np.zeros(2000), 1, 1e9)
        # Twelve threads, all with a bundle, and most of them waiting for a place.
        assert found.throttled_s > 0.3 * 12 * float(found.done.max())
        assert (found.done > 0).all()

    def full(self, call_s: float, deadline_s: float) -> Worker:
        """Return a worker whose second process finds the endpoint full of the first one's call."""
        calls = EndpointCalls(CallTime(call_s, 0.0), batch_size=1, full_at=1, deadline_s=deadline_s)
        return Worker(4, calls, bundles=Bundles(threads=1, max_messages=1), processes=2)

    def test_pauses_between_attempts_are_throttled_time(self) -> None:
        found = simulate(self.full(call_s=2.0, deadline_s=120.0), np.zeros(2), 1)
        first, second = sorted(found.done.tolist())
        assert first == pytest.approx(2.0)
        # All that the second took, but its own two seconds and the refusals, of 5 ms each.
        assert found.throttled_s == pytest.approx(second - 2.0, rel=0.05)

    def test_calls_that_are_given_up_begin_again(self) -> None:
        # Given up after a second, the bundle comes again ten later, and is tried until the first has ended.
        found = simulate(self.full(call_s=11.3, deadline_s=1.0), np.zeros(2), 1)
        first, second = sorted(found.done.tolist())
        assert first == pytest.approx(11.3)
        assert 2 * 11.3 <= second < 2 * 11.3 + 2


def test_no_message_is_refused() -> None:
    with pytest.raises(ValueError, match="needs a message"):
        simulate(Worker(4, ModelInWorker(CALL, AcrossBundles())), np.empty(0), 1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"vcpus": 0}, "vcpus=0 must be above 0"),
        ({"processes": 0}, "processes=0 must be 1 or more"),
        ({"bundles": Bundles(keys=0)}, "keys=0 must be 1 or more"),
        ({"model": ModelInWorker(CallTime(0.0, 0.0), AcrossBundles())}, "must take some time"),
    ],
)
def test_a_worker_that_cannot_be(change: dict[str, object], said: str) -> None:
    settings: dict[str, object] = {"vcpus": 4, "model": ModelInWorker(CALL, AcrossBundles())} | change
    with pytest.raises(ValueError, match=said):
        Worker(**settings)  # type: ignore[arg-type]
