"""launch.sh itself; what it starts is tested elsewhere."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "launch.sh", *arguments], capture_output=True, text=True, timeout=60)


def test_help_names_the_commands() -> None:
    shown = launch("--help")
    assert shown.returncode == 0
    assert {"local", "test"} <= set(shown.stdout.split())


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
