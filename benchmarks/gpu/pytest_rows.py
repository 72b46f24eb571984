"""A plugin of pytest: each test's outcome, a line of JSON, as soon as it is known.

So the tests before one that hangs, or that ends the process, keep theirs.
"""

from __future__ import annotations

import os
from collections import defaultdict
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    import pytest

# The environment variable that names the file.
FILE_VARIABLE = "GPU_TEST_ROWS"

_phases: defaultdict[str, list[pytest.TestReport]] = defaultdict(list)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Take the report of a phase of a test. The last phase, which always comes, writes the row."""
    _phases[report.nodeid].append(report)
    if report.when != "teardown":
        return
    phases = _phases.pop(report.nodeid)
    # One that failed outweighs one that was skipped, and that one those that passed.
    worst = min(phases, key=lambda phase: ("failed", "skipped", "passed").index(phase.outcome))
    row = {
        "test": report.nodeid,
        "outcome": worst.outcome,
        "reason": _reason(worst),
        "seconds": sum(phase.duration for phase in phases),
    }
    with open(os.environ[FILE_VARIABLE], "ab", buffering=0) as file:
        file.write(orjson.dumps(row) + b"\n")


def _reason(report: pytest.TestReport) -> str:
    if report.passed:
        return ""
    if isinstance(report.longrepr, tuple):  # of a test that is skipped: file, line, reason
        text = report.longrepr[2].removeprefix("Skipped: ")
    else:
        crash = getattr(report.longrepr, "reprcrash", None)
        text = report.longreprtext if crash is None else crash.message
    return " ".join(text.split())[:1000]
