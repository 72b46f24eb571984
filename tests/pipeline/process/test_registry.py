from __future__ import annotations

import pytest

from pipeline.process import registry


class Thing:
    def __init__(self, name: str, closed: list[str]) -> None:
        self._name = name
        self._closed = closed

    def close(self) -> None:
        self._closed.append(self._name)


def test_made_once() -> None:
    made: list[int] = []
    make = lambda: made.append(1) or object()  # type: ignore[func-returns-value]  # noqa: E731
    assert registry.shared("a", make) is registry.shared("a", make)
    assert registry.shared("b", make) is not registry.shared("a", make)
    assert len(made) == 2


def test_one_may_need_another() -> None:
    outer = registry.shared("outer", lambda: [registry.shared("inner", object)])
    assert outer == [registry.shared("inner", object)]


class Broken:
    def close(self) -> None:
        raise OSError("no")


def test_one_that_fails_to_close_does_not_keep_the_others_open(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []
    registry.shared("first", lambda: Thing("first", closed))
    registry.shared("broken", Broken)
    registry.close_all()
    assert closed == ["first"]
    assert "could not close Broken" in caplog.text


def test_close_all_closes_the_youngest_first_and_forgets() -> None:
    closed: list[str] = []
    first = registry.shared("first", lambda: Thing("first", closed))
    registry.shared("plain", object)
    registry.shared("second", lambda: Thing("second", closed))
    registry.close_all()
    assert closed == ["second", "first"]
    assert registry.shared("first", lambda: Thing("first", closed)) is not first


def test_closed_for_good() -> None:
    closed: list[str] = []
    registry.shared("first", lambda: Thing("first", closed))
    registry.close_for_good()
    assert closed == ["first"]
    with pytest.raises(registry.ClosedError, match="the process ends"):
        registry.shared("first", lambda: Thing("first", closed))
