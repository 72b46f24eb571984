"""The planner's benchmark: its flags, and its tables of a small run."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from benchmarks.planner.__main__ import main, parse


def test_flags() -> None:
    options = parse(["--tables=container,closed_forms", "--seed=3"])
    assert (options.tables, options.seed, options.messages) == (("closed_forms", "container"), 3, 300_000)


@pytest.mark.parametrize("flag", ["--messages=10", "--tables=prices"])
def test_wrong_flags(flag: str) -> None:
    with pytest.raises(SystemExit) as ended:
        parse([flag])
    assert ended.value.code == 2


@pytest.mark.slow
def test_a_small_run(tmp_path: Path) -> None:
    tables = "closed_forms,calibration,container"
    assert main([f"--out={tmp_path}", "--messages=2000", f"--tables={tables}"]) == 0
    figures = orjson.loads((tmp_path / "planner.json").read_bytes())
    assert len(figures["closed_forms"]) == 15
    assert len(figures["calibrations"]) == 6
    assert {one["processes"] for one in figures["containers"]} == {1, 2, 4}
    assert figures["speeds"] == []
    text = (tmp_path / "planner.txt").read_text()
    assert "Published rows of one worker" in text
    assert "told wrongly whether they kept up" in text
