"""The stop signal: SIGTERM, SIGINT and --run_for_s, and the timer that keeps stopping short."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable
from types import FrameType

from pipeline.process import registry
from pipeline.process.exit import give_back_and_exit

_LOGGER = logging.getLogger(__name__)

# The promise is 10 s from the signal to the exit; this leaves two to give messages back.
GRACE_S = 8.0


class StopSignal:
    """The signal that ends a process, once and for all: the source ends, and with it the pipeline."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._timers: list[threading.Timer] = []

    @property
    def requested(self) -> bool:
        """Whether the process is to stop."""
        return self._event.is_set()

    def request(self, why: str) -> None:
        """Ask the process to stop. Safe in a signal handler; asking again changes nothing."""
        if self._event.is_set():
            return
        self._event.set()
        _LOGGER.info("stopping: %s", why)
        self._start_timer(GRACE_S, self._force)

    def install(self, run_for_s: float | None) -> None:
        """Request a stop at SIGTERM, at SIGINT, and after `run_for_s` seconds if that is given."""

        def on_signal(number: int, _frame: FrameType | None) -> None:
            self.request(signal.Signals(number).name)

        signal.signal(signal.SIGTERM, on_signal)
        signal.signal(signal.SIGINT, on_signal)
        if run_for_s is not None:
            self._start_timer(run_for_s, lambda: self.request(f"--run_for_s={run_for_s:g} is over"))

    def close(self) -> None:
        """Cancel the timers."""
        for timer in self._timers:
            timer.cancel()

    def _start_timer(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        self._timers.append(timer)
        timer.start()

    def _force(self) -> None:
        # A call of the model or of Pub/Sub hangs. Its messages are given back and delivered again.
        _LOGGER.warning("still busy %.0f s after being told to stop: giving messages back", GRACE_S)
        give_back_and_exit(0)


def stop_signal() -> StopSignal:
    """Return the process's one stop signal."""
    return registry.shared("stop", StopSignal)
