from __future__ import annotations

import math

import pytest

from loadtest.search.objectives import Figure, Objective, ObjectiveError, Tier, parse, parse_failure
from loadtest.search.probes import Breach
from loadtest.statistics.stability import Stability

STABLE = Stability(slope=0.0, relative=0.0, stable=True, detectable_overload=0.02)
GROWING = Stability(slope=5.0, relative=0.05, stable=False, detectable_overload=0.02)


@pytest.mark.parametrize(
    ("text", "objective", "limit"),
    [
        ("p99<250ms", Objective("p99", "<", 250, "ms"), 0.25),
        (" p99.9 <= 1.5s", Objective("p99.9", "<=", 1.5, "s"), 1.5),
        ("lost=0", Objective("lost", "=", 0, ""), 0),
        ("errors<0.1%", Objective("errors", "<", 0.1, "%"), 0.1),
        ("achieved>=99%", Objective("achieved", ">=", 99, "%"), 99),
    ],
)
def test_an_objective_is_read_and_written(text: str, objective: Objective, limit: float) -> None:
    assert parse(text) == objective
    assert objective.limit == pytest.approx(limit)
    assert parse(str(objective)) == objective


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("p99", "no objective: write one as"),
        ("", "no objective"),
        ("p98<5ms", "p98 is unknown: choose p50"),
        ("p99<250", "p99 is in ms or s, not a bare number"),
        ("lost=0ms", "lost is in a bare number or %, not ms"),
        ("p99>250ms", "p99 takes < or <=, not >"),
        ("achieved<99%", "achieved takes > or >="),
        ("p50<0ms", "cannot be below 0"),
    ],
)
def test_what_is_no_objective_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ObjectiveError, match=reason):
        parse(text)


@pytest.mark.parametrize(
    ("text", "objective"),
    [
        ("p99>50ms", "p99<=50ms"),
        ("mean >= 1s", "mean<1s"),
        ("lost>0", "lost<=0"),
        ("errors>=1%", "errors<1%"),
        ("achieved<99%", "achieved>=99%"),
    ],
)
def test_what_fails_is_an_objective_turned_round(text: str, objective: str) -> None:
    assert parse_failure(text) == parse(objective)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("p99<50ms", "p99 takes >= or >, not <"),
        ("lost=0", "lost takes >= or >, not ="),
        ("achieved>=99%", "achieved takes <= or <, not >="),
        ("p99>50", "p99 is in ms or s"),
        ("p99", "is no failure: write one as p99>250ms"),
    ],
)
def test_what_is_no_failure_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ObjectiveError, match=reason):
        parse_failure(text)


def test_counts_are_held_against_the_messages_where_they_are_in_percent() -> None:
    assert parse("lost<1%").met(Figure(9), n=1000)
    assert not parse("lost<1%").met(Figure(10), n=1000)


def test_the_margin_is_that_of_the_worst_latency() -> None:
    tier = Tier.parse("p50<10ms,p99<100ms,lost=0")
    figures = {"p50": Figure(0.005), "p99": Figure(0.09, standard_error=0.009), "lost": Figure(0)}
    found = tier.observe(500, figures, 1000, STABLE)
    assert found.margin == pytest.approx(math.log(0.9))
    assert found.standard_error == pytest.approx(0.1)
    assert (found.passed, found.first_breach, found.n, found.stable) == (True, None, 1000, True)


def test_a_growing_backlog_fails_whatever_the_latency_is_by_then() -> None:
    found = Tier.parse("p99<10s").observe(500, {"p99": Figure(0.1)}, 1000, GROWING)
    assert (found.passed, found.margin) == (False, 1)
    assert found.first_breach == Breach("backlog_slope", "stable", 5)
    far = Tier.parse("p99<10ms").observe(500, {"p99": Figure(0.1)}, 1000, GROWING)
    assert far.margin == pytest.approx(math.log(10) + 1)


def test_a_breached_count_is_a_step() -> None:
    tier = Tier.parse("p99<100ms,lost=0")
    found = tier.observe(500, {"p99": Figure(0.01), "lost": Figure(2)}, 1000, STABLE)
    assert (found.passed, found.margin, found.first_breach) == (False, 1, Breach("lost", "lost=0", 2))
    alone = Tier.parse("lost=0")
    assert alone.observe(500, {"lost": Figure(0)}, 1000, STABLE).margin == -1
    assert alone.observe(500, {"lost": Figure(1)}, 1000, STABLE).margin == 1
