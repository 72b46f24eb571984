"""Swapping the model of the real job, under load: v1, v2, v1 again, and one that is refused."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.swap.measures import read
from benchmarks.swap.models import Version, make_versions, point
from loadtest.display import Display, Progress
from loadtest.interrupt import Stop
from loadtest.summary import Summary
from tests.integration.conftest import Pipeline
from tests.waiting import LIMIT_S


@dataclass(frozen=True)
class Step:
    """Something to do, and the line that the job then logs for the `count`-th time."""

    action: Callable[[], None]
    line: str
    count: int


class Steps(Display):
    """Takes the steps of a run in turn and ends it after the last.

    A step is over when the job has logged its line and a request sent after that has been answered.
    """

    def __init__(self, log: Callable[[], str], steps: Sequence[Step]) -> None:
        self._log = log
        self._left = list(steps)
        self._taken: Step | None = None
        self._sent_before = 0
        self.over = Stop()

    def update(self, progress: Progress) -> None:
        if self._taken is not None and self._log().count(self._taken.line) >= self._taken.count:
            self._taken = None
            self._sent_before = progress.sent
        # One answer more than there were requests: one of the new ones was among them.
        if self._taken is not None or progress.received <= self._sent_before:
            return
        if self._left:
            self._taken = self._left.pop(0)
            self._taken.action()
        else:
            self.over.set()


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
            Step(lambda: point(pointer, second), "swapped the model", 1),
            Step(lambda: point(pointer, wrong), "refused a new model", 1),
            Step(lambda: point(pointer, first), "swapped the model", 2),
        ],
    )
    summary = drive(100, LIMIT_S, steps, stop=steps.over)
    assert steps.over.is_set(), job.log
    assert summary.sent == summary.received > 100
    assert (summary.dead_lettered, summary.lost) == (0, 0)
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
    assert job.wait() == 2
    assert "which is no path under --model_root" in job.log
    assert "reading projects/" not in job.log
