"""Runs that are made, not measured."""

from __future__ import annotations

import pytest

from lab import run as module
from tests.lab.made_runs import Driver


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setattr(module, "run", made)
    return made
