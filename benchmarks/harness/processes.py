"""What a process uses: its processor time and its memory, as /proc tells."""

from __future__ import annotations

import math
import os
from pathlib import Path


def cpu_seconds(pid: int) -> float:
    """Return the processor time of all threads of a process so far; NaN where there is no /proc."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return math.nan
    # The command's name may hold spaces. So count from the end: utime and stime (see proc(5)).
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    """Return the resident memory of a process in MiB; NaN where there is no /proc."""
    statm = Path(f"/proc/{pid}/statm")
    if not statm.exists():
        return math.nan
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak_resident_mib(pid: int) -> float:
    """Return the highest resident memory of a process so far in MiB; NaN where there is no /proc."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return math.nan
    (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(peak.split()[1]) / 1024


def children(pid: int) -> frozenset[int]:
    """Return the ids of a process's children; none where there is no /proc."""
    tasks = Path(f"/proc/{pid}/task")
    return frozenset(int(child) for file in tasks.glob("*/children") for child in file.read_text().split())
