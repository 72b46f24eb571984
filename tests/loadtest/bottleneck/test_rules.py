"""Each rule at its borders, and the order of the table."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from loadtest.bottleneck.diagnose import diagnose
from loadtest.bottleneck.diagnosis import Limit
from loadtest.bottleneck.evidence import Evidence
from loadtest.bottleneck.rules import RULES
from tests.loadtest.bottleneck.evidences import GROWING, SLOW, stages

Changes = dict[str, Any]

# Half of a latency of which nothing is queue, and a little less.
_HALF, _LESS = 0.5, 0.49
_WAIT, _WAITS_LESS = stages(0.5, 0.25, 0.25), stages(0.49, 0.26, 0.25)
_CALL, _CALLS_LESS = stages(0.25, 0.5, 0.25), stages(0.26, 0.49, 0.25)
_LOCAL: Changes = {"bundles_limit": 1, "model_limit": 1}
_IDLE: Changes = {"model_calls": 1.0, "model_limit": 8, "worker_utilisation": 0.2}
_ONES: Changes = {**_LOCAL, "model_calls": 0.3, "batch_size": 1.0, "batch_limit": 1}
_CALLS: Changes = {"endpoint_calls": 1.0}
_FIXED: Changes = {"fixed_share": 0.5, "batch_size": 26.0, "batch_limit": 32}
_MODEL: Changes = {**_LOCAL, "model_calls": 0.5}
_CLOUD_MODEL: Changes = {"model_calls": 6.4, "model_limit": 8}

# What is named at the border, what is at it, and what is a little less of it, for which nothing is named.
BORDERS: tuple[tuple[Limit, Changes, Changes], ...] = (
    ("driver", {"achieved": 0.989}, {"achieved": 0.99}),
    ("driver", {"late_s": 0.5}, {"late_s": 0.49}),
    ("driver", {"late_s": 0.0051, "latency_s": 0.0102}, {"late_s": 0.005, "latency_s": 0.01}),
    ("endpoint capacity (429)", {"throttled": 0.1}, {"throttled": 0.099}),
    (
        "endpoint capacity (429)",
        {"endpoint_calls": 2.0, "refused": 0.1},
        {"endpoint_calls": 2.0, "refused": 0.099},
    ),
    # 10 calls in flight of each process: its limit is lowered at each 67th.
    (
        "endpoint capacity (429)",
        {"endpoint_calls": 20.0, "processes": 2, "refused": 0.015},
        {"endpoint_calls": 20.0, "processes": 2, "refused": 0.0149},
    ),
    ("decode", {**_LOCAL, "decoding": 0.5}, {**_LOCAL, "decoding": 0.49}),
    ("decode", {"decoding": 0.1, **_WAIT}, {"decoding": 0.1, **_WAITS_LESS}),
    ("decode", {**_CALLS, "job_cores": 0.85, **_WAIT}, {**_CALLS, "job_cores": 0.84, **_WAIT}),
    (
        "decode",
        {**_CALLS, "worker_utilisation": 0.8, **_WAIT},
        {**_CALLS, "worker_utilisation": 0.79, **_WAIT},
    ),
    (
        "decode",
        {"model_limit": 8, "job_cores": 0.85, **_WAIT},
        {"model_limit": 8, "job_cores": 0.84, **_WAIT},
    ),
    ("batching", {**_MODEL, **_FIXED}, {**_MODEL, **_FIXED, "model_calls": 0.49}),
    ("batching", {**_CLOUD_MODEL, **_FIXED}, {**_CLOUD_MODEL, **_FIXED, "model_calls": 6.3}),
    ("batching", {**_IDLE, **_WAIT}, {**_IDLE, **_WAITS_LESS}),
    ("batching", {**_IDLE, **_WAIT, "model_calls": 6.3}, {**_IDLE, **_WAIT, "model_limit": None}),
    (
        "batching",
        {**_IDLE, **_WAIT, "worker_utilisation": 0.79},
        {**_IDLE, **_WAIT, "worker_utilisation": None},
    ),
    # 1,250 batches of one a second, 0.4 ms each.
    ("batching", {**_ONES, "answered": 1250.0}, {**_ONES, "answered": 1249.0}),
    (
        "batching",
        {**_ONES, "answered": 2500.0, "batch_size": 1.6, "batch_limit": 2},
        {**_ONES, "answered": 2500.0, "batch_size": 1.59, "batch_limit": 2},
    ),
    ("model compute", _MODEL, {**_MODEL, "model_calls": 0.49}),
    ("model compute", _CLOUD_MODEL, {**_CLOUD_MODEL, "model_calls": 6.39}),
    ("model compute", {**_MODEL, "model_calls": 0.1, **_CALL}, {**_MODEL, "model_calls": 0.1, **_CALLS_LESS}),
    ("endpoint latency", {"waiting": 0.5}, {"waiting": 0.49}),
    (
        "endpoint latency",
        {"endpoint_calls": 25.6, "endpoint_limit": 32},
        {"endpoint_calls": 25.5, "endpoint_limit": 32},
    ),
    ("endpoint latency", {"endpoint_calls": 1.0, **_CALL}, {"endpoint_calls": 1.0, **_CALLS_LESS}),
    ("broker", {"broker_cores": 0.85}, {"broker_cores": 0.84}),
    ("broker", stages(0.25, 0.25, 0.5), stages(0.26, 0.25, 0.49)),
    (
        "workers",
        {**GROWING, "workers": 2.0, "target_workers": 2.1},
        {**GROWING, "workers": 2.0, "target_workers": 2.0},
    ),
    (
        "workers",
        {"workers": 4.0, "most_workers": 4, "upscale_decisions": 1},
        {"workers": 4.0, "most_workers": 4, "upscale_decisions": 0},
    ),
    (
        "workers",
        {"workers": 4.0, "most_workers": 4, "upscale_decisions": 1},
        {"workers": 3.9, "most_workers": 4, "upscale_decisions": 1},
    ),
    ("workers", {"job_cores": 0.85}, {"job_cores": 0.84}),
    ("workers", {"worker_utilisation": 0.8}, {"worker_utilisation": 0.79, "job_cores": 2.0}),
    (
        "workers",
        {"job_cores": 0.8, "driver_cores": 0.4, "broker_cores": 0.4, "cpus": 2},
        {"job_cores": 0.8, "driver_cores": 0.4, "broker_cores": 0.39, "cpus": 2},
    ),
)  # fmt: skip


@pytest.mark.parametrize(("limit", "at", "below"), BORDERS)
def test_borders(limit: Limit, at: Changes, below: Changes) -> None:
    assert diagnose(replace(SLOW, **at)).limit == limit
    if replace(SLOW, **below).latency_s > SLOW.latency_limit_s:
        assert diagnose(replace(SLOW, **below)).limit == "none"


@pytest.mark.parametrize("limit", sorted({rule.limit for rule in RULES}))
def test_each_limit_has_a_border(limit: Limit) -> None:
    assert limit == "none" or limit in {named for named, _, _ in BORDERS}


def test_a_run_that_keeps_up_and_answers_soon_has_no_limit_however_busy_it_is() -> None:
    busy = {"decoding": 0.9, "broker_cores": 1.0, "job_cores": 1.0, **_WAIT}
    at = replace(SLOW, latency_s=0.1, growth=0.05, **busy)
    assert diagnose(at).limit == "none"
    assert [fact.what for fact in diagnose(at).because] == [
        "growth of the backlog over the rate",
        "latency, mean",
    ]
    assert diagnose(replace(at, latency_s=0.101)).limit == "decode"
    assert diagnose(replace(at, growth=0.051)).limit == "decode"


def test_an_unknown_growth_is_no_steady_backlog() -> None:
    assert diagnose(replace(SLOW, latency_s=0.01, growth=None, broker_cores=0.9)).limit == "broker"


def test_busy_processors_are_the_models_where_nobody_knows_how_busy_that_is() -> None:
    busy = replace(SLOW, **GROWING, **_WAIT, worker_utilisation=0.95)
    assert diagnose(replace(busy, model_calls=3.0)).limit == "workers"
    assert diagnose(replace(busy, model_calls=3.0, model_limit=8)).limit == "decode"
    assert diagnose(busy).limit == "workers"


def test_where_nothing_is_known_nothing_is_named() -> None:
    found = diagnose(SLOW)
    assert found.limit == "none"
    assert found.because
    assert found.expected is None
    assert "nothing known stands out" in found.change.text


@pytest.mark.parametrize(
    ("limit", "changes"),
    [
        # Bundles of seconds: what is published at their end has waited for the rest of them.
        ("decode", {**_LOCAL, "decoding": 0.99, "job_cores": 0.98, **stages(0.63, 0.0006, 1.7)}),
        ("model compute", {**_LOCAL, "model_calls": 0.97, "job_cores": 0.95, **stages(0.008, 0.74, 0.92)}),
        (
            "endpoint latency",
            {"waiting": 0.97, "endpoint_calls": 1.6, "endpoint_limit": 2, **stages(0.03, 0.1, 6.8)},
        ),
        # The driver comes before all, refusals before the latency that they lengthen.
        ("driver", {"achieved": 0.5, "throttled": 0.9, "decoding": 0.9}),
        ("endpoint capacity (429)", {"throttled": 0.9, "waiting": 0.9, "endpoint_calls": 12.0, **_CALL}),
        # A batch wait is no decoding where processors are idle.
        ("batching", {"model_calls": 0.1, "model_limit": 8, "worker_utilisation": 0.2, **_WAIT}),
        # With the model behind an endpoint, it may be a wait for one of its slots.
        ("endpoint latency", {"endpoint_calls": 2.0, "endpoint_limit": 2, "job_cores": 0.1, **_WAIT}),
        # A broker that keeps a core busy holds the job up, and a job at its own core makes answers late.
        ("broker", {"broker_cores": 0.95, "job_cores": 0.95}),
        ("workers", {"job_cores": 0.95, **stages(0.2, 0.2, 0.6)}),
    ],
)
def test_order(limit: Limit, changes: Changes) -> None:
    assert diagnose(replace(SLOW, **GROWING, **changes)).limit == limit


def test_a_model_that_is_busy_with_fixed_costs_in_small_batches_needs_larger_ones() -> None:
    small = replace(SLOW, **_MODEL, **_FIXED)
    assert diagnose(small).limit == "batching"
    # With room for more in a batch, a local job has no more to put into it.
    assert diagnose(replace(small, batch_size=25.0)).limit == "model compute"
    assert diagnose(replace(small, fixed_share=0.49)).limit == "model compute"
    assert diagnose(replace(small, fixed_share=None)).limit == "model compute"


def test_slots_are_full_for_less_where_bundles_wait_for_the_last_of_their_calls() -> None:
    # Of two calls that start together, 1 / (1 + 1/2) of the slots are taken on average.
    local = replace(SLOW, waiting=0.9, endpoint_limit=2, bundles_limit=1, batch_size=2.0, inference_s=0.1)
    assert diagnose(replace(local, endpoint_calls=1.34)).change.flags
    assert not diagnose(replace(local, endpoint_calls=1.33)).change.flags


def test_facts_say_what_they_are_held_against() -> None:
    [fact] = diagnose(replace(SLOW, **_LOCAL, decoding=0.75)).because
    assert (fact.value, fact.unit, fact.relation, fact.bound) == (0.75, "1", "at least", 0.5)


def test_every_rule_says_why_it_stands_there() -> None:
    assert all(rule.here for rule in RULES)


def test_shares_are_of_the_latency_without_the_queue() -> None:
    found: Evidence = replace(SLOW, queue_s=100.0, **_WAIT)
    assert found.share(found.batch_wait_s) == 0.5
    assert replace(found, rest_s=None).share(0.5) is None
    assert replace(found, **stages(0, 0, 0)).share(0.5) is None
