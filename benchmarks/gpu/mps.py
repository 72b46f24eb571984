"""NVIDIA MPS: processes that compute on one GPU at the same time. Its control daemon is no one's child."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

from benchmarks.gpu.context import NotAvailableError

PROGRAM = "nvidia-cuda-mps-control"
_PID_FILE = "nvidia-cuda-mps-control.pid"
_START_WITHIN_S = 20.0
_QUIT_WITHIN_S = 10.0


def folder_of(part: Path) -> Path:
    """Return the folder of the daemon that a part with this folder starts."""
    return part / "mps"


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of the daemon's clients."""
    return {
        **os.environ,
        "CUDA_MPS_PIPE_DIRECTORY": str(folder),
        "CUDA_MPS_LOG_DIRECTORY": str(folder),
    }


def start(folder: Path) -> None:
    """Start the daemon. The folder is made, for its pipes and its logs.

    Raises:
        NotAvailableError: There is none, or it does not start.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise NotAvailableError(f"{PROGRAM} is not installed")
    folder.mkdir()
    started = subprocess.run(
        [program, "-d"],
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=_START_WITHIN_S,
        check=False,
    )
    if started.returncode != 0:
        reason = (started.stderr or started.stdout).strip() or f"exit code {started.returncode}"
        raise NotAvailableError(f"{PROGRAM} -d: {reason}")


def stop(folder: Path) -> None:
    """End the daemon of this folder, whose clients have ended. Do nothing where none runs."""
    program = shutil.which(PROGRAM)
    if program is None or not folder.is_dir():
        return
    try:
        # Where there is no daemon, it says so and ends with another exit code.
        subprocess.run(
            [program],
            env=environment(folder),
            input="quit\n",
            text=True,
            capture_output=True,
            timeout=_QUIT_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        # Where there is no such file, or no such process, it has ended after all.
        with suppress(FileNotFoundError, ProcessLookupError):
            os.kill(int((folder / _PID_FILE).read_text()), signal.SIGKILL)
