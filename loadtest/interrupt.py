"""What ends a run early: a first Ctrl-C or SIGTERM in order, a second at once, or whoever has a reason."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# SIGHUP, which Windows lacks, is what a closed terminal sends.
_SIGNALS = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]


class Stop(threading.Event):
    """An event that ends a run early once it is set.

    Attributes:
        reason: Why, in words that "after 10 of 100 messages" can follow.
        by_signal: Whether a signal set it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reason = "interrupted"
        self.by_signal = False

    def end(self, reason: str) -> None:
        """Set it; the reason of whoever comes first is kept. A signal handler may call this."""
        if not self.is_set():
            self.reason = reason
        self.set()


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Yield an event that the first SIGINT, SIGTERM or SIGHUP sets; the second raises KeyboardInterrupt.

    Only the main thread may enter it; the former handlers are back in place afterwards.
    """
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.by_signal = True
        stop.end(f"interrupted ({signal.Signals(number).name})")

    former = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
