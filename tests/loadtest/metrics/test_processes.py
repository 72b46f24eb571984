"""Processor time and memory of processes, from the real /proc and from one that is written for the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.metrics.processes import sample, series
from tests.waiting import wait_until

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")

# Burns 0.2 s of processor time, then waits to be ended.
BUSY = """
import time
while time.process_time() < 0.2: pass
print("done", flush=True)
input()
"""
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {BUSY!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
input()
child.communicate(b"\\n")
print("reaped", flush=True)
input()
"""


def stat(
    proc: Path,
    pid: int,
    *,
    parent: int,
    ticks: tuple[int, int, int, int] = (0, 0, 0, 0),
    pages: int = 0,
    name: str = "python",
) -> None:
    """Write /proc/PID/stat as the kernel does (proc_pid_stat(5))."""
    folder = proc / str(pid)
    folder.mkdir(exist_ok=True)
    user, system, reaped_user, reaped_system = ticks
    (folder / "stat").write_text(
        f"{pid} ({name}) S {parent} 1 1 0 -1 4194560 0 0 0 0 {user} {system} {reaped_user} {reaped_system} "
        f"20 0 1 0 100 8192 {pages} 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 0 0 0 0 0 0\n"
    )


def values(pids: dict[str, int], proc: Path = Path("/proc")) -> dict[str, float]:
    found = sample(pids, 5.0, proc)
    assert all(one.at == 5.0 for one in found)
    return {one.series: one.value for one in found}


class TestWrittenProc:
    def test_user_system_and_reaped_children_add_up(self, tmp_path: Path) -> None:
        stat(tmp_path, 7, parent=1, ticks=(100, 20, 3, 4), pages=10)
        found = values({"job": 7}, tmp_path)
        assert found == {"job/cpu_s": pytest.approx(127 * TICK_S), "job/rss_bytes": 10 * PAGE}

    def test_living_descendants_count(self, tmp_path: Path) -> None:
        stat(tmp_path, 7, parent=1, ticks=(100, 0, 0, 0), pages=10)
        stat(tmp_path, 8, parent=7, ticks=(10, 0, 0, 0), pages=2)
        stat(tmp_path, 9, parent=8, ticks=(1, 0, 0, 0), pages=1)
        stat(tmp_path, 10, parent=1, ticks=(5000, 0, 0, 0), pages=100)
        found = values({"job": 7}, tmp_path)
        assert found == {"job/cpu_s": pytest.approx(111 * TICK_S), "job/rss_bytes": 13 * PAGE}

    def test_a_named_descendant_counts_once(self, tmp_path: Path) -> None:
        stat(tmp_path, 7, parent=1, ticks=(100, 0, 0, 0))
        stat(tmp_path, 8, parent=7, ticks=(10, 0, 0, 0))
        stat(tmp_path, 9, parent=8, ticks=(1, 0, 0, 0))
        found = values({"driver": 7, "broker": 8}, tmp_path)
        assert found["driver/cpu_s"] == pytest.approx(100 * TICK_S)
        assert found["broker/cpu_s"] == pytest.approx(11 * TICK_S)

    def test_a_name_with_spaces_and_brackets(self, tmp_path: Path) -> None:
        stat(tmp_path, 7, parent=1, ticks=(100, 20, 3, 4), name="a) S 1 (b")
        assert values({"job": 7}, tmp_path)["job/cpu_s"] == pytest.approx(127 * TICK_S)

    def test_one_that_has_ended_has_no_sample_rather_than_zero(self, tmp_path: Path) -> None:
        stat(tmp_path, 7, parent=1, pages=1)
        (tmp_path / "8").mkdir()  # it ended between the listing and the reading
        assert set(values({"job": 7, "broker": 8}, tmp_path)) == {"job/cpu_s", "job/rss_bytes"}

    def test_parents_in_a_circle(self, tmp_path: Path) -> None:
        # Ids that were given anew during the reading.
        stat(tmp_path, 8, parent=9)
        stat(tmp_path, 9, parent=8)
        assert values({"job": 7}, tmp_path) == {}


def test_series_say_why_there_is_nothing(tmp_path: Path) -> None:
    missing = series(["job"], tmp_path)
    assert [one.name for one in missing] == ["job/cpu_s", "job/rss_bytes"]
    assert all(one.unavailable == f"not available: there is no {tmp_path} here" for one in missing)
    assert sample({"job": 7}, 5.0, tmp_path / "none") == []


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="there is no /proc here")
def test_real_processes_alive_and_reaped() -> None:
    assert all(one.unavailable == "" for one in series(["job"]))
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        alive = values({"job": parent.pid})
        apart = values({"job": parent.pid, "child": child})
        parent.stdin.write("\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "reaped\n"
        after = values({"job": parent.pid, "child": child})
        parent.stdin.write("\n")
        parent.stdin.flush()
        wait_until(lambda: parent.poll() is not None)
    # The clock of the kernel's statistics ticks 100 times a second: no more than two ticks may be lost.
    assert alive["job/cpu_s"] >= 0.2 - 2 * TICK_S
    assert apart["child/cpu_s"] >= 0.2 - 2 * TICK_S
    assert apart["job/cpu_s"] <= alive["job/cpu_s"]
    assert alive["job/rss_bytes"] > apart["job/rss_bytes"] > 0
    assert "child/cpu_s" not in after
    assert after["job/cpu_s"] >= 0.2 - 2 * TICK_S


def test_a_process_that_nobody_has_waited_for_has_no_memory() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays in /proc
    assert [one.series for one in sample({"job": process.pid}, 0.0)] == ["job/cpu_s"]
    process.wait()
