"""From an analysis to what a search observes."""

from __future__ import annotations

import pytest

from loadtest.analysis.analyse import analyse
from loadtest.analysis.objective_figures import objective_figures
from loadtest.analysis.settings import Settings
from loadtest.search.objectives import Tier
from tests.loadtest.made_log import Faults, Load, made_log


def test_a_tier_can_be_held_against_a_run() -> None:
    analysis = analyse(made_log(Load(rate=400), faults=Faults(dead=[1, 2], repeated=[3])), Settings())
    figures = objective_figures(analysis)
    tier = Tier.parse("p50<1s,p99<20ms,mean<1s,lost=0,dead_letters<=2,errors<1%,duplicates=0,achieved>=99%")
    assert analysis.stability is not None
    observation = tier.observe(400, figures, analysis.counts.due, analysis.stability)
    assert observation.first_breach is not None
    assert (observation.first_breach.metric, observation.first_breach.observed) == ("duplicates", 1)
    p99 = analysis.corrected.figures["p99"]
    assert p99.value is not None
    assert p99.low is not None
    assert figures["p99"].value == pytest.approx(p99.value / 1e3)
    assert 0 < figures["p99"].standard_error < (p99.value - p99.low) / 1e3


def test_a_refused_percentile_is_no_figure() -> None:
    figures = objective_figures(analyse(made_log(Load(rate=100)), Settings()))
    assert "p99" in figures
    assert "p99.9" not in figures


def test_a_window_too_short_has_no_slope() -> None:
    assert "backlog_slope" not in objective_figures(analyse(made_log(Load(seconds=2)), Settings()))
