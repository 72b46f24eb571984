"""The search, with loads of a queue whose limit is known."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from loadtest.endpoint import rates
from loadtest.endpoint.calls import Calls
from loadtest.endpoint.rates import Degradation, HttpProbes, Load, search_rate, tightest_latency
from loadtest.interrupt import Stop
from loadtest.search.answer import Settings
from loadtest.search.objectives import Tier
from loadtest.search.probes import Probe
from tests.loadtest.endpoint.conftest import bodies, call
from tests.loadtest.endpoint.made_calls import START, queue
from tests.loadtest.endpoint.server import KnownEndpoint
from tests.waiting import LIMIT_S

SERVICE_S = 0.002  # one worker: 500 calls a second
TIER = Tier.parse("p99<20ms")


async def at_queue(probe: Probe) -> Calls:
    return queue(probe.rate, SERVICE_S, probe.seconds, probe.seed)


def search(load: Load) -> tuple[Degradation, list[str]]:
    said: list[str] = []
    wanted = Settings(start=50.0, probe_s=15.0, probe_max_s=30.0)
    found = asyncio.run(search_rate(load, TIER, wanted, 8, said.append, Stop()))
    return found, said


def test_the_limit_of_a_known_queue_is_found() -> None:
    """An M/D/1 queue: by 4,000 s of it, its p99 is 19.0 ms at 380 calls a second, and 20.8 at 390."""
    found, said = search(at_queue)
    boundary = found.boundary
    assert found.ended == ""
    assert boundary.claim is not None
    assert 0.9 * 386 < boundary.claim < 1.01 * 386
    assert boundary.infeasible_min is not None
    assert boundary.infeasible_min > boundary.claim
    assert len(said) == len(found.probes) == boundary.probes
    assert said[0].startswith("search: probe 1, bracket, 50 calls/s for 3.75 s")
    assert "; 50 passed" in said[1]
    assert [probe.passed for probe in found.probes].count(None) == 0


def test_a_driver_that_is_late_ends_the_search() -> None:
    async def late(probe: Probe) -> Calls:
        calls = await at_queue(probe)
        return replace(calls, sent_at=calls.intended + 0.05)

    found, _ = search(late)
    assert found.invalid
    assert "the driver sent late" in found.ended
    assert [probe.passed for probe in found.probes] == [None, None, None]
    assert found.boundary.claim is None
    assert found.boundary.probes == 0  # none of it was believed


def test_a_driver_that_was_late_once_tries_again() -> None:
    tried: list[Probe] = []
    said: list[str] = []
    stop = Stop()

    async def late_at_first(probe: Probe) -> Calls:
        tried.append(probe)
        if len(tried) == 3:
            stop.end("enough")
        calls = await at_queue(probe)
        return replace(calls, sent_at=calls.intended + 0.05) if len(tried) == 1 else calls

    found = asyncio.run(search_rate(late_at_first, TIER, Settings(50.0), 1, said.append, stop))
    assert tried[0] == tried[1] != tried[2]
    assert not found.invalid
    assert [probe.passed for probe in found.probes] == [None, True]
    assert said[1].endswith("; the driver was late")


def test_refusals_are_the_limit_of_an_endpoint_that_refuses() -> None:
    """It answers at once up to 300 calls a second, and refuses what is above, at once as well."""

    async def refusing(probe: Probe) -> Calls:
        calls = queue(probe.rate, 1e-4, probe.seconds, probe.seed)
        allowed = (calls.intended - START) * 300 + 20
        failures, count = calls.failures.copy(), 0
        for number, most in enumerate(allowed.tolist()):
            if count < most:
                count += 1
            else:
                failures[number] = "429"
        return replace(calls, failures=failures, reasons={"429": "full"})

    found, _ = search(refusing)
    claim = found.boundary.claim
    assert claim is not None
    assert 0.8 * 300 < claim < 1.02 * 300
    failed = [probe for probe in found.probes if not probe.passed]
    assert failed
    assert all("429" in probe.figures.failures for probe in failed)


def test_a_stop_ends_the_search() -> None:
    stop = Stop()

    async def stopped(probe: Probe) -> Calls:
        stop.end("interrupted")
        return await at_queue(probe)

    found = asyncio.run(search_rate(stopped, TIER, Settings(50.0), 1, lambda text: None, stop))
    assert (found.ended, found.invalid, found.probes) == ("interrupted", False, ())


@pytest.mark.parametrize(("tier", "seconds"), [("p99<250ms,p50<20ms", 0.02), ("errors=0", None)])
def test_the_tightest_latency(tier: str, seconds: float | None) -> None:
    assert tightest_latency(Tier.parse(tier)) == seconds


def test_a_probe_is_a_poisson_process_of_its_seed(
    endpoint: KnownEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "WARM_UP_S", 0.1)
    kept: list[str] = []

    def load(seed: int) -> Calls:
        return call(
            endpoint.url,
            lambda caller: HttpProbes(
                caller, bodies(2), max_connections=8, alone_s=LIMIT_S, tier=TIER, stop=Stop(),
                watch=lambda due, recorder: None, keep=lambda name, calls: kept.append(name),
            ).load(Probe(200.0, 0.1, seed, "bracket")),
        )  # fmt: skip

    first, again, other = load(1), load(1), load(2)
    assert (first.intended - first.start).tolist() == (again.intended - again.start).tolist()
    assert len(first) != len(other) or (first.intended - first.start != other.intended - other.start).any()
    assert first.warmup == 0.1
    assert first.duration == pytest.approx(0.2)
    assert set(endpoint.rows) == {2}
    assert kept == ["probe-01"] * 3
