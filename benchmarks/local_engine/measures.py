"""What `benchmarks.local_engine` measures: how far up its ladder each job gets."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.harness import cli
from benchmarks.harness.jobs import running_job
from benchmarks.local_engine.ladder import Row, Step, is_sustained
from benchmarks.local_engine.report import one_line
from benchmarks.local_engine.sides import SIDES
from benchmarks.local_engine.usage import JobEndedError, UsageMeter
from loadtest.driver.errors import RunError
from loadtest.driver.run import run
from loadtest.interrupt import Stop
from loadtest.records import read_records
from local.run import EXAMPLE
from local.topics import Topics

# An overloaded job would need minutes to work off its backlog, and the step has failed by then.
DRAIN_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Climber:
    """Drives the job of a row step by step, with the load driver in this process.

    Attributes:
        warmup: Of a step, seconds.
        seconds: Measured at each step after that.
        others: The processes that are metered beside the job, id by name.
        stop: Ends the climb when it is set.
    """

    warmup: float
    seconds: float
    others: Mapping[str, int]
    stop: Stop

    def climb(self, row: Row, folder: Path) -> None:
        """Record a row's steps, until `stop` is set or a step has failed twice.

        The second time has a fresh job: one stall of a shared machine must not pass for what a job carries.

        Args:
            row: Gets the steps, or the error that ended the climb.
            folder: For files of the job and of the driver.
        """
        left = list(row.ladder)
        failed_before = False
        while left and not self.stop.is_set():
            topics = Topics.fresh(secrets.token_hex(4))
            topics.create()
            log = folder / "job.log"
            with running_job(SIDES[row.key].command(topics, folder), log) as job:
                while left:
                    meter = UsageMeter(job, log, self.others, self.warmup, self.seconds)
                    try:
                        step = self._measure(row, left[0], topics, meter, folder / "driver")
                    except (JobEndedError, RunError) as error:
                        row.error = str(error)
                        cli.progress(f"    {error}")
                        return
                    if self.stop.is_set():
                        return  # what was cut short is no step
                    row.steps.append(step)
                    cli.progress(one_line(step))
                    if not step.sustained:
                        break
                    del left[0]
                    failed_before = False
            if left:
                if failed_before:
                    return
                failed_before = True

    def _measure(self, row: Row, rate: float, topics: Topics, meter: UsageMeter, out: Path) -> Step:
        """Drive the running job at `rate` msg/s.

        Raises:
            JobEndedError: The job has ended.
            RunError: The job does not answer.
        """
        cli.progress(f"({row.key}) {row.title}: {rate:g} msg/s for {self.warmup:g} + {self.seconds:g} s")
        options = topics.run_options(rate, self.seconds, read_records(EXAMPLE / "records.jsonl"), out)
        options = replace(options, warmup=self.warmup, drain_timeout=DRAIN_TIMEOUT_S)
        summary = run(options, display=meter, stop=self.stop)
        return Step(rate, summary, meter.usage(), is_sustained(rate, summary), summary.schedule_missed)
