"""What the processes of a step of `benchmarks.local_engine` use while it is measured."""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.processes import cpu_seconds, resident_mib
from loadtest.display import Display, Progress
from local import children


class JobEndedError(Exception):
    """The job ended by itself. The message says how, and shows the end of its log."""


@dataclass(frozen=True)
class Usage:
    """What was used in the measured window; NaN where there is no /proc.

    Attributes:
        cores: Processor time over time, by process.
        job_rss_mib: Resident memory of the job at the window's end.
    """

    cores: dict[str, float]
    job_rss_mib: float


class UsageMeter(Display):
    """Shows nothing, but watches a run: it reads /proc about four times a second.

    Args:
        job: The run ends with JobEndedError when this process ends.
        log: The job's.
        others: Further processes, id by name.
        warmup: Of the run, seconds.
        duration: Of the run after the warm-up, seconds.
    """

    def __init__(
        self, job: subprocess.Popen[str], log: Path, others: Mapping[str, int], warmup: float, duration: float
    ) -> None:
        self._job = job
        self._log = log
        self._pids = {"job": job.pid, **others}
        self._window = (warmup, warmup + duration)
        self._samples: list[tuple[float, list[float]]] = []  # the first and the last one
        self._rss_mib = math.nan

    def update(self, progress: Progress) -> None:
        """Take a sample if the run is in its measured window.

        Raises:
            JobEndedError: The job has ended.
        """
        code = self._job.poll()
        if code is not None:
            raise JobEndedError(f"the job ended with exit code {code}:\n{children.tail(self._log)}")
        if progress.sent and self._window[0] <= progress.elapsed <= self._window[1]:
            sample = (time.monotonic(), [cpu_seconds(pid) for pid in self._pids.values()])
            self._samples = [*self._samples[:1], sample]
            self._rss_mib = resident_mib(self._job.pid)

    def usage(self) -> Usage:
        """Return what the run used, once it has ended; NaN where the window held fewer than two samples."""
        if len(self._samples) < 2:
            return Usage(dict.fromkeys(self._pids, math.nan), self._rss_mib)
        (begun, before), (ended, after) = self._samples
        shares = [(used - since) / (ended - begun) for since, used in zip(before, after, strict=True)]
        return Usage(dict(zip(self._pids, shares, strict=True)), self._rss_mib)
