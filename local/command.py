"""The command `./launch.sh local`: its flags, one run or the comparison of two, its output and exit code."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from google.api_core.exceptions import GoogleAPICallError

from loadtest.interrupt import stop_on_signals
from loadtest.options import RunOptions, parse
from loadtest.pubsub import PubsubError
from loadtest.report import print_report
from loadtest.run import RunError
from loadtest.run_folder import FolderError, held, make_fresh
from loadtest.terminal import make_console
from local.children import ChildError
from local.compare import compare
from local.job_flags import JobFlags
from local.run import EXAMPLE, PROJECT, Topics, run_local

_DEFAULTS = {"rate": "200", "duration": "15", "schedule": "constant", "seed": "1"}


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags; all values are text, checked together with those of `loadtest run`."""
    parser = argparse.ArgumentParser(
        prog="./launch.sh local",
        description="Run broker, job and load driver on this machine. What follows -- goes to the job. With "
        "--inference_mode=endpoint among it, and no endpoint named, the endpoint container runs here, too.",
        allow_abbrev=False,
    )
    parser.add_argument("--rate", help="messages a second (default: 200)")
    parser.add_argument("--duration", help="seconds to send for (default: 15)")
    parser.add_argument("--schedule", help="constant or poisson (default: constant)")
    parser.add_argument("--seed", help="of the poisson schedule (default: 1)")
    parser.add_argument("--input", help="JSON Lines file of requests (default: the example's records)")
    parser.add_argument("--out", help="folder for the results (default: runs/ and the time)")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="run local, then endpoint mode on the same schedule, and print them side by side",
    )
    return parser


def local_command(arguments: Sequence[str]) -> int:
    """Run broker, container, job and driver as the flags say, and return the exit code.

    Returns:
        0 if every request was answered, one with a result at least; 2 for wrong flags; 1 otherwise.
    """
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    flags = JobFlags(arguments[split + 1 :], default_model=str(EXAMPLE / "model.pt2"))
    topics = Topics.fresh(secrets.token_hex(4))
    given, options, problems = _options(arguments[:split], topics)
    comparing = given.compare
    if comparing and flags.inference_mode is not None:
        problems.append(
            f"--inference_mode={flags.inference_mode} cannot go with --compare, which runs both modes: "
            "leave one of them out"
        )
    if (comparing or flags.needs_container) and flags.has_no_model_for_a_container:
        problems.append(
            "--model_pointer: the endpoint container does not follow it: give --model_path, or name an "
            "endpoint"
        )
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 2
    console = make_console()
    try:
        if given.out is None:
            options = replace(options, out=make_fresh(options.out))
        with held(options.out), stop_on_signals() as stop:
            if comparing:
                failures, warnings = compare(options, flags, stop, console)
            else:
                outcome = run_local(options, topics, flags, stop, console)
                print_report(console, outcome.summary, options.out)
                failures, warnings = outcome.failures, outcome.warnings
    except ChildError as error:
        print(f"local: {error}", file=sys.stderr)
        return 2 if error.exit_code == 2 else 1
    except (FolderError, RunError, PubsubError, GoogleAPICallError) as error:
        print(f"local: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("local: ended at once by a second interrupt; this run wrote no summary", file=sys.stderr)
        return 130
    for warning in warnings:
        print(f"local: warning: {warning}", file=sys.stderr)
    for failure in failures:
        print(f"local: {failure}", file=sys.stderr)
    return 1 if failures else 0


def _options(arguments: Sequence[str], topics: Topics) -> tuple[argparse.Namespace, RunOptions, list[str]]:
    """Return the flags as they were given, the driver's options, and what is wrong with them."""
    named, unknown = make_parser().parse_known_args(arguments)
    given = {name: value for name, value in vars(named).items() if name != "compare" and value is not None}
    values = {
        **_DEFAULTS,
        "input": str(EXAMPLE / "records.jsonl"),
        "out": f"runs/{time.strftime('%Y%m%d-%H%M%S')}",
        **given,
        "project": PROJECT,
        "input_topic": topics.input_topic,
        "output_subscription": topics.output_subscription,
        "dead_letter_subscription": topics.dead_letter_subscription,
    }
    options, problems = parse([f"--{name}={value}" for name, value in values.items()])
    unknown_flags = [
        f"{flag} is not a flag of this command: see --help; flags of the job come after --"
        for flag in unknown
    ]
    return named, options, unknown_flags + problems
