"""launch.sh itself; what it starts is tested elsewhere."""

import shutil
import subprocess
from pathlib import Path

import pytest

from launch.commands.table import COMMANDS

ROOT = Path(__file__).parents[1]


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "launch.sh", *arguments], capture_output=True, text=True, timeout=60)


def test_help_names_the_commands() -> None:
    shown = launch("--help")
    assert shown.returncode == 0
    words = set(shown.stdout.split())
    assert {"local", "test"} <= words
    assert {command.name.split()[0] for command in COMMANDS} <= words


def test_an_unknown_command() -> None:
    shown = launch("lokal")
    assert shown.returncode == 2
    assert shown.stderr.startswith("launch.sh: there is no command lokal\nusage:")


def test_no_command() -> None:
    assert launch().returncode == 2


def test_each_lock_pins_every_line() -> None:
    for lock in ROOT.glob("requirements-*.txt"):
        lines = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
        assert lines
        assert all("==" in line and "://" not in line for line in lines), lock


@pytest.mark.parametrize(
    "arguments",
    [
        *(["build", "cpu"], ["run", "--", "--a=b c"], ["update", "job"], ["status", "job"], ["drain", "job"]),
        *(["cancel", "job"], ["replace", "job"], ["endpoint", "deploy"], ["smoke"]),
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_in_the_cloud_go_to_their_module(arguments: list[str], tmp_path: Path) -> None:
    """In a copy whose Python prints its arguments, and whose packages count as installed."""
    shutil.copy(ROOT / "launch.sh", tmp_path)
    shutil.copy(ROOT / "requirements-cpu.txt", tmp_path)
    programs = tmp_path / ".venv/bin"
    programs.mkdir(parents=True)
    shutil.copy(ROOT / "requirements-cpu.txt", tmp_path / ".venv/.installed-cpu")
    (programs / "python").write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\nexit 7\n')
    (programs / "python").chmod(0o755)
    ran = subprocess.run(
        [tmp_path / "launch.sh", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.stdout.splitlines() == ["-P", "-m", "launch", *arguments]
    assert ran.returncode == 7
