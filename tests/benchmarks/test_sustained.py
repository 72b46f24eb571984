from __future__ import annotations

import math

import pytest

from benchmarks.harness.results import terminal
from benchmarks.sustained.__main__ import parse
from benchmarks.sustained.measures import Searched
from benchmarks.sustained.report import figures, ratio, show, verdicts
from loadtest.search.answer import Boundary, Settings
from loadtest.search.objectives import Tier

TIER = Tier.parse("p99<100ms")


def searched(side: str, claim: float | None) -> Searched:
    boundary = Boundary(
        claim=claim,
        feasible_max=claim,
        infeasible_min=None if claim is None else 1.05 * claim,
        first_breach=None,
        kind="smooth",
        root=claim,
        ci=None,
        detectable_overload=0.02,
        converged=claim is not None,
        convergence_reason="it is confirmed" if claim else "every rate fails",
        non_monotone_warning="",
        probes=12,
        seconds=240.0,
    )
    return Searched(side, boundary, "", 20.0, 90.0, 85.0)


def test_answers_are_compared_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    found = [searched("ours", 8_000.0), searched("stock Beam", 200.0), searched("ours", 8_200.0)]
    assert ratio(found) == 40
    (apart,) = verdicts(found)
    assert apart.met
    assert apart.value == pytest.approx(2.5)
    show(terminal(), TIER, found)
    told = capsys.readouterr().out
    assert "ours (the lower answer) / stock: 40.0" in told
    assert "answers for ours, apart: 2.5 % (goal: at most 5 %): met" in told
    written = figures(TIER, Settings(200.0), found)
    assert written["ours over stock"] == 40


def test_without_an_answer_nothing_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    found = [searched("ours", 8_000.0), searched("stock Beam", None), searched("ours", None)]
    assert ratio(found) is None
    assert math.isnan(verdicts(found)[0].value)
    show(terminal(), TIER, found)
    assert "every rate fails" in capsys.readouterr().out


def test_wrong_flags_exit(capsys: pytest.CaptureFixture[str]) -> None:
    for flags in (["--objective=fast"], ["--probe_s=0"]):
        with pytest.raises(SystemExit) as ended:
            parse(flags)
        assert ended.value.code == 2
    assert "is no objective" in capsys.readouterr().err
