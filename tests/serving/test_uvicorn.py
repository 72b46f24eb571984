"""serving/http_server.py builds on unpublished parts of uvicorn: a new minor version is taken by hand."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.serving.container import ROOT

LOCKS = sorted(ROOT.glob("requirements-*.txt"))


def required() -> Requirement:
    (serving,) = [
        node.value
        for node in ast.parse((ROOT / "setup.py").read_text()).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SERVING"
    ]
    (found,) = [text for text in ast.literal_eval(serving) if text.startswith("uvicorn")]
    return Requirement(found)


def test_there_are_locks() -> None:
    assert {lock.name for lock in LOCKS} >= {"requirements-cpu.txt", "requirements-gpu.txt"}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_setup_takes_the_locked_minor_version_and_no_newer_one(lock: Path) -> None:
    pins = dict(line.split("==") for line in lock.read_text().splitlines() if "==" in line)
    locked = Version(pins["uvicorn"])
    assert locked in required().specifier
    assert Version(f"{locked.major}.{locked.minor}.999") in required().specifier
    assert Version(f"{locked.major}.{locked.minor + 1}") not in required().specifier
