"""`./launch.sh loadtest profile`: a short calibrated run, as profile.json."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from google.api_core.exceptions import GoogleAPICallError
from rich.console import Console

from lab.command_line import CommandLine, new_parser, parse_command_line
from lab.container import container_flags, container_here
from lab.endpoint import parse_endpoint
from lab.profile_words import profile_lines
from lab.target import Target, started
from loadtest.analysis.analyse import Analysis, analyse
from loadtest.analysis.settings import Settings
from loadtest.display import Display
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import PubsubError
from loadtest.driver.run import run
from loadtest.endpoint.connections import NotServedError
from loadtest.endpoint.options import EndpointOptions
from loadtest.interrupt import Stop, stop_on_signals
from loadtest.metrics import processes
from loadtest.profile.endpoint import EndpointDataError, measure_endpoint
from loadtest.profile.job import ProfileDataError, job_profile, kept_up
from loadtest.profile.machine import this_machine
from loadtest.profile.profile import FORMAT, PROFILE, VERSION, EndpointProfile, JobProfile, Profile, write
from loadtest.raw_log import RawLog
from loadtest.run_folder import RESULTS, FolderError, held, make_fresh
from loadtest.terminal import complain, make_console, say, say_file
from local.children import ChildError
from local.job_flags import JobFlags
from pipeline.options.address import Address
from pipeline.options.job_options import ENDPOINT
from pipeline.request.errors import EndpointError, TransientError

LEVELS = "levels"
# Messages a second. They rise until the job does not keep up, whose largest batches the law needs.
_FIRST_RATE, _FACTOR, _MOST_RATES = 50.0, 3.0, 8
_SECONDS = "8"
# Seconds that are cut from the start of each rate.
_WARM_UP_S = 2.0
# The processor time of an idle job is read so often, at this distance.
_IDLE_READINGS, _IDLE_S = 5, 1.0
_ENDPOINT_FLAGS = ("--rows=1,4,16,64", "--connections=1,2,4,8,16", "--seconds=2")
_NOT_FOR_A_PROFILE = frozenset(
    {
        "rate", "duration", "schedule", "to_rate", "steps", "period", "width", "trace", "warmup", "seed",
        "max_connections", "objective", "start", "probe_s", "probe_max_s", "budget",
    }
)  # fmt: skip
_ADDRESSES = ("--endpoint", "--endpoint_url", "--endpoint-url")


def profile_command(arguments: Sequence[str]) -> int:
    """Measure, write profile.json, and return the exit code.

    Returns:
        0; 2 for wrong flags; 1 where it could not be measured.
    """
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    if any(text.partition("=")[0] in _ADDRESSES for text in arguments[:end]):
        return _of_endpoint(arguments)
    return _of_job(arguments)


def _of_endpoint(arguments: Sequence[str]) -> int:
    """Profile an endpoint that is there; its flags are those of `loadtest endpoint`."""
    line = parse_endpoint(arguments, _ENDPOINT_FLAGS)
    options = line.options
    unused = sorted(line.given & _NOT_FOR_A_PROFILE)
    problems = line.problems + [f"--{name}: has no part in a profile: leave it out" for name in unused]
    if options is None or problems:
        print("\n".join(problems), file=sys.stderr)
        return 2
    console = Console(stderr=True, quiet=options.quiet)

    def measured(out: Path, stop: Stop) -> Profile:
        found = measure_endpoint(options, _nothing, None, lambda text: say(console, text), stop)
        return _profile(None, found)

    return _write(options.out, line.names_out, measured, json=options.json)


def _of_job(arguments: Sequence[str]) -> int:
    """Profile a job that is started here, and in endpoint mode its container, each alone."""
    parser = new_parser(
        "profile",
        "Measure what job and model cost, in some two minutes, and write profile.json; with "
        "--endpoint_url or --endpoint, an endpoint alone.",
    )
    parser.add_argument("--seconds", help=f"of each rate (default: {_SECONDS})")
    line = parse_command_line(parser, arguments, {"rate": "1", "duration": "1", "schedule": "poisson"})
    problems, flags = line.problems, line.flags
    try:
        seconds = float(line.given.seconds or _SECONDS)
    except ValueError:
        seconds = 0.0
    if not 2 * _WARM_UP_S <= seconds <= 600:
        problems.append(f"--seconds={line.given.seconds} must be from {2 * _WARM_UP_S:g} to 600")
    if flags is None:
        problems.append(
            "--input_topic: a profile has processor times, so the job is started here: leave it out"
        )
    container = _container(line, problems)
    if problems or flags is None:
        print("\n".join(problems), file=sys.stderr)
        return 2
    job_flags = flags
    console = Console(stderr=True, quiet=bool(line.given.quiet))

    def measured(out: Path, stop: Stop) -> Profile:
        endpoint = None
        if container is not None:
            endpoint = _endpoint(*container, out, stop, console)
        with started(line.options, job_flags, out, stop, console) as target:
            job = profile_job(target, job_flags, seconds, out, stop, console)
        return _profile(job, endpoint)

    return _write(line.options.out, line.names_out, measured, json=bool(line.given.json))


def _container(line: CommandLine, problems: list[str]) -> tuple[JobFlags, EndpointOptions] | None:
    """Return the container's flags and how it is measured, where the job needs one."""
    if line.flags is None or not line.flags.needs_container:
        return None
    of_job = shlex.split(line.flags.text)
    inputs = [f"--input={line.given.input}"] if line.given.input else []
    parsed = parse_endpoint([f"--out={line.options.out}", *inputs, "--", *of_job], _ENDPOINT_FLAGS)
    problems += parsed.problems
    return None if parsed.options is None else (container_flags(of_job, problems), parsed.options)


