"""launch.sh itself; what it starts is tested elsewhere."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from launch.commands.table import COMMANDS
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[1]


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "launch.sh", *arguments], capture_output=True, text=True, timeout=LIMIT_S)


def test_help_names_the_commands() -> None:
    shown = launch("--help")
    assert shown.returncode == 0
    words = set(shown.stdout.split())
    assert {"local", "plan", "check", "test"} <= words
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


class Copy:
    """A copy of launch.sh whose programs print their names and arguments; its packages count as installed."""

    def __init__(self, folder: Path, requirements: str) -> None:
        self._folder = folder
        self._programs = folder / ".venv/bin"
        self._programs.mkdir(parents=True)
        shutil.copy(ROOT / "launch.sh", folder)
        shutil.copy(ROOT / f"requirements-{requirements}.txt", folder)
        shutil.copy(ROOT / f"requirements-{requirements}.txt", folder / f".venv/.installed-{requirements}")

    def program(self, name: str, exit_code: int = 0) -> None:
        file = self._programs / name
        file.write_text(f'#!/usr/bin/env bash\nprintf "%q " {name} "$@"\necho\nexit {exit_code}\n')
        file.chmod(0o755)

    def launch(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._folder / "launch.sh", *arguments],
            env=os.environ | {"TEST_TIME_SCALE": "1"},
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )


def commands(ran: subprocess.CompletedProcess[str]) -> list[list[str]]:
    """Return what a copy of launch.sh called."""
    return [shlex.split(line) for line in ran.stdout.splitlines()]


def test_plan_goes_to_its_module(tmp_path: Path) -> None:
    copy = Copy(tmp_path, "cpu")
    copy.program("python", exit_code=7)
    ran = copy.launch("plan", "predict", "--workload=constant 5")
    assert commands(ran) == [["python", "-P", "-m", "planner", "predict", "--workload=constant 5"]]
    assert ran.returncode == 7


def test_export_goes_to_its_module(tmp_path: Path) -> None:
    copy = Copy(tmp_path, "cpu")
    copy.program("python", exit_code=7)
    ran = copy.launch("export", "triton", "--out=a b")
    assert commands(ran) == [["python", "-P", "-m", "export", "triton", "--out=a b"]]
    assert ran.returncode == 7


@pytest.mark.parametrize(
    "arguments",
    [
        *(["build", "cpu"], ["run", "--", "--a=b c"], ["update", "job"], ["status", "job"], ["drain", "job"]),
        *(["cancel", "job"], ["replace", "job"], ["endpoint", "deploy"], ["smoke"], ["setup"]),
    ],
    ids=lambda arguments: arguments[0],
)
def test_commands_in_the_cloud_go_to_their_module(arguments: list[str], tmp_path: Path) -> None:
    copy = Copy(tmp_path, "cpu")
    copy.program("python", exit_code=7)
    ran = copy.launch(*arguments)
    assert commands(ran) == [["python", "-P", "-m", "launch", *arguments]]
    assert ran.returncode == 7


CHECKS = [
    ["ruff", "check", "."],
    ["ruff", "format", "--check", "."],
    ["mypy"],
    ["lint-imports", "--no-logo"],
    ["shellcheck", "launch.sh", ".ci/run", "docker/check_image.sh"],
]


@pytest.fixture
def checkout(tmp_path: Path) -> Copy:
    copy = Copy(tmp_path, "dev")
    for name in ("ruff", "mypy", "lint-imports", "shellcheck", "python"):
        copy.program(name)
    return copy


def test_check_is_everything_but_the_tests(checkout: Copy) -> None:
    ran = checkout.launch("check")
    assert commands(ran) == CHECKS
    assert ran.returncode == 0


def test_check_takes_no_arguments(checkout: Copy) -> None:
    ran = checkout.launch("check", "tests")
    assert (ran.returncode, ran.stdout) == (1, "")


@pytest.mark.parametrize(
    ("arguments", "pytest_arguments"),
    [
        ([], ["--numprocesses", "2", "--cov"]),
        (["--fast"], ["--numprocesses", "2", "-m", "not slow"]),
        (["--fast", "-x"], ["--numprocesses", "2", "-m", "not slow", "-x"]),
        (["tests/local", "-k", "wrong or help"], ["tests/local", "-k", "wrong or help"]),
    ],
)
def test_tests_come_after_the_check(
    arguments: list[str], pytest_arguments: list[str], checkout: Copy
) -> None:
    ran = checkout.launch("test", *arguments)
    assert commands(ran) == [*CHECKS, ["python", "-m", "pytest", *pytest_arguments]]
    assert ran.returncode == 0


@pytest.mark.parametrize("name", ["ruff", "mypy", "lint-imports", "shellcheck"])
def test_nothing_is_tested_where_a_check_fails(name: str, checkout: Copy) -> None:
    checkout.program(name, exit_code=1)
    ran = checkout.launch("test")
    assert ran.returncode == 1
    assert commands(ran)[-1][0] == name


def test_ci_and_pre_commit_run_what_a_person_runs() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [hook["entry"] for hook in hooks] == ["./launch.sh check"]
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"].values()
    assert [step["run"] for job in jobs for step in job["steps"] if "run" in step] == [".ci/run"]
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "./launch.sh test"
