"""The attack as a process beside the driver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import orjson

from benchmarks.harness.jobs import ROOT

_END_WITHIN_S = 180.0


@dataclass
class Attack:
    """An attack in progress, or over.

    Attributes:
        process: None where there is no attack.
        address: Where it listens; empty where it does not.
        begun: Whether it was told to.
        outcomes: What became of each hostile input; filled in once the attack is over.
    """

    process: subprocess.Popen[bytes] | None = None
    address: str = ""
    begun: bool = False
    outcomes: dict[str, dict[str, int]] = field(default_factory=dict)

    def begin(self) -> None:
        """Let it send its first input. Later calls change nothing."""
        if self.process is not None and not self.begun:
            assert self.process.stdin is not None  # for mypy: it is a pipe
            self.process.stdin.write(b"\n")
            self.process.stdin.flush()
            self.begun = True

    def end(self) -> None:
        """Let it finish its round and tell its outcomes.

        Raises:
            CalledProcessError: It failed; its traceback is on stderr.
        """
        if self.process is None:
            return
        output, _ = self.process.communicate(timeout=_END_WITHIN_S)  # closes stdin
        if self.process.returncode:
            raise subprocess.CalledProcessError(self.process.returncode, self.process.args)
        self.outcomes = orjson.loads(output)


@contextmanager
def attacking(every_s: float, *target: str) -> Iterator[Attack]:
    """Run `benchmarks.hostile.attack` on a target. What has not ended at the end of the block is killed."""
    command = [sys.executable, "-m", "benchmarks.hostile.attack", f"--every={every_s}", *target]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None  # for mypy: it is a pipe
    try:
        yield Attack(process, process.stdout.readline().decode().strip())
    finally:
        process.kill()
        process.communicate()
