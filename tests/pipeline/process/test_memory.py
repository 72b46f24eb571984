"""Freed memory goes back to the system where the C library can do that."""

from __future__ import annotations

import ctypes

import pytest

from pipeline.process import memory


class Library:
    """Stands for the C library."""

    def __init__(self) -> None:
        self.trimmed: list[int] = []

    def malloc_trim(self, pad: int) -> None:
        self.trimmed.append(pad)


def test_glibc_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    memory.give_back_freed_memory()
    assert library.trimmed == [0]


def test_another_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    memory.give_back_freed_memory()


def test_the_real_one() -> None:
    memory.give_back_freed_memory()
