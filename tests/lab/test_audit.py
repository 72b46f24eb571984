"""`loadtest run --audit`: whether a cache answers bodies that were there before."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from lab.run import run_command
from tests.lab.made_runs import ELSEWHERE, SECONDS, Driver, command, made_again


def test_a_cache_is_found(driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver.cached = True
    assert command(tmp_path, "--audit") == 0
    assert "Something answers from a cache" in capsys.readouterr().out
    repeated, unique = (options.input.bodies for options in driver.made)
    assert len(repeated) == 1
    assert len(set(unique)) == len(unique) == 200 * SECONDS
    found = orjson.loads((tmp_path / "audit.json").read_bytes())
    assert found["faster"]
    assert 0 < found["low_ms"] < found["sooner_ms"] < found["high_ms"]
    assert {path.name for path in tmp_path.iterdir()} == {"repeated", "unique", "report.html", "audit.json"}
    made_again(tmp_path, "unique/report.json", "repeated/report.json")


def test_without_a_cache_none_is_claimed(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "--audit", "--json") == 0
    found = orjson.loads(capsys.readouterr().out)
    assert found["audit"]["faster"] is False
    assert "No cache shows" in found["audit"]["sentence"]
    assert set(found) == {"audit", "repeated", "unique"}


def test_a_small_difference_is_no_proof_of_a_cache(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.cached, driver.cached_s = True, 0.0036
    assert command(tmp_path, "--audit", "--json") == 0
    found = orjson.loads(capsys.readouterr().out)["audit"]
    assert found["low_ms"] > 0
    assert found["faster"] is None
    assert "but two runs may differ by as much" in found["sentence"]


def test_of_an_invalid_run_no_cache_can_be_told(
    driver: Driver, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver.late_s = 0.003
    assert command(tmp_path, "--audit") == 1
    assert "cannot be told: of the run with repeated bodies the verdict is INVALID" in capsys.readouterr().out


def test_whole_numbers_alone_make_no_unique_bodies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokens = tmp_path / "tokens.jsonl"
    tokens.write_text('{"inputs": {"tokens": [1, 2, 3]}, "weight": 0.5}\n')
    assert run_command(["--audit", f"--input={tokens}", *ELSEWHERE]) == 2
    assert (
        "no unique bodies can be made: the first record has no fractional number" in capsys.readouterr().err
    )
