"""How processes of a local run end, and what is said of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.children import Child, how_it_ended, start_broker
from tests.waiting import wait_until


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (-9, "the job was killed (SIGKILL)"),
        (2, "the job refused its flags, its model or a hook (exit code 2)"),
        (1, "the job ended by itself with exit code 1"),
        (0, "the job ended by itself with exit code 0"),
    ],
)
def test_how_it_ended(code: int, told: str) -> None:
    assert how_it_ended("the job", code) == told


def python(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", script], text=True, start_new_session=True)


def test_who_waits_is_told_why_a_process_ended(tmp_path: Path) -> None:
    (tmp_path / "log").write_text("why")
    told: list[str] = []
    child = Child("the broker", python("raise SystemExit(7)"), tmp_path / "log", on_failure=told.append)
    wait_until(lambda: bool(told))
    assert told == ["the broker ended by itself with exit code 7"]
    assert child.failure is not None
    assert str(child.failure).endswith("log:\nwhy")
    child.stop()


def test_a_broker_leaves_no_pipe_open(tmp_path: Path) -> None:
    open_before = set(os.listdir("/proc/self/fd"))
    broker, address = start_broker(tmp_path / "log", on_failure=lambda how: None)
    assert address.startswith("127.0.0.1:")
    assert broker.stop() == 0
    assert set(os.listdir("/proc/self/fd")) == open_before


def test_a_process_that_is_stopped_has_not_failed(tmp_path: Path) -> None:
    told: list[str] = []
    child = Child(
        "the broker", python("import time; time.sleep(3600)"), tmp_path / "log", on_failure=told.append
    )
    assert child.stop() == -15
    assert (told, child.failure) == ([], None)
