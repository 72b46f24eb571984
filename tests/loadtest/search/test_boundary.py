from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.search.measures import search
from benchmarks.search.systems import CLIFFS, FAINT_CLIFF, NOT_MONOTONE, QUEUE, TIER, System, curve, queue
from loadtest.search.answer import Boundary, Settings
from loadtest.search.boundary import BoundarySearch
from loadtest.search.objectives import Figure
from loadtest.search.probes import Observation, Probe
from loadtest.statistics.stability import Stability


def steps(system: System, settings: Settings, seed: int = 1) -> tuple[list[Probe], Boundary]:
    made, boundary = search(system, settings, seed)
    return [probe for probe, _ in made], boundary


@pytest.mark.slow
@pytest.mark.parametrize("off", [0.01, 100])
def test_the_limit_of_a_queue_is_found_from_a_start_100_times_off(off: float) -> None:
    kinds = []
    for seed in range(40):
        made, found = steps(QUEUE, Settings(off * QUEUE.limit), seed)
        assert found.claim is not None
        assert 0.95 <= found.claim / QUEUE.limit <= 1.01
        assert found.probes == len(made) <= 15
        assert (found.converged, found.non_monotone_warning) == (True, "")
        kinds.append(found.kind)
    # Two of a search's three roots miss by three standard errors now and then: these are estimates, too.
    assert kinds.count("smooth") >= 38


def test_the_steps_are_those_of_the_recipe() -> None:
    probes, found = steps(QUEUE, Settings(QUEUE.limit / 100), seed=3)
    purposes = [probe.purpose for probe in probes]
    assert purposes == ["bracket"] * 5 + ["bisect"] * 4 + ["root"] * 3 + ["confirm", "breach"]
    assert [after.rate / before.rate for before, after in pairwise(probes[:5])] == [4] * 4
    assert {probe.seconds for probe in probes[:5]} == {15}
    root, confirm, breach = probes[-3:]
    assert confirm.seconds == pytest.approx(2 * 60_000 / confirm.rate)
    assert breach.rate == pytest.approx(1.05 * confirm.rate)
    assert len({probe.seed for probe in probes}) == len(probes)
    assert found.claim == confirm.rate
    assert found.infeasible_min == pytest.approx(min(breach.rate, root.rate), rel=0.05)
    assert found.first_breach is not None
    assert found.first_breach.objective == "p99<50ms"
    assert found.seconds == sum(probe.seconds for probe in probes)


@pytest.mark.parametrize("system", CLIFFS, ids=lambda system: system.name)
@pytest.mark.parametrize("off", [0.01, 0.37, 100])
def test_a_cliff_is_a_bracket_that_holds_it(system: System, off: float) -> None:
    for seed in range(10):
        _, found = steps(system, Settings(off * system.limit), seed)
        assert found.kind == "cliff"
        assert found.ci is not None
        assert found.ci[0] <= system.limit <= found.ci[1]
        assert found.claim is not None
        assert 0.95 * system.limit <= found.claim <= system.limit


@pytest.mark.parametrize("start", [1, 33, 100, 500])
def test_a_low_rate_that_is_too_slow_is_flagged_and_left(start: float) -> None:
    low_rates_fail, _ = NOT_MONOTONE
    _, found = steps(low_rates_fail, Settings(start, budget_s=1e9))
    assert found.non_monotone_warning.startswith("not monotone: ")
    assert found.claim is not None
    assert 0.95 <= found.claim / low_rates_fail.limit <= 1


@pytest.mark.parametrize("start", [1, 33, 100, 800, 1600])
def test_a_failing_band_is_flagged_and_its_lower_edge_reported(start: float) -> None:
    _, band = NOT_MONOTONE
    probes, found = steps(band, Settings(start, budget_s=1e9))
    assert found.non_monotone_warning
    assert found.claim is not None
    assert 0.95 <= found.claim / band.limit <= 1
    # Both rates that contradict each other, and the failing one above the first root.
    assert [probe.purpose for probe in probes].count("recheck") == 3


def test_a_failure_by_chance_is_probed_again_and_forgotten() -> None:
    probe_of = QUEUE.measure

    def unlucky(probe: Probe, seed: int) -> Observation:
        if probe.seed == 1:  # the first probe, which is short, of a rate that is none too high
            probe = Probe(970, probe.seconds, probe.seed, probe.purpose)
        return probe_of(probe, seed)

    system = System("a first probe that is disturbed", QUEUE.limit, unlucky)
    probes, found = steps(system, Settings(50))
    assert [probe.purpose for probe in probes[:4]] == ["bracket", "look above", "recheck", "recheck"]
    assert not found.non_monotone_warning
    assert found.claim is not None
    assert 0.95 <= found.claim / QUEUE.limit <= 1.01


def disturbed(seed_of_probe: int, growth: float) -> System:
    """Return the queue with one probe in which something else has stopped it for seconds."""

    def measure(probe: Probe, seed: int) -> Observation:
        if probe.seed == seed_of_probe:
            figures = {"p99": Figure(5.0, 0.5)}
            return TIER.observe(probe.rate, figures, 1000, Stability(growth * probe.rate, growth, False, 0.1))
        return QUEUE.measure(probe, seed)

    return System("disturbed", QUEUE.limit, measure)


