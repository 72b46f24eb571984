"""The outcomes of a sweep beside each other: which no other beats, and the table of them."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lab.sweep_table import print_outcomes
from loadtest.search.answer import Boundary
from loadtest.search.outcome import Outcome, pareto


def outcome(size: int, claim: float | None, p99_ms: float | None, cpu_us: float | None) -> Outcome:
    boundary = Boundary(
        claim, claim, None, None, "smooth", claim, None, None, claim is not None, "", "", 9, 540.0
    )
    flags = {"max_batch_size": str(size), "max_batch_wait_ms": "5"}
    interval = None if p99_ms is None else (p99_ms * 0.9, p99_ms * 1.1)
    ended = "" if claim is not None else "the job was killed (SIGKILL)"
    return Outcome(flags, f"{size:02d}", ended, boundary, p99_ms, interval, cpu_us, 3.5)


OUTCOMES = [
    outcome(1, 200.0, 20.0, 4_800.0),
    outcome(8, 1_000.0, 40.0, 1_300.0),
    outcome(32, 900.0, 45.0, 1_300.0),  # no better than the one before in anything
    outcome(64, 800.0, 35.0, None),  # its processor time is not known, but it answers sooner
    outcome(128, None, None, None),
]


def test_the_pareto_set_has_what_none_of_the_others_beats() -> None:
    assert pareto(OUTCOMES) == [True, True, False, True, False]
    assert pareto(OUTCOMES[1:2] * 2) == [True, True]
    assert pareto([]) == []


@pytest.mark.parametrize("width", [60, 120])
def test_the_table_fits_the_terminal(width: int) -> None:
    text = io.StringIO()
    print_outcomes(Console(file=text, width=width), OUTCOMES, "p99<100ms,lost=0")
    lines = text.getvalue().splitlines()
    table = [line for line in lines if line[:1] in "┏┃┡│└"]
    assert max(len(line) for line in table) <= width
    shown = text.getvalue()
    for figure in ("1,000.0", "40.00", "1,300", "3.50"):
        assert figure in shown
    assert "max_batch_size=128" in shown
    assert "the job was killed (SIGKILL)" in shown.replace("\n", " ")
