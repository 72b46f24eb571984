"""The wheel of `pipeline/`, built as the image builds it, and installed away from this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def copy_packages(folder: Path) -> Path:
    """Copy what packages are made of into `folder`, and return it.

    A build leaves files beside its sources.
    """
    for name in ("setup.py", "pyproject.toml"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
    for name in ("pipeline", "broker", "loadtest", "serving"):
        (folder / name).mkdir()
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                copy = folder / path.relative_to(ROOT)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(path.read_bytes())
    return folder


def built_wheel(checkout: Path) -> Path:
    """Build the wheel out of a copy, and return its file."""
    if find_spec("pip") is None:
        pytest.skip("this environment has no pip: uv makes them without")
    _pip(checkout, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", "out", ".")
    (built,) = (checkout / "out").glob("*.whl")
    return built


def install(wheel: Path, folder: Path) -> Path:
    """Install a wheel into a new folder, and return that."""
    _pip(folder.parent, "install", "--no-deps", "--no-index", "--target", str(folder), str(wheel))
    return folder


def path_without_checkout(installed: Path) -> str:
    """Return the PYTHONPATH of a `python -S` that finds what is installed there, and third parties.

    Those are found by path: what the .pth files of this environment add, such as this checkout, stays out.
    """
    return os.pathsep.join([str(installed), sysconfig.get_path("purelib")])


def _pip(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
