"""The search of a made queue on the page."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lab.__main__ import main
from loadtest.analysis.analyse import analyse
from loadtest.analysis.settings import Settings
from loadtest.report.limit_section import limit_section
from loadtest.report.page import to_html
from loadtest.report.search_section import Searched, search_sections
from loadtest.search import search_file
from loadtest.search.answer import Settings as SearchSettings
from loadtest.search.objectives import Tier
from loadtest.search.probes import Breach, Observation
from loadtest.search.tiers import TiersSearch
from tests.loadtest.made_log import Load, System, made_log

LIMIT = 1_000 - math.log(100) / 0.05  # of M/M/1 with 1,000/s: p99 is 50 ms there


def searched(most_probes: int = 100) -> TiersSearch:
    search = TiersSearch([Tier.parse("p99<50ms")], SearchSettings(start=9))
    while (probe := search.next()) and len(search.history) < most_probes:
        p99 = math.log(100) / max(1_000 - probe.rate, 0.5)
        margin = math.log(p99 / 0.05)
        breach = None if margin < 0 else Breach("p99", "p99<50ms", p99)
        n = int(probe.rate * probe.seconds)
        search.observe(probe, [Observation(probe.rate, margin, 0.01, margin < 0, n, True, 0.0, breach)])
    return search


def test_the_answer_says_the_rate_what_fails_and_what_is_extrapolated() -> None:
    (section,) = search_sections(searched())
    assert section.outcome == "found"
    assert section.headline.startswith("The system sustains ")
    assert section.headline.endswith("/s within p99<50ms.")
    assert "asked for p99<50ms" in section.sentences[0]
    basis = {shown.label: shown.basis for shown in section.figures}
    assert basis["confirmed rate"] == "measured"
    assert basis["where the fit crosses the objective"] == "extrapolated"
    assert len(section.rows) == len(searched().history)


def test_the_charts_have_every_probe_and_the_fit_crosses_at_the_limit() -> None:
    margins, path = search_sections(searched())[0].charts
    assert len(path.places) == len(searched().history)
    fit = next(line for line in margins.lines if line.label.startswith("fit"))
    below = [rate for rate, value in zip(margins.places, fit.values, strict=True) if value < 0]
    above = [rate for rate, value in zip(margins.places, fit.values, strict=True) if value > 0]
    assert max(below) < LIMIT < min(above)


def test_the_limit_of_the_clearest_failure_stands_in_the_place_of_each_runs_own() -> None:
    slow = analyse(made_log(Load(rate=600), System(largest_batch=4)), Settings())
    assert slow.bottleneck is not None
    section = limit_section(slow.bottleneck, "at 600/s")
    runs = {"passes": analyse(made_log(), Settings()), "fails": slow}
    html = to_html([], [], [Searched(searched(), limit=section, runs=runs)])
    assert html.count("<h2>What limits it") == 1
    beside = to_html([slow], ["another run"], [Searched(searched(), limit=section, runs=runs)])
    assert beside.count("<h2>What limits it") == 2  # a run of its own keeps its own
    assert f"<h2>What limits it at 600/s: {slow.bottleneck.limit}</h2>" in html


def test_a_search_that_has_not_ended_says_so() -> None:
    (section,) = search_sections(searched(most_probes=4))
    assert section.outcome == "not found"
    assert section.headline == "No rate is confirmed for p99<50ms."
    assert "The search has not done all of its steps." in section.sentences


def test_a_search_without_a_probe_has_no_chart() -> None:
    (section,) = search_sections(searched(most_probes=0))
    assert section.charts == []


def test_the_folder_of_a_search_makes_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    search_file.write(tmp_path / search_file.SEARCH, searched())
    assert main(["report", str(tmp_path)]) == 0
    assert "p99<50ms: found" in capsys.readouterr().out
    page = (tmp_path / "report.html").read_text()
    assert page.index("The system sustains") < page.index("Every probe, in the order")


def test_a_damaged_search_is_told_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / search_file.SEARCH).write_text("{")
    assert main(["report", str(tmp_path)]) == 1
    assert "holds no search that can go on" in capsys.readouterr().err
