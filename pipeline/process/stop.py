"""The stop signal: SIGTERM, SIGINT and --run_for_s, and the guard that keeps stopping short."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from queue import Empty, SimpleQueue
from types import FrameType

from pipeline.process.exit import give_back_and_exit

_LOGGER = logging.getLogger(__name__)

# The promise is 10 s from the signal to the exit; this leaves two to give messages back.
GRACE_S = 8.0

# How long the guard waits for its own words to be logged: what reads them may hang.
_LOG_S = 0.2


class StopSignal:
    """The signal that ends a process, once and for all: the source ends, and with it the pipeline."""

    def __init__(self) -> None:
        self._requested = False
        # Of all queues, locks and events, only this one's put() may interrupt itself: a signal handler calls
        # it in the midst of whatever the main thread does. None: the guard is to end.
        self._reasons: SimpleQueue[str | None] = SimpleQueue()

    @property
    def requested(self) -> bool:
        """Whether the process is to stop."""
        return self._requested

    def request(self, why: str) -> None:
        """Ask the process to stop. Safe in a signal handler; asking again changes nothing."""
        self._requested = True
        self._reasons.put(why)

    def install(self, run_for_s: float | None) -> None:
        """Request a stop at SIGTERM, at SIGINT, and after `run_for_s` seconds if that is given.

        Once it is requested, the process ends within `GRACE_S`, or is ended.
        """
        # Started here: a signal handler must not start threads, or log.
        threading.Thread(target=self._guard, args=(run_for_s,), name="stop guard", daemon=True).start()

        def on_signal(number: int, _frame: FrameType | None) -> None:
            self.request(signal.Signals(number).name)

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)

    def close(self) -> None:
        """End the guard, for a process that goes on."""
        self._reasons.put(None)

    def _guard(self, run_for_s: float | None) -> None:
        limit_s = threading.TIMEOUT_MAX if run_for_s is None else min(run_for_s, threading.TIMEOUT_MAX)
        try:
            why = self._reasons.get(timeout=limit_s)
        except Empty:
            why = f"--run_for_s={run_for_s:g} is over"
            self._requested = True
        if why is None:
            return
        deadline = time.monotonic() + GRACE_S
        _log(logging.INFO, f"stopping: {why}")
        while (left_s := deadline - time.monotonic()) > 0:
            with contextlib.suppress(Empty):
                if self._reasons.get(timeout=left_s) is None:
                    return
        # A call of the model or of Pub/Sub hangs. Its messages are given back and delivered again.
        _log(logging.WARNING, f"still busy {GRACE_S:.0f} s after being told to stop: giving messages back")
        give_back_and_exit(0)


def _log(level: int, text: str) -> None:
    """Log on another thread: where nobody reads the log, a pipe's writer waits for ever."""
    writer = threading.Thread(target=_LOGGER.log, args=(level, text), daemon=True)
    writer.start()
    writer.join(_LOG_S)


# Not in the registry: it must still be given when all that is there has been closed.
_STOP = StopSignal()


def stop_signal() -> StopSignal:
    """Return the process's one stop signal."""
    return _STOP
