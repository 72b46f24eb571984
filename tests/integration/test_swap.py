"""Swapping the model of the real job, under load: v1, v2, v1 again, and one that is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.swap.measures import read
from benchmarks.swap.models import Version, make_versions, point
from loadtest.display import Display, Progress
from loadtest.summary import Summary
from tests.integration.conftest import Pipeline

pytestmark = pytest.mark.timeout(300)


class Steps(Display):
    """Takes one step after the other, each as soon as the job's log shows that the last has come true."""

    def __init__(self, log: Callable[[], str], steps: list[tuple[Callable[[], None], str, int]]) -> None:
        self._log = log
        self._steps = steps  # what to do, and the line that shows it, and how many of those
        self._awaited: tuple[str, int] | None = None

    def update(self, progress: Progress) -> None:
        if progress.received < 100:
            return
        if self._awaited is not None:
            line, count = self._awaited
            if self._log().count(line) < count:
                return
            self._awaited = None
        if self._steps:
            action, line, count = self._steps.pop(0)
            action()
            self._awaited = (line, count)

    @property
    def done(self) -> bool:
        return not self._steps and self._awaited is None


def test_there_and_back_under_load(
    start: Callable[..., Pipeline], drive: Callable[..., Summary], tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    first, second = make_versions(models)
    # The second's weights, and a golden set that they cannot pass.
    wrong = Version(models / "v3.pt2", second.predictions)
    wrong.file.write_bytes(second.file.read_bytes())
    (models / "v3.pt2.golden.jsonl").write_bytes((models / "v1.pt2.golden.jsonl").read_bytes())
    pointer = models / "current"
    point(pointer, first)
    job = start(f"--model_pointer={pointer}", "--model_refresh_s=0.1")
    steps = Steps(
        lambda: job.log,
        [
            (lambda: point(pointer, second), "swapped the model", 1),
            (lambda: point(pointer, wrong), "refused a new model", 1),
            (lambda: point(pointer, first), "swapped the model", 2),
        ],
    )
    summary = drive(100, 15, steps)
    assert steps.done, job.log
    assert (summary.sent, summary.received, summary.dead_lettered, summary.lost) == (1500, 1500, 0, 0)
    assert job.stop() == 0

    results = read(tmp_path / "out" / "results.jsonl", (first, second))
    assert all(result.right for result in results)
    names = [result.model_id.partition("@")[0] for result in results]
    turns = [name for name, before in zip(names, ["", *names], strict=False) if name != before]
    assert turns == ["v1.pt2", "v2.pt2", "v1.pt2"]
    assert "v3.pt2.golden.jsonl, line 1" in job.log


def test_a_pointer_of_no_use_ends_the_job_before_it_reads(
    start: Callable[..., Pipeline], tmp_path: Path
) -> None:
    (tmp_path / "current").write_text("../elsewhere.pt2")
    job = start(f"--model_pointer={tmp_path / 'current'}")
    assert job.wait(60) == 2
    assert "which is no path under --model_root" in job.log
    assert "reading projects/" not in job.log
