from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest

from loadtest.bottleneck.diagnose import diagnose
from loadtest.bottleneck.diagnosis import Limit
from loadtest.bottleneck.remedies import REMEDIES
from tests.loadtest.bottleneck.evidences import GROWING, SLOW, stages

Changes = dict[str, Any]


def test_each_limit_has_one() -> None:
    assert set(REMEDIES) == set(get_args(Limit))


@pytest.mark.parametrize(
    ("changes", "flags", "figure", "value"),
    [
        # A quarter of 100 a second was sent; two drivers send half.
        ({"achieved": 0.25}, ("--drivers=2",), "rate", 50.0),
        ({"achieved": 0.75, "drivers": 3}, ("--drivers=6",), "rate", 100.0),
        ({"late_s": 0.9}, ("--drivers=2",), "latency", 0.1),
        ({**GROWING, "answered": 40.0, "throttled": 0.9}, ("--min-replicas=2",), "rate", 80.0),
        ({**GROWING, "throttled": 0.9, "replicas": 3.0}, ("--min-replicas=6",), "rate", 100.0),
        # All of the time is decoding: twice as fast, it is half, and the rate doubles.
        ({**GROWING, "answered": 40.0, "decoding": 1.0, "batch_wait_s": 0.1}, (), "rate", 80.0),
        ({**GROWING, "answered": 60.0, "decoding": 0.5, "batch_wait_s": 0.1}, (), "rate", 80.0),
        ({"decoding": 0.5, "batch_wait_s": 0.4}, (), "latency", 0.8),
        ({"decoding": 0.5, "batch_wait_s": 0.4, "workers": 1.5}, ("--max_num_workers=4",), "latency", 0.8),
        # 8 ms of a call of 10 ms for 32 requests are fixed: with 128 requests, 2 + 2 ms for 32.
        (
            {
                **GROWING, "answered": 30.0, "model_calls": 0.9, "model_limit": 1, "fixed_share": 0.8,
                "batch_size": 32.0, "batch_limit": 32, "bundles_limit": 1,
            },
            ("--max_batch_size=128",), "rate", 75.0,
        ),
        (
            {"model_calls": 1.0, "model_limit": 8, "worker_utilisation": 0.2, **stages(0.6, 0.2, 0.2)},
            ("--max_batch_wait_ms=0",), "latency", 0.4,
        ),
        (
            {**GROWING, "answered": 30.0, "model_calls": 1.0, "model_limit": 1, "inference_s": 0.3},
            ("--compile=true",), "rate", 60.0,
        ),
        # 0.4 ms of each of 2,000 batches a second are its hand-over: of a quarter as many, a quarter.
        (
            {
                "growth": 0.5, "offered": 9000.0, "answered": 2000.0, "model_calls": 0.2, "model_limit": 1,
                "bundles_limit": 1, "batch_size": 1.0, "batch_limit": 1,
            },
            ("--max_batch_size=4",), "rate", 5000.0,
        ),
        ({"model_calls": 0.1, **stages(0.1, 0.6, 0.1)}, ("--compile=true",), "latency", 0.7),
        (
            {**GROWING, "answered": 30.0, "model_calls": 8.0, "model_limit": 8, "most_workers": 2},
            ("--max_num_workers=4",), "rate", 60.0,
        ),
        # 100 a second in calls of 2 that take 0.2 s: 10 in flight, of 12.5 that there are to be.
        (
            {
                **GROWING, "waiting": 0.9, "endpoint_calls": 2.0, "endpoint_limit": 2, "bundles_limit": 1,
                "batch_size": 2.0, "inference_s": 0.2,
            },
            ("--endpoint_max_concurrency=13",), "rate", 100.0,
        ),
        ({"endpoint_calls": 1.0, "endpoint_limit": 32, **stages(0.1, 0.8, 0.1)}, (), "latency", 0.6),
        ({**GROWING, "answered": 40.0, "waiting": 1.0, "inference_s": 0.5}, (), "rate", 80.0),
        (stages(0.1, 0.1, 0.8), (), "latency", 0.6),
        ({**GROWING, "answered": 30.0, "job_cores": 1.0}, (), "rate", 60.0),
        (
            {**GROWING, "workers": 3.0, "target_workers": 5.0, "most_workers": 5},
            ("--max_num_workers=10",), "rate", 100.0,
        ),
    ],
)  # fmt: skip
def test_changes_and_what_they_should_bring(
    changes: Changes, flags: tuple[str, ...], figure: str, value: float
) -> None:
    found = diagnose(replace(SLOW, **changes))
    assert found.change.flags == flags
    assert found.change.text
    assert found.expected is not None
    assert found.expected.figure == figure
    assert found.expected.value == pytest.approx(value)
    assert found.expected.basis == "extrapolated"
    assert found.expected.formula


def test_the_expectation_stands_beside_what_was_measured() -> None:
    found = diagnose(replace(SLOW, **GROWING, decoding=1.0)).expected
    assert found is not None
    assert (found.now, found.unit, found.at_most) == (50.0, "1/s", True)
    found = diagnose(replace(SLOW, **stages(0.1, 0.1, 0.8))).expected
    assert found is not None
    assert (found.now, found.unit, found.at_most) == (1.0, "s", False)


def test_a_broker_that_is_busy_and_whose_share_nobody_knows_has_no_expectation() -> None:
    assert diagnose(replace(SLOW, broker_cores=1.0)).expected is None
    assert diagnose(replace(SLOW, **GROWING, broker_cores=1.0)).expected is None


def test_a_slow_call_is_the_servers_or_the_ways() -> None:
    slow = replace(SLOW, endpoint_calls=1.0, **stages(0.1, 0.8, 0.1))
    assert "faster model" in diagnose(replace(slow, server_s=0.4)).change.text
    assert "nearer" in diagnose(replace(slow, server_s=0.39)).change.text
    assert "faster model" in diagnose(slow).change.text


def test_a_run_without_a_limit_needs_no_change() -> None:
    found = diagnose(replace(SLOW, latency_s=0.01))
    assert (found.limit, found.change.flags, found.expected) == ("none", (), None)
    assert "search" in found.change.text