@pytest.mark.parametrize("growth", [0.02, 0.5, 1.0])
def test_a_first_probe_that_fails_by_chance_costs_no_long_climb(growth: float) -> None:
    _, found = steps(disturbed(1, growth), Settings(QUEUE.limit / 10))
    assert found.claim is not None
    assert abs(found.claim / QUEUE.limit - 1) <= 0.05
    assert found.converged
    assert found.probes <= 20


@pytest.mark.parametrize("which", [4, 5, 6])
def test_a_middle_that_fails_by_chance_costs_no_long_climb(which: int) -> None:
    probes, _ = steps(QUEUE, Settings(QUEUE.limit / 10))
    assert probes[which - 1].purpose == "bisect"
    _, found = steps(disturbed(which, 0.05), Settings(QUEUE.limit / 10))
    assert found.claim is not None
    assert abs(found.claim / QUEUE.limit - 1) <= 0.05
    assert found.converged
    assert found.probes <= 20


@pytest.mark.parametrize("disturbed", [{5}, {4, 5}, {8}])
def test_a_driver_that_is_late_by_chance_is_no_limit(disturbed: set[int]) -> None:
    """A rate that the driver could not send is tried again before the search settles below it."""
    search = BoundarySearch(Settings(QUEUE.limit / 100, seed=4))
    made = 0
    while (probe := search.next()) is not None:
        made += 1
        if made in disturbed:
            search.unreachable(probe)
        else:
            search.observe(probe, QUEUE.measure(probe, 3))
    found = search.boundary()
    assert found.converged
    assert found.claim is not None
    assert 0.95 <= found.claim / QUEUE.limit <= 1.01
    assert made <= 25


@pytest.mark.slow
@pytest.mark.parametrize("service_rate", [200, 300])
def test_few_messages_rarely_claim_too_much(service_rate: float) -> None:
    system = queue(service_rate)
    claims = [
        steps(system, Settings(system.limit / 100, probe_max_s=60), seed)[1].claim for seed in range(40)
    ]
    assert sum(claim is None or claim > 1.01 * system.limit for claim in claims) <= 2


@pytest.mark.parametrize("seed", [0, 2, 3])
def test_a_rate_that_passes_twice_by_chance_is_no_claim(seed: int) -> None:
    """Two passes just within the objective weigh less than all the other probes."""
    lucky: set[float] = set()

    def measure(probe: Probe, of_search: int) -> Observation:
        if probe.purpose == "breach" and not lucky:
            lucky.add(probe.rate)
        if probe.rate in lucky:
            n = round(probe.rate * probe.seconds)
            return TIER.observe(probe.rate, {"p99": Figure(0.049, 0.007)}, n, Stability(0, 0, True, 0.02))
        return QUEUE.measure(probe, of_search)

    _, found = steps(System("lucky", QUEUE.limit, measure), Settings(QUEUE.limit / 10), seed)
    assert lucky
    assert found.claim is not None
    assert found.claim <= 1.01 * QUEUE.limit < min(lucky)
    assert found.converged


def test_a_single_failure_below_two_passes_is_probed_again() -> None:
    """A failure by chance below a faint cliff does not cost the answer."""
    for seed in range(40):
        _, found = steps(FAINT_CLIFF, Settings(FAINT_CLIFF.limit / 100), seed)
        assert found.claim is not None
        assert 0.95 <= found.claim / FAINT_CLIFF.limit <= 1


def test_few_messages_widen_the_margin() -> None:
    probes, found = steps(queue(300), Settings(2, probe_max_s=60))
    confirmed = next(probe for probe in probes if probe.purpose == "confirm")
    assert found.detectable_overload is not None
    assert found.detectable_overload > 0.04
    assert found.root is not None
    assert confirmed.rate < 0.97 * found.root
    assert max(probe.seconds for probe in probes) == 60


def test_the_budget_ends_the_search_with_what_is_known() -> None:
    probes, found = steps(QUEUE, Settings(QUEUE.limit / 100, budget_s=300))
    assert sum(probe.seconds for probe in probes) <= 300
    assert not found.converged
    assert "budget of 300 s" in found.convergence_reason
    assert found.claim is None
    assert found.feasible_max is not None
    assert found.feasible_max <= QUEUE.limit <= (found.infeasible_min or 0)


@pytest.mark.parametrize(("p99_s", "way"), [(1.0, "down fails"), (0.001, "up passes")])
def test_without_a_boundary_it_says_so(p99_s: float, way: str) -> None:
    _, found = steps(curve("flat", 0.0, lambda rate: p99_s), Settings(100, budget_s=1e9))
    assert way in found.convergence_reason
    assert found.claim is None


def test_another_probe_than_asked_for_is_refused() -> None:
    asked = BoundarySearch(Settings(100))
    probe = asked.next()
    assert probe is not None
    assert asked.next() == probe
    other = Probe(99, probe.seconds, probe.seed, probe.purpose)
    with pytest.raises(ValueError, match="was not asked for"):
        asked.observe(other, QUEUE.measure(other, 1))
