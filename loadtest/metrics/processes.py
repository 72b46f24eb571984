"""Processor time and memory of processes, those that they start included, from /proc."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from loadtest.raw_log import Sample, Series

_PROC = Path("/proc")

# Fields of /proc/PID/stat after the name of the program, counted from its third as 0: proc_pid_stat(5).
_PARENT = 1
_USER, _SYSTEM, _REAPED_USER, _REAPED_SYSTEM = 11, 12, 13, 14
_RESIDENT_PAGES = 21


@dataclass(frozen=True)
class _Process:
    """One process.

    Attributes:
        parent: Its parent's id.
        cpu_s: Its processor time, user and system, and that of the children that it has reaped, in seconds.
        rss_bytes: Its resident memory.
    """

    parent: int
    cpu_s: float
    rss_bytes: float


def series(names: Iterable[str], proc: Path = _PROC) -> list[Series]:
    """Return the series that `sample` fills for processes of these names."""
    missing = "" if (proc / "self" / "stat").exists() else f"not available: there is no {proc} here"
    return [
        Series(f"{name}/{quantity}", unit, "process", missing)
        for name in names
        for quantity, unit in (("cpu_s", "s"), ("rss_bytes", "bytes"))
    ]


def sample(pids: Mapping[str, int], at: float, proc: Path = _PROC) -> list[Sample]:
    """Return what each process has used until now; none of one that has ended.

    `NAME/cpu_s` is cumulative: user and system time, that of ended children that their parent has waited for,
    and that of living descendants. A descendant with a name of its own counts there alone, until it ends and
    its parent waits for it. `NAME/rss_bytes` is the sum over the same processes: what they share counts in
    each.

    It reads all of /proc, as a process does not list its descendants: 2 ms of processor time where there are
    115 processes.

    Args:
        pids: Process ids by name.
        at: Epoch seconds of the samples.
        proc: Where the kernel tells of processes.
    """
    running = _running(proc)
    names = {pid: name for name, pid in pids.items()}
    cpu_s: dict[str, float] = {}
    rss_bytes: dict[str, float] = {}
    for pid, process in running.items():
        name = _owner(pid, running, names)
        if name is not None:
            cpu_s[name] = cpu_s.get(name, 0.0) + process.cpu_s
            rss_bytes[name] = rss_bytes.get(name, 0.0) + process.rss_bytes
    samples = []
    for name in pids:
        if name in cpu_s:
            samples.append(Sample(at, f"{name}/cpu_s", cpu_s[name]))
            # One that has ended and that nobody has waited for yet has none; its processor time is right.
            if rss_bytes[name]:
                samples.append(Sample(at, f"{name}/rss_bytes", rss_bytes[name]))
    return samples


def _owner(pid: int, running: Mapping[int, _Process], names: Mapping[int, str]) -> str | None:
    """Return the name of the nearest named process from `pid` upwards."""
    seen: set[int] = set()
    while pid not in names:
        # A parent that ended during the reading, or whose id another process has by now, ends the way up.
        if pid not in running or pid in seen:
            return None
        seen.add(pid)
        pid = running[pid].parent
    return names[pid]


def _running(proc: Path) -> dict[int, _Process]:
    try:
        pids = [int(name) for name in os.listdir(proc) if name.isdigit()]
    except FileNotFoundError:
        return {}
    tick_s = 1 / os.sysconf("SC_CLK_TCK")
    page_bytes = os.sysconf("SC_PAGE_SIZE")
    running = {}
    for pid in pids:
        try:
            text = (proc / str(pid) / "stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended
        # The name, in brackets, may hold spaces and brackets of its own.
        fields = text[text.rindex(b")") + 1 :].split()
        ticks = sum(int(fields[place]) for place in (_USER, _SYSTEM, _REAPED_USER, _REAPED_SYSTEM))
        running[pid] = _Process(
            int(fields[_PARENT]), ticks * tick_s, int(fields[_RESIDENT_PAGES]) * page_bytes
        )
    return running


class Processes:
    """A source of the samples of processes, for the sampler."""

    def __init__(self, pids: Callable[[], Mapping[str, int]]) -> None:
        """Prepare; `pids` is asked at each sample, as a process that is started again has another id."""
        self._pids = pids
        self._names: dict[str, None] = {}  # in the order in which they were first seen

    def sample(self, at: float) -> list[Sample]:
        """Return what each has used until now; see `sample` of the module."""
        pids = self._pids()
        self._names |= dict.fromkeys(pids)
        return sample(pids, at)

    def series(self) -> list[Series]:
        """Return the series of all that were ever seen."""
        return series(self._names)
