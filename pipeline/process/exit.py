"""Two ways to end a process: at once, with messages given back; and as Python does, but within a time.

A worker's process is ended by Beam, as Python does: then what it shares is closed first.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn

from pipeline.process import registry

# The job's exit code after a transient failure that outlasted its deadline: nothing was lost, start it again.
TRY_AGAIN = 3

_FORCED_CLOSE_S = 1.5
# After a stop signal 8 s are for the bundles (`stop.GRACE_S`), and 10 are promised.
_LEAVE_S = 1.5

# Whoever ends the process keeps the lock: a second caller would cut off what the first one gives back.
_ending = threading.Lock()
# The exit code of a process that leaves.
_code: int | None = None


class ComputeThread(threading.Thread):
    """A daemon thread that may be inside torch when the process ends. `leave` looks for such threads."""

    def __init__(self, target: Callable[[], None], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)


def give_back_and_exit(code: int) -> NoReturn:
    """End the process at once, whatever its threads are doing. Messages without an answer are given back."""
    _ending.acquire()
    # On a thread of its own: a thread that hangs may hold the registry's lock.
    closing = threading.Thread(target=registry.close_for_good, daemon=True)
    closing.start()
    closing.join(_FORCED_CLOSE_S)
    os._exit(code)


def leave(code: int) -> NoReturn:
    """End the process as sys.exit does, but in seconds, whatever hangs: a thread, or what is done at exit.

    A thread that may be inside torch would abort the process (134) if Python ended it: then what other
    modules want to do at exit is left out.
    """
    global _code
    _ending.acquire()
    threading.Thread(target=_exit_later, args=(code,), daemon=True).start()
    sys.stdout.flush()
    registry.close_for_good()
    if any(isinstance(thread, ComputeThread) for thread in threading.enumerate()):
        _exit_now(code)
    _code = code
    sys.exit(code)


def _exit_later(code: int) -> None:
    time.sleep(_LEAVE_S)
    os._exit(code)


def _exit_now(code: int) -> NoReturn:
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@atexit.register
def _skip_teardown() -> None:
    """End a process that leaves, after what modules that were loaded later do at exit.

    All that is left by then is that Python frees one module after another: with Beam and torch loaded that
    takes 0.6 s on an idle machine, more than 4 s on a busy one, and nothing can interrupt it.
    """
    if _code is not None:
        _exit_now(_code)


@atexit.register
def _close_shared() -> None:
    """Close what a process shares that ends without `leave`, as Beam's SDK processes do.

    A batcher waits a second for calls of the model then: where one comes back from torch while Python ends
    its thread, the process aborts (134).
    """
    registry.close_for_good()
