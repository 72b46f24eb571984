"""The command `./launch.sh local`: its flags, one run or the comparison of two, its output and exit code."""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import fields, replace

from google.api_core.exceptions import GoogleAPICallError

from loadtest.driver.errors import RunError
from loadtest.driver.pubsub import PubsubError
from loadtest.interrupt import stop_on_signals
from loadtest.options import RunOptions, parse
from loadtest.report.last_screen import MADE_REQUESTS, print_report
from loadtest.run_folder import FolderError, held, make_fresh, replace_file
from loadtest.terminal import complain, make_console
from local.children import ChildError
from local.compare import MODES, compare
from local.job_flags import JobFlags
from local.made_requests import with_made_requests
from local.run import EXAMPLE, run_local
from local.topics import Topics
from local.triton import installation
from pipeline.options.address import TRITON
from pipeline.options.spelling import unknown_flags
from pipeline.pubsub.emulator import emulator_problems

SERVING = "serving"
_DEFAULTS = {"rate": "200", "duration": "15"}

# Not of the load driver.
_OF_THE_RUN = ("compare", "server")
# Flags of `loadtest run` that are the same here, with their help.
_SENDING = ("schedule", "to_rate", "steps", "period", "width", "trace", "seed", "payload_seed", "drivers")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags; all values are text, checked together with those of `loadtest run`."""
    parser = argparse.ArgumentParser(
        prog="./launch.sh local",
        description="Run broker, job and load driver on this machine. What follows -- goes to the job (-- "
        "--help lists its flags). With --inference_mode=endpoint among it, and no endpoint named, the "
        "endpoint container runs here, too. Where PUBSUB_EMULATOR_HOST is set, it names the broker.",
        epilog="Exit code: 0 every request was answered, one with a result at least; 1 not so, or a process "
        "failed; 2 a wrong flag.",
        allow_abbrev=False,
    )
    parser.add_argument("--rate", help="messages a second (default: 200)")
    parser.add_argument("--duration", help="seconds to send for (default: 15)")
    helps = {option.name: option.metadata["help"] for option in fields(RunOptions)}
    for name in _SENDING:
        parser.add_argument(f"--{name}", help=helps[name])
    parser.add_argument(
        "--input",
        help="JSON Lines file of requests (default: the example's records; for a model of your own, random "
        "ones of its --input_shape)",
    )
    parser.add_argument("--out", help="folder for the results (default: runs/ and the time)")
    parser.add_argument(
        "--compare",
        action="store_true",
        help="run local, then endpoint mode on the same schedule, and print them side by side",
    )
    parser.add_argument(
        "--server",
        choices=(SERVING, TRITON),
        help="what answers in endpoint mode where no endpoint is named: serving, this project's container "
        f"(default); triton, where it is installed ({installation.COMMAND})",
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
    if given.server == TRITON:
        flags = flags.followed_by([f"--endpoint_protocol={TRITON}"])
    if flags.asks_for_help:
        print(flags.help_text())
        return 0
    problems += emulator_problems()
    comparing = given.compare
    if given.server is not None and not comparing and not flags.needs_container:
        problems.append(
            "--server: no endpoint is started here: add --compare, or -- --inference_mode=endpoint"
        )
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
    # Of both modes only where each is right by itself.
    modes = MODES if comparing and flags.inference_mode is None else ()
    problems += flags.problems(topics.job_arguments(), modes)
    made = given.input is None and flags.own_model
    if made:
        options = with_made_requests(options, flags, problems)
    if problems:
        print("\n".join(dict.fromkeys(problems)), file=sys.stderr)
        return 2
    console = make_console()
    try:
        if given.out is None:
            options = replace(options, out=make_fresh(options.out))
        with held(options.out), stop_on_signals() as stop:
            if made:
                replace_file(options.out / MADE_REQUESTS, b"\n".join([*options.input.bodies, b""]))
            if comparing:
                failures, warnings = compare(options, flags, stop, console)
            else:
                outcome = run_local(options, topics, flags, stop, console)
                print_report(console, outcome.summary, options.out)
                failures, warnings = outcome.failures, outcome.warnings
    except ChildError as error:
        complain(f"local: {error}")
        return 2 if error.exit_code == 2 else 1
    except (FolderError, RunError, PubsubError, GoogleAPICallError) as error:
        complain(f"local: {error}")
        return 1
    except KeyboardInterrupt:
        complain("local: ended at once by a second interrupt; this run wrote no summary")
        return 130
    for warning in warnings:
        complain(f"local: warning: {warning}")
    for failure in failures:
        complain(f"local: {failure}")
    return 1 if failures else 0


def _options(arguments: Sequence[str], topics: Topics) -> tuple[argparse.Namespace, RunOptions, list[str]]:
    """Return the flags as they were given, the driver's options, and what is wrong with them."""
    named, unknown = make_parser().parse_known_args(arguments)
    given = {
        name: value for name, value in vars(named).items() if name not in _OF_THE_RUN and value is not None
    }
    values = {
        **(_DEFAULTS if given.get("schedule") != "trace" else {}),
        "input": str(EXAMPLE / "records.jsonl"),
        "out": f"runs/{time.strftime('%Y%m%d-%H%M%S')}",
        **given,
        **topics.driver_flags(),
    }
    options, problems = parse([f"--{name}={value}" for name, value in values.items()])
    otherwise = "see --help; flags of the job come after --"
    return named, options, unknown_flags(unknown, list(vars(named)), otherwise) + problems
