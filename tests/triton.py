"""Triton for tests: installed the first time, and the reason to skip where it cannot run."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import pytest

from local.triton import installation
from local.triton.installation import TritonError
from local.triton.server import Triton, why_no_vertex


@cache
def _why_none() -> str:
    """Return why there is no Triton here, after trying to install it."""
    try:
        installation.install()
    except TritonError as error:
        return str(error)
    return ""


def require_triton() -> None:
    """Skip the test where Triton cannot run."""
    if reason := _why_none():
        pytest.skip(reason)


@contextmanager
def running_triton(repository: Path, log: Path, *flags: str, vertex: bool = False) -> Iterator[Triton]:
    """Start Triton on a repository of models and yield it once all are loaded; skip where it cannot run."""
    require_triton()
    if vertex and (reason := why_no_vertex()):
        pytest.skip(reason)
    triton = Triton(repository, log, vertex=vertex, flags=flags, on_failure=lambda reason: None)
    try:
        triton.await_ready(threading.Event())
        yield triton
    finally:
        code = triton.stop()
    assert (code, triton.failure) == (0, None)
