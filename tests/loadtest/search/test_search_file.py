from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from benchmarks.search.queues import mm1
from loadtest.search.answer import Settings
from loadtest.search.objectives import Figure, Tier
from loadtest.search.probes import Observation, Probe
from loadtest.search.search_file import SEARCH, SearchFileError, resume, write
from loadtest.search.tiers import TiersSearch
from loadtest.statistics.percentiles import interval, quantile
from loadtest.statistics.stability import judge

TIERS = [Tier.parse("p99<50ms,lost=0"), Tier.parse("p99<10ms"), Tier.parse("p99<200ms")]


def measure(probe: Probe) -> list[Observation]:
    served = mm1(probe.rate, 1000, probe.seconds, probe.seed)
    found = interval(served.latency, 0.99)
    assert found is not None
    figures = {"p99": Figure(quantile(served.latency, 0.99), found.standard_error), "lost": Figure(0)}
    stability = judge(served.arrived, served.left, 0, probe.seconds)
    return [tier.observe(probe.rate, figures, len(served.arrived), stability) for tier in TIERS]


def run(search: TiersSearch, path: Path, probes: int = 1000) -> TiersSearch:
    for _ in range(probes):
        probe = search.next()
        if probe is None:
            break
        search.observe(probe, measure(probe))
        write(path, search)
    return search


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", [1, 8, 13])
def test_an_interrupted_search_ends_as_an_uninterrupted_one(tmp_path: Path, interrupted: int) -> None:
    settings = Settings(20, probe_s=5, probe_max_s=10)
    whole = run(TiersSearch(TIERS, settings), tmp_path / "whole.json")
    run(TiersSearch(TIERS, settings), tmp_path / SEARCH, interrupted)
    search = resume(tmp_path / SEARCH)
    assert len(search.history) == interrupted
    run(search, tmp_path / SEARCH)
    assert search.boundaries() == whole.boundaries()
    assert (tmp_path / SEARCH).read_bytes() == (tmp_path / "whole.json").read_bytes()


@pytest.mark.slow
def test_tiers_share_their_probes(tmp_path: Path) -> None:
    search = run(TiersSearch(TIERS, Settings(20, probe_max_s=90, budget_s=1e9)), tmp_path / SEARCH)
    limits = [1000 - 4.605 / p99_s for p99_s in (0.05, 0.01, 0.2)]
    for boundary, limit in zip(search.boundaries(), limits, strict=True):
        assert boundary.claim is not None
        assert 0.9 <= boundary.claim / limit <= 1.01
    brackets = [probe for probe, _ in search.history if probe.purpose == "bracket"]
    assert len({probe.rate for probe in brackets}) == len(brackets) == 4  # those of the first tier alone


def test_observations_are_one_for_each_tier() -> None:
    search = TiersSearch(TIERS, Settings(20))
    probe = search.next()
    assert probe is not None
    with pytest.raises(ValueError, match="1 observations for 3 tiers"):
        search.observe(probe, measure(probe)[:1])


def test_a_file_that_is_no_search_is_refused(tmp_path: Path) -> None:
    path = tmp_path / SEARCH
    with pytest.raises(SearchFileError, match="is missing"):
        resume(path)
    path.write_text("{}")
    with pytest.raises(SearchFileError, match="no search that can go on"):
        resume(path)
    run(TiersSearch(TIERS, Settings(20)), path, 2)
    content = orjson.loads(path.read_bytes())
    content["probes"][1]["probe"]["rate"] = 81
    path.write_bytes(orjson.dumps(content))
    with pytest.raises(SearchFileError, match="was not asked for"):
        resume(path)
    path.write_bytes(orjson.dumps(content | {"version": 1}))
    with pytest.raises(SearchFileError, match="its version is 1, not 2"):
        resume(path)
