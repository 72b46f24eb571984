"""`./launch.sh plan size`, run in this process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from loadtest.search.objectives import Objective
from planner.__main__ import main
from planner.answer import Answer


def sized(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    assert main(["size", "--json", "--draws=5", *arguments]) == code
    found: dict[str, Any] = orjson.loads(capsys.readouterr().out)
    return found


def test_one_worker_is_enough_for_500_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    found = sized(capsys, "--workload=constant 500 10m", "--objective=p99<500ms")
    best = found["best"]
    assert best["settings"]["--max-workers"] == "1"
    p99 = next(each for each in best["figures"] if each["name"] == "latency p99")
    assert p99["worst"] < 500
    assert all(each["cost"]["usd"] >= best["cost"]["hour"]["usd"] for each in found["dearer"])


def test_the_next_cheaper_one_says_why_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    load = ("--workload=constant 100000 10m", "--machine-type=n1-standard-4")
    found = sized(capsys, *load, "--objective=p99<2s")
    best = int(found["best"]["settings"]["--max-workers"])
    assert found["cheaper"]
    assert all(each["why_not"] for each in found["cheaper"])
    for each in found["cheaper"]:
        if each["cost"]:
            assert each["cost"]["usd"] < found["best"]["cost"]["hour"]["usd"]
            assert each["worst_ms"]["p99"] >= 2_000
    # One more than it takes would cost more; one less does not do it.
    fewer = (f"--min-workers={best - 1}", f"--max-workers={best - 1}")
    assert sized(capsys, *load, *fewer, "--objective=p99<2s", code=1)["best"] is None


def test_what_is_given_stays(capsys: pytest.CaptureFixture[str]) -> None:
    found = sized(
        capsys,
        *("--workload=constant 500 10m", "--objective=p99<1s", "--machine-type=n2-standard-4"),
        *("--min-workers=2", "--max-workers=3"),
    )
    assert found["best"]["settings"] == {
        "--machine-type": "n2-standard-4",
        "--min-workers": "2",
        "--max-workers": "3",
    }
    assert found["simulated"] == 1


@pytest.mark.slow
def test_replicas_are_found_with_the_workers(capsys: pytest.CaptureFixture[str]) -> None:
    found = sized(
        capsys,
        *("--workload=constant 2000 10m", "--objective=p99<1s", "--mode=endpoint", "--service-ms=5+2"),
        *("--machine-type=n1-standard-4",),
    )
    assert int(found["best"]["settings"]["--min-replicas"]) > 1
    assert found["best"]["launch"][0].startswith("./launch.sh endpoint deploy")


def test_what_fails_and_costs_more_is_not_called_cheaper(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_alone(found: Answer, objectives: Sequence[Objective]) -> str:
        return "" if found.prediction.question.configuration.run.max_workers == 1 else "it is one too many"

    monkeypatch.setattr("planner.size.missed", one_alone)
    load = ("--workload=constant 500 5m", "--machine-type=n1-standard-4", "--objective=p99<1s")
    found = sized(capsys, *load)
    assert found["simulated"] > 1
    assert found["best"]["settings"]["--max-workers"] == "1"
    assert found["cheaper"] == []


def test_an_objective_that_nothing_meets(capsys: pytest.CaptureFixture[str]) -> None:
    fixed = ("--machine-type=n1-standard-2", "--min-workers=1", "--max-workers=1")
    found = sized(capsys, "--workload=constant 5 5m", "--objective=p50<1ms", *fixed, code=1)
    assert found["best"] is None
    assert "p50 is" in found["cheaper"][0]["why_not"]


@pytest.mark.parametrize(
    ("objective", "fix"),
    [("p99=500ms", "p99"), ("lost=0", "p99<500ms"), ("fast", "write one as p99<250ms")],
)
def test_a_wrong_objective(objective: str, fix: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "--workload=constant 5", f"--objective={objective}"]) == 2
    assert fix in capsys.readouterr().err


def test_the_screen_names_objective_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["size", "--draws=5", "--workload=constant 500 5m", "--objective=p99<500ms"]) == 0
    text = capsys.readouterr().out
    assert "meets p99<500ms in every draw" in text
    assert "others that meet it:" in text
