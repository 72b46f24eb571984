"""The turn between processes, here between threads: a file is locked for whoever has opened it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from serving.turn import turn
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[2]
HOLDER = """
import pathlib, signal, sys
from serving.turn import turn
with turn(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


def test_one_has_it_at_a_time(tmp_path: Path) -> None:
    inside = 0
    entries: list[int] = []

    def take() -> None:
        nonlocal inside
        for _ in range(50):
            with turn(tmp_path / "turn"):
                inside += 1
                entries.append(inside)
                inside -= 1

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert entries == [1] * 200


def test_it_ends_with_its_process(tmp_path: Path) -> None:
    file = tmp_path / "turn"
    taken: list[bool] = []

    def take() -> None:
        with turn(file):
            taken.append(holder.poll() is not None)

    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(file)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        taker = threading.Thread(target=take)
        taker.start()
        assert not taken
        holder.kill()
        taker.join(LIMIT_S)
    assert len(taken) == 1


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), turn(tmp_path / "none" / "turn"):
        pass
