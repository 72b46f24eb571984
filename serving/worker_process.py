"""A worker process as the supervisor sees it."""

from __future__ import annotations

import contextlib
import logging
import socket
import subprocess
import time
from multiprocessing.connection import Connection

from pipeline.process.user_modules import module_command
from serving.control import Begin, Follow, Load
from serving.limits import Limits
from serving.metrics import Tally
from serving.scoreboard import Scoreboard
from serving.watchdog import Watch

_LOGGER = logging.getLogger(__name__)

# A worker closes its idlest connection for each one that it has too many; this is for what it cannot close.
_MOST_CONNECTIONS = Limits().connections + 32


class WorkerProcess:
    """A worker process, from its start to its end.

    Attributes:
        number: Counted from 0.
        process: As it was started.
        control: Carries the messages of `serving.control`.
        watch: What its counters tell.
        up: Whether it answers HTTP.
        reason: Why it is to end; None while it is not.
    """

    def __init__(
        self, begin: Begin, scoreboard: Scoreboard, tally: Tally, shared_fds: tuple[int, int]
    ) -> None:
        """Start the process, and send it `begin`.

        Args:
            begin: Its first message.
            scoreboard: Of the container.
            tally: Its own.
            shared_fds: By which it maps scoreboard and metrics.
        """
        number = begin.number
        self.number = number
        self.watch = Watch()
        self.up = False
        self.reason: str | None = None
        self._scoreboard = scoreboard
        self._tally = tally
        self._handed = 0
        self._loading_since: float | None = None
        self._ready_since: float | None = None
        self._kill_at = 0.0
        mine, theirs = socket.socketpair(socket.AF_UNIX)
        self._connections, workers = socket.socketpair(socket.AF_UNIX)
        # A worker that takes none must not keep the supervisor waiting.
        self._connections.setblocking(False)
        scoreboard.reset(number)
        with theirs, workers:
            fds = (theirs.fileno(), workers.fileno(), *shared_fds)
            # A session of its own: Ctrl-C in a terminal is the supervisor's to handle.
            self.process = subprocess.Popen(
                module_command("serving.worker", begin.options.log_format, *map(str, fds)),
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.control = Connection(mine.detach())
        self._send(begin)

    @property
    def ready(self) -> bool:
        """Whether its model is loaded and warm, and it is not to end."""
        return self._ready_since is not None and self.reason is None

    @property
    def was_ready(self) -> bool:
        """Whether it has ever been."""
        return self._ready_since is not None

    @property
    def loading_s(self) -> float:
        """Seconds that it has been loading its model; 0 before and after."""
        if self._loading_since is None or self.was_ready:
            return 0.0
        return time.monotonic() - self._loading_since

    @property
    def served_s(self) -> float:
        """Seconds since its model was loaded and warm; 0 before."""
        return 0.0 if self._ready_since is None else time.monotonic() - self._ready_since

    @property
    def rank(self) -> tuple[bool, bool, int]:
        """The lower, the sooner it gets a connection."""
        return (not self.ready, self.watch.late, self._open)

    @property
    def takes_connections(self) -> bool:
        """Whether it answers HTTP, as far as is known, and has room."""
        return self.up and self.reason is None and not self.watch.silent and self._open < _MOST_CONNECTIONS

    @property
    def overdue_s(self) -> float:
        """Seconds since it was to be gone; negative while it has time left, or is not to end."""
        return time.monotonic() - self._kill_at if self.reason is not None else -1.0

    @property
    def _open(self) -> int:
        return self._scoreboard.open_connections(self.number, self._handed)

    def load(self, message: Load | Follow) -> None:
        """Have it load the model."""
        self._loading_since = time.monotonic()
        self._send(message)

    def became_ready(self) -> None:
        """Note that its model is loaded and warm."""
        self._ready_since = time.monotonic()

    def look(self, elapsed_s: float) -> None:
        """Take its counters in, `elapsed_s` after the last look."""
        self.watch.look(self._scoreboard.beats(self.number), self._scoreboard.calls(self.number), elapsed_s)

    def hand(self, connection: socket.socket) -> bool:
        """Hand it a connection; return whether there was room in its queue of new ones."""
        try:
            socket.send_fds(self._connections, [b"c"], [connection.fileno()])
        except OSError:
            return False  # the queue is full, or it has died, which its control pipe will show
        self._handed += 1
        return True

    def finish(self) -> None:
        """Have it end once its calls in flight are answered."""
        self._connections.close()

    def end(self, reason: str, within_s: float) -> None:
        """Note that it is to end; it has `within_s` seconds to do so by itself."""
        if self.reason is None:
            self.reason = reason
            self._kill_at = time.monotonic() + within_s

    def kill(self) -> None:
        """Kill the process, unless it has ended."""
        self.process.kill()

    def close(self) -> None:
        """Let go of what belongs to the process, which has ended."""
        self.control.close()
        self._connections.close()
        self._tally.ended()

    def _send(self, message: Begin | Load | Follow) -> None:
        # If it has died, the end of its pipe will show it.
        with contextlib.suppress(BrokenPipeError):
            self.control.send(message)
