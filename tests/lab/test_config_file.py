from __future__ import annotations

from pathlib import Path

import pytest

from lab.config_file import ConfigError, with_config

NAMES = ("tier", "start", "probe_s", "json")


def written(folder: Path, text: str) -> str:
    path = folder / "flags.toml"
    path.write_text(text)
    return f"--config={path}"


def test_the_file_comes_before_the_command_line(tmp_path: Path) -> None:
    config = written(tmp_path, 'start = 50\nprobe-s = 12.5\njson = true\njob = ["--max_batch_size=8"]\n')
    arguments = ["--start=70", config, "--", "--device=cpu"]
    expected = ["--probe_s=12.5", "--json", "--start=70", "--", "--max_batch_size=8", "--device=cpu"]
    assert with_config(arguments, NAMES) == expected


def test_a_list_repeats_the_flag(tmp_path: Path) -> None:
    config = written(tmp_path, 'tier = ["p99<100ms", "p50<10ms"]\n')
    assert with_config([config], NAMES) == ["--tier=p99<100ms", "--tier=p50<10ms"]


def test_its_name_may_be_the_next_word(tmp_path: Path) -> None:
    path = written(tmp_path, "start = 5\njson = false\n").removeprefix("--config=")
    assert with_config(["--config", path, "--json"], NAMES) == ["--start=5", "--json"]


def test_without_it_nothing_changes() -> None:
    assert with_config(["--start", "5", "--", "--config=x"], NAMES) == ["--start", "5", "--", "--config=x"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("strat = 5", "strat is no flag"),
        ("start = ", "is not TOML"),
        ("job = 5", "job must be a list"),
        ("[start]\na = 1", "start must be a text"),
    ],
)
def test_a_wrong_file_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=problem):
        with_config([written(tmp_path, text)], NAMES)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="none.toml cannot be read"):
        with_config([f"--config={tmp_path}/none.toml"], NAMES)
