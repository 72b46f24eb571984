"""Made logs in the place of runs, for the tests of `loadtest run`."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from lab.report import report_command
from lab.run import run_command
from loadtest.display import Display
from loadtest.driver.system import System
from loadtest.interrupt import Stop
from loadtest.options import RunOptions
from loadtest.run_folder import make_private
from tests.loadtest.made_log import Load, cut_short, made_log
from tests.loadtest.made_log import System as MadeSystem

SECONDS = 40
ELSEWHERE = ["--project=p", "--input_topic=requests", "--output_subscription=results"]


class Driver:
    """Makes the raw log of a run, in the place of one.

    Attributes:
        late_s: Mean of how much too late each message leaves.
        cut_at: Second at which the run is ended; 0: it is not.
        sends: Whether it sends anything.
        cached: Whether the system answers sooner what it has seen.
        cached_s: Of its model call then; else it takes 0.004.
        made: The options of each run.
    """

    def __init__(self) -> None:
        self.late_s = 0.0001
        self.cut_at = 0.0
        self.sends = True
        self.cached = False
        self.cached_s = 0.001
        self.made: list[RunOptions] = []

    def __call__(
        self, options: RunOptions, *, system: System, display: Display, stop: Stop
    ) -> SimpleNamespace:
        self.made.append(options)
        if not self.sends:
            return SimpleNamespace(run="ffffffff", error="interrupted before the first message was sent")
        base_s = self.cached_s if self.cached and len(options.input) == 1 else 0.004
        load = Load(options.rate, options.duration, seed=len(self.made), schedule_error_s=self.late_s)
        log = made_log(load, MadeSystem(base_s=base_s))
        if self.cut_at:
            log = cut_short(log, self.cut_at, "interrupted (SIGINT)")
        make_private(options.out)
        log.write(options.out)
        return SimpleNamespace(run=log.facts.run, error=log.facts.partial)


def command(out: Path, *more: str) -> int:
    flags = [f"--out={out}", "--rate=200", f"--duration={SECONDS}", "--quiet", *ELSEWHERE]
    return run_command([*flags, *more])


def made_again(out: Path, *reports: str) -> None:
    """Assert that `report` makes the same page and the same reports of a folder, byte by byte."""
    paths = [out / name for name in ("report.html", *reports)]
    made = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    assert report_command([str(out)]) == 0
    assert [path.read_bytes() for path in paths] == made