def _write(out: Path, names_out: bool, measured: Callable[[Path, Stop], Profile], *, json: bool) -> int:
    try:
        if not names_out:
            out = make_fresh(out)
        with held(out), stop_on_signals() as stop:
            profile = measured(out, stop)
            write(out / PROFILE, profile)
    except (
        ChildError, EndpointDataError, EndpointError, FolderError, GoogleAPICallError, NotServedError,
        ProfileDataError, PubsubError, RunError, TransientError,
    ) as error:  # fmt: skip
        complain(f"loadtest: {error}")
        return 1
    except KeyboardInterrupt:
        complain("loadtest: ended at once by a second interrupt; no profile was written")
        return 130
    if json:
        sys.stdout.write((out / PROFILE).read_text())
        return 0
    console = make_console()
    for text in profile_lines(profile):
        say(console, text)
    say_file(console, out / PROFILE)
    return 0


def _profile(job: JobProfile | None, endpoint: EndpointProfile | None) -> Profile:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Profile(FORMAT, VERSION, "measured", now, this_machine(), job, endpoint)


def _endpoint(
    flags: JobFlags, options: EndpointOptions, out: Path, stop: Stop, console: Console
) -> EndpointProfile:
    """Measure the container alone: beside the job it would have half of the cores."""
    with container_here(flags, out, stop, lambda text: say(console, text)) as served:
        target = replace(options.target, address=Address(served.url, needs_token=False))
        return measure_endpoint(
            replace(options, target=target),
            lambda: used_s("container", served.pid),
            flags.text,
            lambda text: say(console, text),
            stop,
        )


def profile_job(
    target: Target, flags: JobFlags, seconds: float, out: Path, stop: Stop, console: Console
) -> JobProfile:
    """Run the job at rising rates, until it does not keep up, and return its profile.

    Args:
        target: The job.
        flags: Its flags.
        seconds: Of each rate.
        out: Gets a raw log for each.
        stop: Once set, the job is given up.
        console: Told what is done.

    Raises:
        RunError: A run could not begin, or was interrupted.
        ProfileDataError: The runs say too little.
    """
    runs: list[tuple[RawLog, Analysis]] = []
    # A job that has just started is slow, and uses processor time that no message causes.
    say(console, f"warm-up: {_FIRST_RATE:,.6g} messages/s for {2 * _WARM_UP_S:g} s")
    _run(target, _FIRST_RATE, 2 * _WARM_UP_S, out / LEVELS / "0", stop)
    say(console, f"the job without messages, for {_IDLE_READINGS * _IDLE_S:g} s")
    idle = _idle_cores(target.system.pids()["job"], stop)
    for number in range(_MOST_RATES):
        rate = _FIRST_RATE * _FACTOR**number
        say(console, f"{rate:,.6g} messages/s for {seconds:g} s")
        log = _run(target, rate, seconds, out / LEVELS / f"{number + 1}", stop)
        runs.append((log, analyse(log, Settings(warm_up_floor_s=_WARM_UP_S))))
        if not kept_up(log):
            break
    mode = "endpoint" if flags.inference_mode == ENDPOINT else "local"
    return job_profile(mode, flags.text, idle, runs)


def _run(target: Target, rate: float, seconds: float, folder: Path, stop: Stop) -> RawLog:
    options = replace(target.options, rate=rate, duration=seconds, warmup=0.0, out=folder)
    run(options, system=target.system, display=target.noted(Display()), stop=stop)
    if stop.is_set():
        raise RunError(f"{stop.reason}: no profile was written")
    (folder / RESULTS).unlink(missing_ok=True)
    return RawLog.read(folder)


def _idle_cores(pid: int, stop: Stop) -> list[float]:
    found = []
    for _ in range(_IDLE_READINGS):
        before, since = used_s("job", pid), time.monotonic()
        stop.wait(_IDLE_S)
        after, elapsed = used_s("job", pid), time.monotonic() - since
        if before is not None and after is not None and elapsed > 0:
            found.append((after - before) / elapsed)
    return found


def used_s(name: str, pid: int) -> float | None:
    """Return the processor time of a process and its descendants until now; None where it cannot be read."""
    samples = processes.sample({name: pid}, 0.0)
    return next((sample.value for sample in samples if sample.series == f"{name}/cpu_s"), None)


def _nothing() -> None:
    """Return no processor time: the endpoint is not on this machine, or nobody knows its process."""
