"""The runs that a job's profile is made of: without messages, at rising rates, and over a backlog."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from google.api_core.exceptions import GoogleAPICallError
from rich.console import Console

from lab.target import Target, started
from loadtest.analysis.analyse import analyse
from loadtest.analysis.settings import Settings
from loadtest.bottleneck.job_flags import limits
from loadtest.display import Display
from loadtest.driver.errors import RunError
from loadtest.driver.run import run
from loadtest.interrupt import Stop, stop_on_signals
from loadtest.metrics import processes
from loadtest.options import RunOptions
from loadtest.profile.job import JobRuns, kept_up
from loadtest.profile.model_calls import model_calls
from loadtest.profile.sizes import calls_of_backlog, left_out, settled, sizes_up_to, sizes_within
from loadtest.raw_log import RawLog
from loadtest.run_folder import RESULTS, make_private
from loadtest.terminal import say
from local.children import ChildError
from local.job_flags import JobFlags

LEVELS = "levels"
SIZES = "sizes"
# Seconds that are cut from the start of each rate.
WARM_UP_S = 2.0
# Messages a second. They rise until the job does not keep up.
_FIRST_RATE, _FACTOR, _MOST_RATES = 50.0, 3.0, 8
# A warm-up is repeated until the calls have settled, but so often at most.
_WARM_UP_RUN_S, _MOST_WARM_UPS = 4.0, 3
# The processor time of an idle job is read so often, at this distance.
_IDLE_READINGS, _IDLE_S = 5, 1.0
# A backlog is sent at so many times what the job carries; for all of the time that it is then watched, it
# lasts even if the job, which answers meanwhile, is as fast as with its own flags.
_BACKLOG_FACTOR = 3.0


class CutShortError(Exception):
    """The runs were ended early; the message says by what."""


@dataclass(frozen=True)
class Calibration:
    """Where and how a job is measured.

    Attributes:
        options: Of each run, but for its schedule and folder.
        flags: Of the job.
        seconds: Of each rate; a backlog is watched for half of them.
        out: Gets the raw log of each run, and the logs of what is started.
        console: Told what is done.
        most: Instances that a call of the endpoint may have; None for a job in local mode, and where that is
            not known.
    """

    options: RunOptions
    flags: JobFlags
    seconds: float
    out: Path
    console: Console
    most: int | None = None

    def tell(self, text: str) -> None:
        """Say what is done."""
        say(self.console, text)


def measure_job(calibration: Calibration, runs: JobRuns, stop: Stop) -> None:
    """Make the runs of a profile, as far as they get.

    Args:
        calibration: What is to be measured.
        runs: Gets each run that came to its end, and what ended the others.
        stop: Once set, nothing more is sent.

    Raises:
        ChildError, RunError, PubsubError, GoogleAPICallError: There is nothing to make a profile of.
    """
    flags = calibration.flags
    bounds = limits(flags.text)
    asked = sizes_up_to(bounds.batch)
    sizes = sizes_within(asked, calibration.most)
    runs.left_out = left_out(asked, calibration.most)
    try:
        with started(calibration.options, flags, calibration.out, stop, calibration.console) as target:
            try:
                _levels(calibration, target, runs, stop)
                if not bounds.endpoint:
                    _backlog(calibration, target, sizes.pop(), runs, stop)  # the first job has this size, too
            except CutShortError as error:
                runs.ended = str(error)
        # Not in the order of the sizes, so that what changes with time is no slope.
        for size in [*sizes[::2], *sizes[1::2][::-1]]:
            if not runs.ended:
                _other_job(calibration, size, runs, stop, endpoint=bounds.endpoint)
    except (ChildError, RunError, GoogleAPICallError) as error:
        if not runs.levels:
            raise
        calibration.tell(str(error))
        runs.ended = stop.reason if stop.is_set() else str(error).splitlines()[0]


def _levels(calibration: Calibration, target: Target, runs: JobRuns, stop: Stop) -> None:
    """Warm the job up, leave it alone, and offer rates until it does not keep up."""
    runs.settled = _warm_up(calibration, target, calibration.out / LEVELS / "0", stop)
    calibration.tell(f"the job without messages, for {_IDLE_READINGS * _IDLE_S:g} s")
    runs.idle = _idle_cores(target.system.pids()["job"], stop)
    for number in range(_MOST_RATES):
        rate = _FIRST_RATE * _FACTOR**number
        calibration.tell(f"{rate:,.6g} messages/s for {calibration.seconds:g} s")
        folder = calibration.out / LEVELS / f"{number + 1}"
        log = _run(target, rate, calibration.seconds, folder, stop)
        runs.levels.append((log, analyse(log, Settings(warm_up_floor_s=WARM_UP_S))))
        if not kept_up(log):
            return


def _other_job(calibration: Calibration, size: int, runs: JobRuns, stop: Stop, *, endpoint: bool) -> None:
    """Measure batches of a size in a job of their own; one that fails has no part in the law."""
    # One call at a time: others would share the endpoint with it, and the time would be that of its queue.
    own = [f"--endpoint_batch_size={size}", "--endpoint_max_concurrency=1"]
    flags = calibration.flags.followed_by(own if endpoint else [f"--max_batch_size={size}"])
    folder = calibration.out / SIZES / f"{size}"
    make_private(folder.parent)
    make_private(folder)
    calibration.tell(f"another job, with batches of {size} at most")
    why = ""
    # A job that ends by itself ends its own runs alone.
    with stop_on_signals() as of_job:
        try:
            with started(calibration.options, flags, folder, of_job, calibration.console) as target:
                try:
                    _warm_up(calibration, target, folder / "warm-up", of_job)
                    _backlog(calibration, target, size, runs, of_job)
                except CutShortError as error:
                    why = str(error)
        except (ChildError, RunError) as error:
            calibration.tell(str(error))
            why = of_job.reason if of_job.is_set() else str(error).splitlines()[0]
    if of_job.by_signal:
        stop.end(of_job.reason)
        runs.ended = of_job.reason
    elif why:
        runs.failed[size] = why


def _backlog(calibration: Calibration, target: Target, size: int, runs: JobRuns, stop: Stop) -> None:
    """Send faster than the job answers, then watch it go through its backlog while nothing is sent."""
    rate = _BACKLOG_FACTOR * max(analysis.rates["answered"].value or 1.0 for _, analysis in runs.levels)
    watched = calibration.seconds / 2
    calibration.tell(f"a backlog of batches of {size}, for {watched:g} s")
    # What is still in the backlog then is given up with the job.
    options = replace(target.options, drain_timeout=watched)
    folder = calibration.out / SIZES / f"{size}"
    sent_s = watched / (_BACKLOG_FACTOR - 1)
    log = _run(replace(target, options=options), rate, sent_s, folder, stop)
    if len(calls_of_backlog(log, model_calls(log))):
        runs.backlogs.append(log)
    else:
        runs.failed[size] = f"no bundle with them was answered in the {watched:g} s: give more --seconds"


def _warm_up(calibration: Calibration, target: Target, folder: Path, stop: Stop) -> bool:
    """Send to a job that has just started, until its calls take no less time; return whether they do."""
    for _ in range(_MOST_WARM_UPS):
        calibration.tell(f"warm-up: {_FIRST_RATE:,.6g} messages/s for {_WARM_UP_RUN_S:g} s")
        if settled(model_calls(_run(target, _FIRST_RATE, _WARM_UP_RUN_S, folder, stop))):
            return True
    return False


def _run(target: Target, rate: float, seconds: float, folder: Path, stop: Stop) -> RawLog:
    options = replace(target.options, rate=rate, duration=seconds, warmup=0.0, out=folder)
    try:
        run(options, system=target.system, display=target.noted(Display()), stop=stop)
    except RunError as error:
        if stop.is_set():
            raise CutShortError(stop.reason) from error
        raise
    if stop.is_set():
        raise CutShortError(stop.reason)
    (folder / RESULTS).unlink(missing_ok=True)
    return RawLog.read(folder)


def _idle_cores(pid: int, stop: Stop) -> list[float]:
    found = []
    for _ in range(_IDLE_READINGS):
        before, since = used_s("job", pid), time.monotonic()
        if stop.wait(_IDLE_S):
            raise CutShortError(stop.reason)
        after, elapsed = used_s("job", pid), time.monotonic() - since
        if before is not None and after is not None and elapsed > 0:
            found.append((after - before) / elapsed)
    return found


def used_s(name: str, pid: int) -> float | None:
    """Return the processor time of a process and its descendants until now; None where it cannot be read."""
    samples = processes.sample({name: pid}, 0.0)
    return next((sample.value for sample in samples if sample.series == f"{name}/cpu_s"), None)
