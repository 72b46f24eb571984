"""What a waiting user is told of the job."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

from loadtest.display import Display, Progress
from local.children import Job
from local.job_note import JobNote, NotedDisplay


@dataclass
class FakeJob:
    restarts: int = 0


def test_the_last_warning_and_the_restarts(tmp_path: Path) -> None:
    log = tmp_path / "pipeline.log"
    job = FakeJob()
    note = JobNote(cast(Job, job), log)
    log.write_text(
        "2026-01-01 10:00:00,000 INFO a.b: reading\nTraceback\n"
        "2026-01-01 10:00:00,500 WARNING apache_beam.ml: a module is not available\n"
        "2026-01-01 10:00:00,500 WARNING root: another is not available\n"
    )
    assert note.text() == ""
    with log.open("a") as file:
        file.write(
            "2026-01-01 10:00:01,000 WARNING a.b: cannot connect\n2026-01-01 10:00:02,000 ERROR a.b: given"
        )
    assert note.text() == "the job's log says: cannot connect"
    with log.open("a") as file:
        file.write(" up\n2026-01-01 10:00:03,000 INFO a.b: reading\n")
    job.restarts = 1
    assert note.text() == "the job was started again once; its log says: given up"
    job.restarts = 5
    assert note.text().startswith("the job was started again 5 times; ")


def test_it_is_shown_while_the_job_is_waited_for(tmp_path: Path) -> None:
    log = tmp_path / "pipeline.log"
    log.write_text("2026-01-01 10:00:01,000 WARNING a.b: cannot connect\n")
    shown: list[str] = []

    class Recorder(Display):
        def update(self, progress: Progress) -> None:
            shown.append(progress.note)

    display = NotedDisplay(Recorder(), JobNote(cast(Job, FakeJob()), log))
    display.update(Progress(phase="waiting for the job", elapsed=0, total=1))
    display.update(Progress(phase="sending", elapsed=0, total=1))
    assert shown == ["the job's log says: cannot connect", ""]
