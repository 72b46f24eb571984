"""A command whose output nobody reads any more ends without a traceback."""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Callable

# What a shell says of a command that ended by SIGPIPE.
OUTPUT_CLOSED = 128 + signal.SIGPIPE


def until_output_closes(main: Callable[[], int]) -> int:
    """Run a command and return its exit code; 141 where its standard output was closed, as by `| head`."""
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        if not _is_closed():
            raise
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED


def _is_closed() -> bool:
    """Return whether standard output is a pipe that nobody reads any more."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))
