from __future__ import annotations

import pytest

from loadtest import reasons
from loadtest.reasons import Reason, Reasons


def letter(message: str, stage: str = "decode") -> dict[str, str]:
    return {"error_stage": stage, "error_message": message, "request_id": "r"}


def test_the_commonest_first_and_numbers_do_not_tell_reasons_apart() -> None:
    found = Reasons()
    found.add(letter("no model", "inference"))
    for index in range(3):
        found.add(letter(f"features[{index}]: expected a number, got null"))
    found.add(letter("no model"))
    assert found.commonest() == [
        Reason("decode", "features[0]: expected a number, got null", 3),
        Reason("inference", "no model", 1),
        Reason("decode", "no model", 1),
    ]


def test_a_dead_letter_of_others_without_a_reason_is_counted() -> None:
    found = Reasons()
    found.add({})
    assert found.commonest() == [Reason("", "", 1)]


def test_memory_is_bounded_whatever_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "MAX_REASONS", 2)
    found = Reasons()
    for word in ("one", "two", "three", "four", "two"):
        found.add(letter(word))
    assert found.commonest() == [
        Reason("decode", "two", 2),
        Reason("", "other reasons", 2),
        Reason("decode", "one", 1),
    ]
