"""When a worker process counts as hung, and how soon another one may take its place."""

from __future__ import annotations

# How often the supervisor looks at each worker.
LOOK_S = 0.1
# A look that comes late says nothing of the workers: the whole machine may have been stopped meanwhile.
_MOST_OF_A_LOOK_S = 0.5

# A worker that gives no heartbeat for so long, or whose call runs for so long, gets connections only if no
# other worker can take them. Heartbeats come every half second.
_LATE_S = 2.0
# One that gives none for so long gets no connections at all: 503 is better than no answer.
_SILENT_S = 5.0

# A worker that served for so long before it ended is replaced at once.
_LONG_LIFE_S = 60.0
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 30.0


class Watch:
    """What is known of one worker from its counters on the scoreboard.

    Times are summed up look by look, so that no clock of one process is compared with that of another.

    Attributes:
        silent_s: Seconds since its last heartbeat.
        call_s: Seconds that the present call of its model has taken; 0 without one.
    """

    def __init__(self) -> None:
        self.silent_s = 0.0
        self.call_s = 0.0
        self._beats = 0
        self._calls = 0

    def look(self, beats: int, calls: int, elapsed_s: float) -> None:
        """Take the counters in, `elapsed_s` after the last look."""
        step = min(elapsed_s, _MOST_OF_A_LOOK_S)
        self.silent_s = self.silent_s + step if beats == self._beats else 0.0
        running = calls % 2 == 1
        self.call_s = self.call_s + step if running and calls == self._calls else 0.0
        self._beats, self._calls = beats, calls

    @property
    def late(self) -> bool:
        """Whether connections should rather go to another worker."""
        return self.silent_s > _LATE_S or self.call_s > _LATE_S

    @property
    def silent(self) -> bool:
        """Whether it does not answer."""
        return self.silent_s > _SILENT_S


class Backoff:
    """The pauses before a worker is started again: 0, 1, 2, 4, … 30 s, for as long as each lives shortly."""

    def __init__(self) -> None:
        self._next_s = 0.0

    def pause(self, served_s: float) -> float:
        """Return the seconds to wait after a worker that served for `served_s` seconds has ended."""
        if served_s >= _LONG_LIFE_S:
            self._next_s = 0.0
        pause_s = self._next_s
        self._next_s = min(2 * pause_s, _LONGEST_PAUSE_S) if pause_s else _FIRST_PAUSE_S
        return pause_s
