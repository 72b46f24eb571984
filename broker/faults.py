"""Faults that tests inject into a running broker."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc


@dataclass(frozen=True, slots=True)
class Failure:
    """The answer to one call: an error.

    Attributes:
        code: Its status.
        message: Its details.
        applied: Whether the call takes effect and only its answer is lost.
    """

    code: grpc.StatusCode
    message: str
    applied: bool


class Faults:
    """What goes wrong next. Every method may be called from any thread, before and while the broker serves.

    A call uses up at most one delay and one failure, in the order they were asked for; the delay comes first.
    """

    def __init__(self, methods: frozenset[str]) -> None:
        self._methods = methods
        self._lock = threading.Lock()
        self._failures: dict[str, deque[Failure]] = {name: deque() for name in methods}
        self._delays: dict[str, deque[float]] = {name: deque() for name in methods}
        self._duplicates = 0
        self._streams: dict[int, Callable[[], None]] = {}

    def fail(
        self,
        method: str,
        code: grpc.StatusCode,
        *,
        times: int = 1,
        message: str = "fault injected by a test",
        applied: bool = False,
    ) -> None:
        """Answer the next `times` calls of `method` ("Publish", "StreamingPull", …) with an error status.

        `applied=True` lets each call take effect first, as when a connection breaks before the answer.

        Raises:
            ValueError: An unknown method, a count below 1, the code OK, or `applied` for StreamingPull.
        """
        self._check_method(method)
        _check_times(times)
        if code is grpc.StatusCode.OK:
            raise ValueError("code must be an error; OK is none")
        if applied and method == "StreamingPull":
            raise ValueError(
                "applied does not go with StreamingPull: use drop_streams() to break an open one"
            )
        with self._lock:
            self._failures[method].extend([Failure(code, message, applied)] * times)

    def delay(self, method: str, seconds: float, *, times: int = 1) -> None:
        """Hold the next `times` calls of `method` for `seconds` before they take effect.

        Raises:
            ValueError: An unknown method, a count below 1, or negative seconds.
        """
        self._check_method(method)
        _check_times(times)
        if seconds < 0:
            raise ValueError(f"seconds must not be negative; it is {seconds}")
        with self._lock:
            self._delays[method].extend([seconds] * times)

    def duplicate(self, *, times: int = 1) -> None:
        """Deliver each of the next `times` messages twice: one message id, two ack ids.

        Counted over all subscriptions, and a redelivery counts as a message.

        Raises:
            ValueError: A count below 1.
        """
        _check_times(times)
        with self._lock:
            self._duplicates += times

    def drop_streams(self) -> int:
        """Break every open StreamingPull with UNAVAILABLE; return how many there were."""
        with self._lock:
            for drop in self._streams.values():
                drop()
            return len(self._streams)

    def pending(self, method: str) -> int:
        """Return how many faults of `method` have not struck yet; a delay has struck once it began.

        Raises:
            ValueError: An unknown method.
        """
        self._check_method(method)
        with self._lock:
            return len(self._failures[method]) + len(self._delays[method])

    def clear(self) -> None:
        """Forget all faults that have not happened yet."""
        with self._lock:
            self._duplicates = 0
            for method in self._methods:
                self._failures[method].clear()
                self._delays[method].clear()

    def take_failure(self, method: str) -> Failure | None:
        """Return, for the server, how the call that begins now is to fail, if it is."""
        # Most calls have none, and need no lock to see it.
        if not self._failures[method]:
            return None
        with self._lock:
            return self._failures[method].popleft() if self._failures[method] else None

    def take_delay(self, method: str) -> float:
        """Return, for the server, how many seconds to hold the call that begins now."""
        if not self._delays[method]:
            return 0.0
        with self._lock:
            return self._delays[method].popleft() if self._delays[method] else 0.0

    def take_duplicate(self) -> bool:
        """Return, for the server, whether to deliver the message at hand twice."""
        if not self._duplicates:
            return False
        with self._lock:
            if not self._duplicates:
                return False
            self._duplicates -= 1
            return True

    @contextmanager
    def open_stream(self, drop: Callable[[], None]) -> Iterator[None]:
        """Let `drop_streams` call `drop`, from any thread, while the server has a stream open."""
        key = id(drop)
        with self._lock:
            self._streams[key] = drop
        try:
            yield
        finally:
            with self._lock:
                del self._streams[key]

    def _check_method(self, method: str) -> None:
        if method not in self._methods:
            raise ValueError(f"no method {method!r}; the broker has {', '.join(sorted(self._methods))}")


def _check_times(times: int) -> None:
    if times < 1:
        raise ValueError(f"times must be at least 1; it is {times}")
