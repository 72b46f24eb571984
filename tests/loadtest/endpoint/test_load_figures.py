from __future__ import annotations

import numpy as np
import pytest

from loadtest.endpoint.load_figures import figures_of, judge_driver, meets, objective_figures
from loadtest.search.objectives import Figure, Tier
from loadtest.statistics.percentiles import interval, quantile
from tests.loadtest.endpoint.conftest import evenly
from tests.loadtest.endpoint.made_calls import START, made_calls, queue

N = 1_000
FAILED = np.array(["429"] * 20 + [""] * (N - 20))


def test_a_quick_refusal_is_no_fast_answer() -> None:
    calls = made_calls(evenly(N, 0.01), np.full(N, 0.004), failures=FAILED, reasons={"429": "full"})
    figures = figures_of(calls, None)
    assert figures.failures == {"429": 20}
    assert (figures.served, figures.calls) == (980, N)
    assert figures.latency_ms["p50"] == pytest.approx(4.0)
    assert figures.latency_ms["p99"] == pytest.approx(30_000.0)
    # The naive view, beside it, knows nothing of them.
    assert figures.uncorrected_ms["max"] == pytest.approx(3.9)
    assert not meets(calls, Tier.parse("p99<100ms"))
    assert meets(calls, Tier.parse("p50<100ms,errors<=2%,lost=0"))
    assert not meets(calls, Tier.parse("errors<2%"))


def test_a_call_without_an_answer_counts_as_the_time_waited_and_the_deadline_at_least() -> None:
    ended = np.concatenate([[np.nan], START + evenly(N, 0.01)[1:] + 0.004])
    failures = np.array(["given up"] + [""] * (N - 1))
    calls = made_calls(
        evenly(N, 0.01),
        np.full(N, 0.004),
        failures=failures,
        ended_at=ended,
        ended=START + 50,
        deadline_s=5.0,
    )
    assert figures_of(calls, None).latency_ms["max"] == pytest.approx(50_000)
    assert not meets(calls, Tier.parse("lost=0"))
    assert meets(calls, Tier.parse("errors=0"))


def test_latency_counts_from_the_moment_a_call_was_due() -> None:
    """A stall of 2 s in 60 s at a constant rate: by arithmetic a p99 of 1.4 s, and nothing for who waits."""
    due = evenly(6_000, 0.01)
    stalled = (due >= 30) & (due < 32)
    latency = np.where(stalled, 32 - due, 0.004)
    calls = made_calls(due, latency, sent_at=START + np.where(stalled, np.maximum(due, 31.996), due))
    figures = figures_of(calls, None)
    assert figures.latency_ms["p99"] == pytest.approx(1_400, rel=0.02)
    assert figures.uncorrected_ms["p99"] < 10


def test_the_warm_up_is_in_no_figure() -> None:
    latency = np.where(evenly(N, 0.01) < 2, 0.2, 0.004)
    figures = figures_of(made_calls(evenly(N, 0.01), latency, warmup=2.0, duration=10.0), None)
    assert figures.calls == 800
    assert figures.latency_ms["max"] == pytest.approx(4.0)
    assert figures.offered_rate == pytest.approx(100, rel=0.01)
    # Those of the warm-up that are answered after it were served then, too.
    assert figures.served_rate == pytest.approx(100, rel=0.03)


def test_a_driver_that_is_late_makes_a_load_invalid() -> None:
    due = evenly(N, 0.01)
    late = np.where(np.arange(N) % 50, 0.0, 0.006)  # 2 % of the calls, by 6 ms
    calls = made_calls(due, np.full(N, 0.02), sent_at=START + due + late)
    validity = judge_driver(calls, None)
    assert not validity.valid
    assert "sent late: p99 of the schedule error 6.00 ms, at most 5 ms" in validity.reasons[0]


def test_a_tenth_of_the_objective_is_the_limit_where_that_is_less() -> None:
    due = evenly(N, 0.01)
    calls = made_calls(due, np.full(N, 0.02), sent_at=START + due + 0.003)
    assert judge_driver(calls, None).valid
    assert judge_driver(calls, 0.05).valid
    assert not judge_driver(calls, 0.02).valid
    assert judge_driver(calls, 0.02).limit_ms == pytest.approx(2.0)


def test_a_driver_that_falls_behind_has_not_achieved_the_schedule() -> None:
    due = evenly(N, 0.01)
    calls = made_calls(due, np.full(N, 2.0), sent_at=START + due * 1.05, duration=10.0)
    validity = judge_driver(calls, None)
    assert validity.achieved == pytest.approx(0.95, abs=0.01)
    assert "of the schedule in its time, 99% are needed" in validity.reasons[0]


def test_a_wait_for_a_connection_is_the_endpoints() -> None:
    due = evenly(N, 0.01)
    calls = made_calls(due, np.full(N, 3.0), sent_at=START + due + 2.0, waited_s=np.full(N, 2.0))
    assert judge_driver(calls, 0.1).valid
    figures = figures_of(calls, 0.1)
    assert figures.waited == N
    assert figures.latency_ms["p50"] == pytest.approx(3_000)
    assert figures.uncorrected_ms["p50"] == pytest.approx(1_000)


def test_calls_that_pile_up_are_seen() -> None:
    assert figures_of(queue(50, 0.01, 20.0, seed=1), None).stable
    assert not figures_of(queue(120, 0.01, 20.0, seed=1), None).stable


def test_the_longest_retry_after() -> None:
    asked = np.zeros(N)
    asked[:3] = (1, 7, 2)
    calls = made_calls(evenly(N, 0.01), np.full(N, 0.004), failures=FAILED, retry_after_s=asked)
    assert figures_of(calls, None).retry_after_s == 7


def test_the_error_of_a_percentile_is_its_standard_error() -> None:
    calls = queue(400, 0.002, 30.0, 1)
    latency = calls.latency_s[calls.measured]
    found = interval(latency, 0.99)
    assert found is not None
    assert objective_figures(calls, None)["p99"] == Figure(quantile(latency, 0.99), found.standard_error)
