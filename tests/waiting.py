"""Waiting on conditions, for tests of what other threads and processes do."""

import time
from collections.abc import Callable

import pytest


def wait_until(condition: Callable[[], object], within_s: float = 60) -> None:
    """Returns once a condition holds, and fails the test if it does not come true in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {within_s} s: {condition}")
        time.sleep(0.005)
