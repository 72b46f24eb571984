from __future__ import annotations

import logging

import pytest

from serving.errors import Reason, Refusal
from serving.exchange import Answer
from serving.failure_log import FailureLog


class Clock:
    """Ends windows when it is told to."""

    def __init__(self) -> None:
        self.log = FailureLog(self._later)
        self._due: list[tuple[object, Reason]] = []

    def _later(self, seconds: float, end: object, reason: Reason) -> None:
        assert seconds == 1
        self._due.append((end, reason))

    def second_passes(self) -> None:
        due, self._due = self._due, []
        for end, reason in due:
            assert callable(end)
            end(reason)


def refused(status: int, message: str, reason: Reason | None = None) -> Answer:
    return Answer.of(Refusal(status, message, reason=reason))


def test_a_flood_is_a_line_a_second_for_each_reason(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    for _ in range(1000):
        clock.log.note("/predict", refused(503, "9 calls wait already", Reason.QUEUE_FULL))
    clock.log.note("/predict", refused(503, "out of memory", Reason.MEMORY))
    assert caplog.messages == [
        "/predict answered with 503 queue_full: 9 calls wait already",
        "/predict answered with 503 memory: out of memory",
    ]
    caplog.clear()
    clock.second_passes()
    assert caplog.messages == [
        "/predict answered with 503 queue_full: 9 calls wait already (999 such calls within 1 s)"
    ]
    caplog.clear()
    clock.log.note("/predict", refused(503, "again", Reason.QUEUE_FULL))
    assert caplog.messages == []  # not yet a second after the last line
    clock.second_passes()
    assert caplog.messages == ["/predict answered with 503 queue_full: again"]
    caplog.clear()
    clock.second_passes()
    clock.log.note("/predict", refused(503, "much later", Reason.QUEUE_FULL))
    assert caplog.messages == ["/predict answered with 503 queue_full: much later"]


def test_nothing_is_left_out_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    for number in range(3):
        clock.log.note("/predict", refused(503, f"lost {number}", Reason.DEVICE))
    clock.log.close()
    clock.second_passes()
    assert caplog.messages == [
        "/predict answered with 503 device: lost 0",
        "/predict answered with 503 device: lost 2 (2 such calls within 1 s)",
    ]


def test_only_a_defect_of_the_server_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    clock.log.note("/predict", refused(500, "the server failed"))
    clock.log.note("/predict", refused(503, "not yet"))
    assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
