"""The job of a row as a process of its own, and what the processes of a run use while it is measured."""

import math
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.display import Display, Progress
from local import children

ROOT = Path(__file__).parents[2]


class JobEndedError(Exception):
    """The job ended by itself; the message says how, and shows the end of its log."""


@contextmanager
def running_job(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process from `command`; at the end asked to stop, and after 15 s made to."""
    with log.open("w") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # Ctrl-C is this process's to handle
        )
    try:
        yield process
    finally:
        try:
            children.stop(process)
        finally:  # where a second Ctrl-C cuts the waiting short
            process.kill()
            process.wait()


@dataclass(frozen=True)
class Usage:
    """What was used in the measured window; NaN where there is no /proc."""

    cores: dict[str, float]  # processor time / time, by process
    job_rss_mib: float  # resident memory of the job at the window's end


class UsageMeter(Display):
    """Shows nothing, but watches a run: reads /proc about four times a second while it is measured.

    Args:
        job: its end ends the run, with JobEndedError.
        log: the job's.
        others: further processes, id by name.
        warmup, duration: of the run, seconds.
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
        code = self._job.poll()
        if code is not None:
            raise JobEndedError(f"the job ended with exit code {code}:\n{children.tail(self._log)}")
        if progress.sent and self._window[0] <= progress.elapsed <= self._window[1]:
            sample = (time.monotonic(), [cpu_seconds(pid) for pid in self._pids.values()])
            self._samples = [*self._samples[:1], sample]
            self._rss_mib = resident_mib(self._job.pid)

    def usage(self) -> Usage:
        """Of the run that has ended; NaN where the window was too short to be seen twice."""
        if len(self._samples) < 2:
            return Usage(dict.fromkeys(self._pids, math.nan), self._rss_mib)
        (begun, before), (ended, after) = self._samples
        shares = [(used - since) / (ended - begun) for since, used in zip(before, after, strict=True)]
        return Usage(dict(zip(self._pids, shares, strict=True)), self._rss_mib)


def cpu_seconds(pid: int) -> float:
    """Processor time of all threads of a process so far; NaN where there is no /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return math.nan
    # The command name may hold spaces; fields are counted from behind it: utime and stime (see proc(5)).
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Resident memory of a process; NaN where there is no /proc."""
    statm = Path(f"/proc/{pid}/statm")
    if not statm.exists():
        return math.nan
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
