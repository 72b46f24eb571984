"""The attack as a process beside the driver."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from benchmarks.harness.jobs import ROOT

_END_WITHIN_S = 180.0


class Attack:
    """An attack in progress, or over.

    Attributes:
        outcomes: What became of each hostile input; filled in once the attack is over.
    """

    def __init__(self) -> None:
        self.outcomes: dict[str, dict[str, int]] = {}


@contextmanager
def attacking(every_s: float, *target: str) -> Iterator[Attack]:
    """Run `benchmarks.hostile.attack` on a target; at the end let it finish its round and collect outcomes.

    Raises:
        CalledProcessError: It failed; its traceback is on stderr.
    """
    command = [sys.executable, "-m", "benchmarks.hostile.attack", f"--every={every_s}", *target]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    attack = Attack()
    try:
        yield attack
        output, _ = process.communicate(timeout=_END_WITHIN_S)  # closes stdin
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, command)
        attack.outcomes = orjson.loads(output)
    finally:
        process.kill()
        process.wait()
