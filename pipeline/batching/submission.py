"""An item on its way through a batch, and the batch that it is in."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Output = TypeVar("Output")


class Submission(Generic[Item, Output]):
    """An item that one thread submitted, and the latch that the thread waits at."""

    __slots__ = ("arrived", "done", "error", "item", "output", "size")

    def __init__(self, item: Item, size: int, arrived: float) -> None:
        self.item = item
        self.size = size
        self.arrived = arrived
        self.output: Output | None = None
        self.error: BaseException | None = None
        # A plain lock, released once: an Event costs several times as much to make and to wait for.
        self.done = threading.Lock()
        self.done.acquire()

    def succeed(self, output: Output) -> None:
        """Let the thread go on, with its output."""
        self.output = output
        self.done.release()

    def fail(self, error: BaseException) -> None:
        """Let the thread go on, and raise `error`."""
        self.error = error
        self.done.release()


class Batch(Generic[Item, Output]):
    """The submissions of one call of `run`; none while a thread warms up.

    Attributes:
        submissions: In the order in which they arrived; none once they have failed.
        started: Monotonic seconds at the start of the call, or when `run` last renewed it.
        abandoned: Whether the submissions have failed while the call goes on.
    """

    def __init__(self, started: float) -> None:
        self.submissions: list[Submission[Item, Output]] = []
        self.started = started
        self.abandoned = False

    def finish(self, outputs: Sequence[Output], error: BaseException | None) -> None:
        """Give each submission its output, or a copy of the error."""
        if error is not None:
            self._fail(lambda: _copy(error))
            return
        for submission, output in zip(self.submissions, outputs, strict=True):
            submission.succeed(output)

    def abandon(self, make_error: Callable[[], BaseException]) -> None:
        """Fail the submissions. What the call still returns is dropped."""
        self.abandoned = True
        self._fail(make_error)

    def _fail(self, make_error: Callable[[], BaseException]) -> None:
        # Let go, as frames in the errors' tracebacks hold this batch: the errors would hold themselves.
        submissions, self.submissions = self.submissions, []
        for submission in submissions:
            submission.fail(make_error())


def _copy(error: BaseException) -> BaseException:
    """Return an error like `error`, and from it, for one thread to raise.

    A shared one would gather the tracebacks of all threads that raise it.
    """
    try:
        copied = copy.copy(error)
    except Exception:  # not every class can be made of the `args` of its instances
        copied = RuntimeError(f"{type(error).__name__}: {error}")
    copied.__cause__ = error
    return copied
