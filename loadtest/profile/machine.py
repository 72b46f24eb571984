"""The machine that a profile was measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from loadtest.profile.profile import Machine
from loadtest.versions import versions

_CPUINFO = Path("/proc/cpuinfo")


def this_machine() -> Machine:
    """Return this machine; its cores are those that this process may run on."""
    return Machine(_cpu(), len(os.sched_getaffinity(0)), versions())


def _cpu() -> str:
    lines = _CPUINFO.read_text().splitlines() if _CPUINFO.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
