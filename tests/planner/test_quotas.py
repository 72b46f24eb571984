from __future__ import annotations

import datetime

import pytest

from planner.quotas import HEADROOM, Demand, advice, breaking, read_quotas

SMALL = Demand(per_worker=1_000, in_bytes=100, out_bytes=100)


def test_the_first_limit_comes_first() -> None:
    found = breaking(2e6, SMALL)
    assert [each.limit.name for each in found][:2] == ["workers_per_job", "publish_bytes"]
    assert found[0].rate == pytest.approx(1e6)
    assert [each.rate for each in found] == sorted(each.rate for each in found)
    # 2 million over 1 million each, of which 80 % are used: 3 parts.
    assert found[0].shards == 3
    assert all(2e6 / each.shards <= HEADROOM * each.rate for each in found if each.shards > 1)


def test_large_messages_break_pubsub_first() -> None:
    assert breaking(1e5, Demand(1_000, 10_000, 1_000))[0].limit.name == "publish_bytes"


def test_a_hot_key_and_a_hot_worker_break_sooner() -> None:
    hot = Demand(1_000, 500, 100, hottest_key_share=0.2)
    assert breaking(1e5, hot)[0].limit.name == "ordering_key_bytes"
    assert breaking(1e5, hot)[0].rate == pytest.approx(10_000)
    even, uneven = (
        next(each for each in breaking(1, of) if each.limit.name == "workers_per_job")
        for of in (SMALL, Demand(1_000, 100, 100, hottest_worker=1.25))
    )
    assert uneven.rate == pytest.approx(even.rate / 1.25)


def test_advice_names_what_breaks_with_its_date_and_what_to_do() -> None:
    lines = advice(2e6, SMALL)
    assert lines[0].startswith("workers of one job: 1,000 workers (2026-03-03) end at 1,000,000 messages/s")
    assert "3 parts: several jobs on subscriptions of one topic" in lines[0]
    assert "not verified" in lines[1]
    assert advice(1_000, SMALL) == []


def test_replicas_count_in_endpoint_mode_only() -> None:
    assert "endpoint_replicas" not in {each.limit.name for each in breaking(1, SMALL)}
    with_endpoint = Demand(1_000, 100, 100, per_replica=50)
    assert "endpoint_replicas" in {each.limit.name for each in breaking(1, with_endpoint)}


def test_each_limit_has_a_date_a_source_and_a_remedy() -> None:
    for limit in read_quotas().values():
        assert isinstance(limit.date, datetime.date)
        assert limit.source
        assert limit.remedy
        assert limit.value > 0
