"""What a waiting user is told of the job: its last warning or error, and how often it was started again."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from loadtest.display import Display, Progress
from local.children import Job

# As `pipeline.job.main` has logging write: time, level, logger, message. Beam warns of what is no trouble, by
# loggers of its own and by the root's.
_TROUBLE = re.compile(
    rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} "
    rb"(?:WARNING (?!apache_beam|root:)|ERROR |CRITICAL )\S+: (.+)"
)


class JobNote:
    """The latest of a job's log, read as it grows.

    Args:
        job: Whose restarts count.
        log: Its log.
    """

    def __init__(self, job: Job, log: Path) -> None:
        self._job = job
        self._log = log
        self._read = 0
        self._last = ""

    def text(self) -> str:
        """Return the note in one line; empty where the job has had no trouble."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            content = log.read()
        # A line that is still being written is read next time.
        whole = content[: content.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            if found := _TROUBLE.match(line):
                self._last = found[1].decode(errors="replace")
        parts = []
        if self._job.restarts:
            times = "once" if self._job.restarts == 1 else f"{self._job.restarts} times"
            parts.append(f"the job was started again {times}")
        if self._last:
            parts.append(f"its log says: {self._last}" if parts else f"the job's log says: {self._last}")
        return "; ".join(parts)


class NotedDisplay(Display):
    """A display that is shown the job's note as well, for as long as nothing has been answered.

    Args:
        display: Shown both.
        note: Of the job.
    """

    def __init__(self, display: Display, note: JobNote) -> None:
        self._display = display
        self._note = note

    def update(self, progress: Progress) -> None:
        """Show the present state and, while the job is waited for, its note."""
        waiting = progress.phase == "waiting for the job"
        self._display.update(replace(progress, note=self._note.text()) if waiting else progress)
