"""What the log says of calls that fail through no fault of theirs: a flood of them is a line a second."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from serving.errors import Reason
from serving.exchange import Answer

_LOGGER = logging.getLogger(__name__)

_WINDOW_S = 1.0


@dataclass(slots=True)
class _Window:
    """A second after a line.

    Attributes:
        path: Of the last call since then.
        answer: To it.
        calls: Since then.
    """

    path: str = ""
    answer: Answer | None = None
    calls: int = 0


class FailureLog:
    """Logs the first failure for each reason at once, and the following ones together, second by second.

    What the container fails at itself is an ERROR; that it is full or not ready is a WARNING.
    """

    def __init__(self, later: Callable[[float, Callable[[Reason], None], Reason], object]) -> None:
        """Begin; `later` calls a function with its argument after so many seconds, as an event loop does."""
        self._later = later
        self._windows: dict[Reason, _Window] = {}

    def note(self, path: str, answer: Answer) -> None:
        """Take note of an answer with a reason."""
        reason = answer.reason
        assert reason is not None  # for mypy: every error has one
        window = self._windows.get(reason)
        if window is None:
            _log(path, answer, 1)
            self._open(reason)
            return
        window.path, window.answer = path, answer
        window.calls += 1

    def close(self) -> None:
        """Log what has not been logged yet."""
        for window in self._windows.values():
            if window.answer is not None:
                _log(window.path, window.answer, window.calls)
        self._windows.clear()

    def _open(self, reason: Reason) -> None:
        self._windows[reason] = _Window()
        self._later(_WINDOW_S, self._end, reason)

    def _end(self, reason: Reason) -> None:
        window = self._windows.pop(reason, None)
        if window is not None and window.answer is not None:
            _log(window.path, window.answer, window.calls)
            self._open(reason)


def _log(path: str, answer: Answer, calls: int) -> None:
    level = logging.ERROR if answer.reason is Reason.DEFECT else logging.WARNING
    # The last of them stands for all.
    more = "" if calls == 1 else f" ({calls} such calls within {_WINDOW_S:g} s)"
    _LOGGER.log(
        level, "%s answered with %d %s: %s%s", path, answer.status, answer.reason, answer.message, more
    )
