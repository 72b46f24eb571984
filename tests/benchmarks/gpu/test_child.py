"""A part's process ends in time and leaves nothing running, MPS's daemon included."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as command
from benchmarks.gpu import mps
from benchmarks.gpu.child import run_child
from tests.waiting import LIMIT_S, TIME_SCALE, wait_until


@pytest.mark.slow
def test_a_part_that_hangs_leaves_nothing_running(tmp_path: Path) -> None:
    """It ends what it has started, and what it does not end is ended too."""
    code = f"""
import subprocess, time
from pathlib import Path
from benchmarks.gpu.child import exit_on_sigterm
exit_on_sigterm()
left = subprocess.Popen(["sleep", "1000"])
Path("{tmp_path}/left").write_text(str(left.pid))
try:
    time.sleep(1000)
finally:
    Path("{tmp_path}/ended").touch()
"""
    with (tmp_path / "log").open("wb") as log:
        # Time to start in.
        found = run_child([sys.executable, "-c", code], command.ROOT, log, 5 * TIME_SCALE)
    assert found is None, (tmp_path / "log").read_text()
    assert (tmp_path / "ended").exists()
    wait_until(lambda: not is_running(int((tmp_path / "left").read_text())))


def test_sigterm_ends_a_part_as_an_exception_does(tmp_path: Path) -> None:
    code = f"""
import runpy, sys, time
from pathlib import Path
from benchmarks.gpu.plan import PARTS, Part

def measure(context):
    try:
        yield {{"rate": 1.0}}
        time.sleep(1000)
    finally:
        Path("{tmp_path}/ended").touch()

PARTS["plain"] = Part("Plain", measure, 1)
sys.argv += ["plain", "--seconds=1", "--folder={tmp_path}"]
sys.argv += ["--rows={tmp_path}/rows", "--why-not={tmp_path}/why"]
runpy.run_module("benchmarks.gpu.process", run_name="__main__", alter_sys=True)
"""
    rows = tmp_path / "rows"
    rows.touch()
    with subprocess.Popen([sys.executable, "-c", code], cwd=command.ROOT) as part:
        wait_until(lambda: rows.read_text() or part.poll() is not None)
        part.terminate()
        assert part.wait(LIMIT_S) == 128 + signal.SIGTERM
    assert json.loads(rows.read_text()) == {"rate": 1.0}
    assert (tmp_path / "ended").exists()


@pytest.mark.slow
def test_a_part_that_does_not_heed_sigterm_is_killed(tmp_path: Path) -> None:
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(1000)"
    with (tmp_path / "log").open("wb") as log:
        assert run_child([sys.executable, "-c", code], tmp_path, log, 2.0, stop_within_s=0.1) is None


def is_running(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    try:
        return stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def mps_daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in for MPS's control program; return the file that notes what it is told."""
    notes = tmp_path / "notes"
    program = tmp_path / "bin" / mps.PROGRAM
    program.parent.mkdir()
    program.write_text(f"""#!/bin/sh
[ "$1" = -d ] && echo start >> {notes} && exit
[ -e "$CUDA_MPS_PIPE_DIRECTORY/hangs" ] && exec sleep 1000
cat >> {notes}
""")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return notes


def test_the_daemon_of_mps_is_ended_by_the_command_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mps_daemon: Path
) -> None:
    def killed(line: list[str], *others: object) -> None:
        (own,) = (Path(flag.removeprefix("--folder=")) for flag in line if flag.startswith("--folder="))
        mps.start(mps.folder_of(own))

    monkeypatch.setattr(command, "run_child", killed)
    assert command.main(["--rehearse", "--parts=processes", f"--out={tmp_path}"]) == 1
    assert mps_daemon.read_text().split() == ["start", "quit"]


def test_a_daemon_of_mps_that_does_not_answer_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mps_daemon: Path
) -> None:
    monkeypatch.setattr(mps, "_QUIT_WITHIN_S", 0.1)
    folder = mps.folder_of(tmp_path)
    mps.start(folder)
    (folder / "hangs").touch()
    mps.stop(folder)  # there is no daemon
    with subprocess.Popen(["sleep", "1000"]) as daemon:
        (folder / "nvidia-cuda-mps-control.pid").write_text(f"{daemon.pid}\n")
        mps.stop(folder)
        assert daemon.wait(LIMIT_S) == -signal.SIGKILL
