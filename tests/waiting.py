"""The time limits of all tests, and how they wait for what other threads and processes do.

A limit is there to end a test that hangs. None says how fast the code must be: a test that passes never
comes near one, on a busy machine either. What must be quick is shown by order and counts instead.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import pytest

# The one variable by which every limit grows, for a machine that is busier or slower than most.
TIME_SCALE = float(os.environ.get("TEST_TIME_SCALE", "1"))
# Seconds to wait for what must come. A job takes 4 s to start where it has a core for itself, and 25 s on two
# cores that ten processes compete for.
LIMIT_S = 120 * TIME_SCALE
# Seconds that a test may take, its fixtures included.
TEST_LIMIT_S = 400 * TIME_SCALE

# The environment of a process of ours: warnings are errors there, too. One that comes while Python frees an
# object, as ResourceWarning does, cannot be raised; Python writes it to the process's log.
WARNINGS_ARE_ERRORS = {"PYTHONWARNINGS": "error"}


def wait_until(condition: Callable[[], object], within_s: float = LIMIT_S) -> None:
    """Return once a condition holds; fail the test if it does not come true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s:g} s: {condition}")
        time.sleep(0.005)
