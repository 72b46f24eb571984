"""Two ways to end a process: at once, with messages given back; and as Python does, if torch allows it."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable
from typing import NoReturn

from pipeline.process import registry

# The job's exit code after a transient failure that outlasted its deadline: nothing was lost, start it again.
TRY_AGAIN = 3

_FORCED_CLOSE_S = 1.5

# Whoever ends the process keeps the lock: a second caller would cut off what the first one gives back.
_ending = threading.Lock()


class ComputeThread(threading.Thread):
    """A daemon thread that may be inside torch when the process ends. `leave` looks for such threads."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)


def give_back_and_exit(code: int) -> NoReturn:
    """End the process at once, whatever its threads are doing. Messages without an answer are given back."""
    _ending.acquire()
    # On a thread of its own: a thread that hangs may hold the registry's lock.
    closing = threading.Thread(target=registry.close_all, daemon=True)
    closing.start()
    closing.join(_FORCED_CLOSE_S)
    os._exit(code)


def leave(code: int) -> NoReturn:
    """End the process as sys.exit does, unless a thread may be inside torch: such threads abort it (134)."""
    if any(isinstance(thread, ComputeThread) for thread in threading.enumerate()):
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
