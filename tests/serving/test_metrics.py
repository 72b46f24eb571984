"""What processes count in shared memory, and its sum as text."""

from __future__ import annotations

import os

import pytest

from serving.errors import ERROR_STATUSES, Reason, Refusal
from serving.exchange import Answer
from serving.exposition import exposition
from serving.metrics import ROWS, SECONDS, Metrics
from tests.serving.prometheus import samples


@pytest.fixture
def metrics() -> Metrics:
    created, fd = Metrics.create(workers=2)
    os.close(fd)
    return created


def test_what_one_process_counts_another_reads() -> None:
    metrics, fd = Metrics.create(workers=2)
    others = Metrics(fd)
    os.close(fd)
    others.worker(0).answered(200, None)
    others.worker(1).answered(200, None)
    others.worker(1).answered(503, Reason.QUEUE_FULL)
    others.worker(1).left()
    metrics.supervisor.answered(503, Reason.NOT_READY)
    totals = metrics.totals()
    assert {status: calls for status, calls in totals.calls.items() if calls} == {200: 2, 503: 2}
    failures = {reason: calls for reason, calls in totals.failures.items() if calls}
    assert failures == {Reason.QUEUE_FULL: 1, Reason.NOT_READY: 1, Reason.GONE: 1}


def test_every_error_has_a_reason_that_is_counted(metrics: Metrics) -> None:
    for status in ERROR_STATUSES:
        answer = Answer.of(Refusal(status, "no"))
        metrics.worker(0).answered(answer.status, answer.reason)
    totals = metrics.totals()
    assert sum(totals.failures.values()) == sum(totals.calls.values()) == len(ERROR_STATUSES)


def test_a_process_that_takes_the_place_of_another_goes_on(metrics: Metrics) -> None:
    worker = metrics.worker(1)
    worker.answered(200, None)
    worker.batch(3, 0.1, [0.2])
    worker.now(waiting=5, connections=7)
    worker.model("m@1")
    before = metrics.totals()
    assert (before.waiting, before.connections, before.model_ids) == (5, 7, ["m@1"])
    worker.ended()
    worker.answered(200, None)
    after = metrics.totals()
    assert (after.waiting, after.connections, after.model_ids) == (0, 0, [])
    assert (after.calls[200], after.batch_rows.sum, after.queue_s.sum) == (2, 3, 0.2)


def test_a_batch_is_in_the_bucket_of_its_size_and_all_above(metrics: Metrics) -> None:
    worker = metrics.worker(0)
    for rows in (1, 2, 3, 4, 10**6):
        worker.batch(rows, 0.0, [])
    counts = metrics.totals().batch_rows.counts
    assert counts[:3] == [1, 2, 4]
    assert counts[len(ROWS) - 1 :] == [4, 5]


def test_a_wait_is_counted_for_each_call_and_the_model_once(metrics: Metrics) -> None:
    metrics.worker(0).batch(4, SECONDS[3], [0.0, SECONDS[0], SECONDS[-1] + 1])
    totals = metrics.totals()
    assert (totals.queue_s.counts[0], totals.queue_s.counts[-2:]) == (2, [2, 3])
    assert (totals.compute_s.counts[2:4], totals.compute_s.sum) == ([0, 1], SECONDS[3])


def test_the_models_that_serve(metrics: Metrics) -> None:
    for worker, model_id in ((0, "a@1"), (1, "a@1"), (0, "b@2"), (0, "c@3")):
        metrics.worker(worker).model(model_id)
    assert metrics.totals().model_ids == ["a@1", "c@3"]
    metrics.worker(1).model("ä" * 1000)
    assert metrics.totals().model_ids == ["c@3", "ä" * 256]


def test_the_text_is_what_prometheus_reads(metrics: Metrics) -> None:
    worker = metrics.worker(0)
    worker.answered(200, None)
    worker.answered(413, Reason.TOO_LARGE)
    worker.batch(3, 0.0002, [0.001, 0.3])
    worker.model('a"b\\c\nd@1')
    metrics.supervisor.ready(2)
    metrics.supervisor.restarted()
    found = samples(exposition(metrics.totals()).decode())
    expected = {
        'serving_calls_total{status="200"}': 1,
        'serving_calls_total{status="413"}': 1,
        'serving_calls_total{status="503"}': 0,
        'serving_failures_total{reason="too_large"}': 1,
        "serving_rows_total": 3,
        'serving_batch_rows_bucket{le="2"}': 0,
        'serving_batch_rows_bucket{le="4"}': 1,
        "serving_queue_seconds_sum": 0.301,
        "serving_queue_seconds_count": 2,
        'serving_compute_seconds_bucket{le="0.00025"}': 1,
        "serving_workers_ready": 2,
        "serving_worker_restarts_total": 1,
        r'serving_model_info{model_id="a\"b\\c\nd@1"}': 1,
    }
    assert {key: found[key] for key in expected} == expected


def test_the_reader_of_these_tests_is_strict() -> None:
    head = "# HELP a_total x\n# TYPE a_total counter\n"
    assert samples(head + "a_total 1\n") == {"a_total": 1}
    for wrong in (
        "a_total{b=1} 1\n",
        'a_total{b="\\x"} 1\n',
        "b_total 1\n",
        "a_total 1\na_total 1\n",
        "a_total 1",
    ):
        with pytest.raises(AssertionError):
            samples(head + wrong)
