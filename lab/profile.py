"""`./launch.sh loadtest profile`: a short calibrated run, as profile.json."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from google.api_core.exceptions import GoogleAPICallError
from rich.console import Console

from lab.calibration import WARM_UP_S, Calibration, measure_job, used_s
from lab.command_line import CommandLine, new_parser, parse_command_line
from lab.container import container_flags, container_here, most_instances
from lab.endpoint import parse_endpoint
from lab.profile_words import profile_lines
from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import PubsubError
from loadtest.endpoint.connections import NotServedError
from loadtest.endpoint.options import EndpointOptions
from loadtest.interrupt import Stop, stop_on_signals
from loadtest.profile.endpoint import EndpointDataError, measure_endpoint
from loadtest.profile.job import JobRuns, ProfileDataError, job_profile
from loadtest.profile.machine import this_machine
from loadtest.profile.profile import FORMAT, PROFILE, VERSION, EndpointProfile, JobProfile, Profile, write
from loadtest.run_folder import FolderError, held, make_fresh
from loadtest.terminal import complain, make_console, say, say_file
from local.children import ChildError
from local.job_flags import JobFlags
from pipeline.options.address import Address
from pipeline.options.job_options import ENDPOINT
from pipeline.request.errors import EndpointError, TransientError

_SECONDS = "8"
_ENDPOINT_FLAGS = ("--rows=1,4,16,64", "--connections=1,2,4,8,16", "--seconds=2")
_NOT_FOR_A_PROFILE = frozenset(
    {
        "rate", "duration", "schedule", "to_rate", "steps", "period", "width", "trace", "warmup", "seed",
        "max_connections", "objective", "start", "probe_s", "probe_max_s", "budget",
    }
)  # fmt: skip
_ADDRESSES = ("--endpoint", "--endpoint_url", "--endpoint-url")


@dataclass(frozen=True)
class _Container:
    """A container that is measured here.

    Attributes:
        flags: Of it and of the job.
        options: How it is measured; its address is not known yet.
        most: Instances that a call to it may have.
    """

    flags: JobFlags
    options: EndpointOptions
    most: int


def profile_command(arguments: Sequence[str]) -> int:
    """Measure, write profile.json, and return the exit code.

    Returns:
        0; 2 for wrong flags; 1 where it could not be measured, or not all of it.
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
        found = measure_endpoint(options, _nothing, None, None, lambda text: say(console, text), stop)
        return _profile(None, found, stop.reason if stop.is_set() else None)

    return _write(options.out, line.names_out, measured, json=options.json)


def _of_job(arguments: Sequence[str]) -> int:
    """Profile a job that is started here, and in endpoint mode its container, each alone."""
    parser = new_parser(
        "profile",
        "Measure what job and model cost, in some three minutes, and write profile.json; with "
        "--endpoint_url or --endpoint, an endpoint alone.",
    )
    parser.add_argument("--seconds", help=f"of each rate (default: {_SECONDS})")
    line = parse_command_line(parser, arguments, {"rate": "1", "duration": "1", "schedule": "poisson"})
    problems, flags = line.problems, line.flags
    try:
        seconds = float(line.given.seconds or _SECONDS)
    except ValueError:
        seconds = 0.0
    if not 2 * WARM_UP_S <= seconds <= 600:
        problems.append(f"--seconds={line.given.seconds} must be from {2 * WARM_UP_S:g} to 600")
    if flags is None:
        problems.append(
            "--input_topic: a profile needs a job that it can start with other flags, and whose processor "
            "time it can read, so the job is started here: leave it out, and give its flags after --; of an "
            "endpoint elsewhere, --endpoint or --endpoint_url says what a call costs"
        )
    container = _container(line, problems)
    if problems or flags is None:
        print("\n".join(problems), file=sys.stderr)
        return 2
    job_flags = flags
    mode: Literal["local", "endpoint"] = "endpoint" if flags.inference_mode == ENDPOINT else "local"
    console = Console(stderr=True, quiet=bool(line.given.quiet))

    def measured(out: Path, stop: Stop) -> Profile:
        endpoint = None if container is None else _endpoint(container, out, stop, console)
        runs = JobRuns()
        if stop.is_set():
            return _profile(None, endpoint, stop.reason)
        job = None
        try:
            most = None if container is None else container.most
            measure_job(Calibration(line.options, job_flags, seconds, out, console, most), runs, stop)
            job = job_profile(mode, job_flags.text, runs)
        except (ProfileDataError, RunError):
            if not stop.is_set():
                raise
        if job is None and endpoint is None:
            raise ProfileDataError(f"{stop.reason} before anything could be fitted: no profile was written")
        return _profile(job, endpoint, runs.ended or (stop.reason if stop.is_set() else None))

    return _write(line.options.out, line.names_out, measured, json=bool(line.given.json))


def _container(line: CommandLine, problems: list[str]) -> _Container | None:
    """Return the container that the job needs, and how it is measured; None where it needs none."""
    if line.flags is None or not line.flags.needs_container:
        return None
    of_job = shlex.split(line.flags.text)
    inputs = [f"--input={line.given.input}"] if line.given.input else []
    parsed = parse_endpoint([f"--out={line.options.out}", *inputs, "--", *of_job], _ENDPOINT_FLAGS)
    problems += parsed.problems
    if parsed.options is None:
        return None
    flags = container_flags(of_job, problems)
    most = most_instances(flags, problems)
    if most == 1 and not problems:
        problems.append(
            "--max_batch_size=1: so the container takes one instance in a call, and a law of calls by their "
            "instances needs two sizes: give 2 or more after --"
        )
    return _Container(flags, parsed.options, most)


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
    else:
        console = make_console()
        for text in profile_lines(profile):
            say(console, text)
        say_file(console, out / PROFILE)
    if profile.partial is None:
        return 0
    complain(f"loadtest: partial: {profile.partial}")
    return 1


def _profile(job: JobProfile | None, endpoint: EndpointProfile | None, partial: str | None) -> Profile:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return Profile(FORMAT, VERSION, "measured", now, this_machine(), job, endpoint, partial)


def _endpoint(container: _Container, out: Path, stop: Stop, console: Console) -> EndpointProfile:
    """Measure the container alone: beside the job it would have half of the cores."""
    with container_here(container.flags, out, stop, lambda text: say(console, text)) as served:
        target = replace(container.options.target, address=Address(served.url, needs_token=False))
        return measure_endpoint(
            replace(container.options, target=target),
            lambda: used_s("container", served.pid),
            container.flags.text,
            container.most,
            lambda text: say(console, text),
            stop,
        )


def _nothing() -> None:
    """Return no processor time: the endpoint is not on this machine, or nobody knows its process."""
