"""A part's process, and those that it starts: given a time, and ended with all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

# For the part to end what it has started. NVIDIA MPS takes the longest, up to 10 s.
_STOP_WITHIN_S = 15.0


def exit_on_sigterm() -> None:
    """Have SIGTERM end this process as an exception does, so that it ends what it has started."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def run_child(
    command: Sequence[str],
    cwd: Path,
    output: IO[bytes],
    timeout_s: float,
    stop_within_s: float = _STOP_WITHIN_S,
) -> int | None:
    """Run a command in a process group of its own, and leave no process of that group running.

    A process that takes too long gets SIGTERM, and SIGKILL where that does not end it.

    Returns:
        The exit code, or None where the process had to be ended.
    """
    process = subprocess.Popen(
        command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None
    finally:
        try:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(stop_within_s)
        finally:  # where a second Ctrl-C cuts the waiting short
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
