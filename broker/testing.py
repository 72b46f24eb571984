"""Brokers as processes of their own, for benchmarks and integration tests: this one and Google's emulator."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_WITHIN_S = 60.0


@dataclass(frozen=True)
class BrokerProcess:
    """A running broker; `group` is the process group that holds it and its children."""

    name: str
    address: str
    group: int

    def cpu_seconds(self) -> float:
        """Processor time so far of all processes of the group; NaN where there is no /proc."""
        if not Path("/proc/self/stat").exists():
            return float("nan")
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                text = stat.read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it ended since the listing
            # The command name may hold spaces; fields are counted from behind it (see proc(5)).
            fields = text.rpartition(")")[2].split()
            if int(fields[2]) == self.group:
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def embedded_broker() -> Iterator[BrokerProcess]:
    """`python -m broker` on a free port, stopped at the end. Raises RuntimeError if it does not start."""
    process = subprocess.Popen(
        [sys.executable, "-m", "broker", "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None  # for mypy: it is a pipe
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the broker ended at once with exit code {process.wait()}")
        yield BrokerProcess("embedded", line.split()[-1], process.pid)
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def why_no_emulator() -> str | None:
    """Why Google's emulator cannot run here; None if it can."""
    if shutil.which("java") is None:
        return "there is no java"
    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return "there is no gcloud"
    if not (Path(gcloud).resolve().parents[1] / "platform" / "pubsub-emulator").is_dir():
        return "gcloud has no pubsub-emulator (gcloud components install pubsub-emulator)"
    return None


@contextmanager
def google_emulator() -> Iterator[BrokerProcess]:
    """Google's emulator on a free port, stopped at the end; check `why_no_emulator` first.

    Raises:
        RuntimeError: it ended or did not listen in time.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        ["gcloud", "beta", "emulators", "pubsub", "start", f"--host-port=127.0.0.1:{port}", "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _await_listening(port, process)
        yield BrokerProcess("emulator", f"127.0.0.1:{port}", process.pid)
    finally:
        # The whole group: gcloud alone would leave its java child behind.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _await_listening(port: int, process: subprocess.Popen[bytes]) -> None:
    give_up = time.monotonic() + START_WITHIN_S
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise RuntimeError(f"the emulator ended at once with exit code {process.returncode}")
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"the emulator did not listen within {START_WITHIN_S:g} s")
