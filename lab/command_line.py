"""Flags that the load lab's commands share: what is loaded, with which requests, and where the results go."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from lab.config_file import FLAG as CONFIG
from lab.config_file import ConfigError, with_config
from lab.metrics_flags import MetricsFlags, add_metrics_flags, parse_metrics_flags
from loadtest.options import OF_TRACE, RunOptions, parse
from local.job_flags import JobFlags
from local.made_requests import with_made_requests
from local.run import EXAMPLE
from local.topics import Topics
from pipeline.options.spelling import unknown_flags, with_underscores
from pipeline.pubsub.emulator import emulator_problems

# Of a job that runs elsewhere.
_ELSEWHERE = ("project", "input_topic", "output_subscription", "dead_letter_subscription")
_EVERY_RUN = ("input", "payload_seed", "drivers", "seed", "drain_timeout", "ready_timeout")
_SWITCHES = {
    "quiet": "no progress on the standard error",
    "json": "print the figures as JSON instead of sentences",
}
_STAND_IN = "placeholder"  # of topics that are made later


@dataclass(frozen=True)
class CommandLine:
    """What a command line says.

    Attributes:
        given: Every flag as it was written; None for one that was not.
        options: Of each run; the folder is that of all results.
        flags: Of the job that is to run here; None for one that runs elsewhere.
        metrics: What is sampled beside the messages.
        problems: What is wrong, a line each; without one the rest can be used.
    """

    given: argparse.Namespace
    options: RunOptions
    flags: JobFlags | None
    metrics: MetricsFlags
    problems: list[str]

    @property
    def names_out(self) -> bool:
        """Whether the folder is the user's choice."""
        return self.given.out is not None


def new_parser(command: str, description: str, run_flags: Sequence[str] = ()) -> argparse.ArgumentParser:
    """Return a parser of the shared flags; all values are text.

    Args:
        command: Such as "search".
        description: For --help.
        run_flags: Names of `RunOptions` that this command takes, too.
    """
    parser = argparse.ArgumentParser(
        prog=f"./launch.sh loadtest {command}",
        description=f"{description} By default broker and job run on this machine, and what follows -- goes "
        "to the job. With --input_topic, a job that runs elsewhere is loaded.",
        allow_abbrev=False,
    )
    helps = {option.name: option.metadata["help"] for option in fields(RunOptions)}
    helps["input"] += " (default: the example's; for a model of your own, random ones of its --input_shape)"
    for name in (*_ELSEWHERE, *run_flags, *_EVERY_RUN):
        parser.add_argument(f"--{name}", metavar=name.upper(), help=helps[name].replace("%", "%%"))
    add_metrics_flags(parser)
    parser.add_argument("--out", metavar="FOLDER", help="for the results (default: runs/ and the time)")
    parser.add_argument(f"--{CONFIG}", metavar="FILE", help="TOML file that holds any of the flags")
    for name, told in _SWITCHES.items():
        parser.add_argument(f"--{name}", action="store_true", help=told)
    return parser


def parse_command_line(
    parser: argparse.ArgumentParser, arguments: Sequence[str], defaults: Mapping[str, str]
) -> CommandLine:
    """Return what a command line says, and every problem with it.

    Args:
        parser: From `new_parser`, with the command's own flags added.
        arguments: The command line.
        defaults: Of `RunOptions`, as text, where a flag is not given; a trace brings its own.
    """
    names = [action.dest for action in parser._actions if action.dest != "help"]
    problems: list[str] = []
    try:
        arguments = with_config(arguments, names)
    except ConfigError as error:
        problems.append(str(error))
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    given, unknown = parser.parse_known_args(with_underscores(arguments[:split], names))
    of_job = arguments[split + 1 :]
    problems += unknown_flags(unknown, names, "see --help; flags of the job come after --")
    elsewhere = any(getattr(given, name) is not None for name in _ELSEWHERE)
    run_names = {option.name for option in fields(RunOptions)}
    texts = {
        "input": str(EXAMPLE / "records.jsonl"),
        "out": f"runs/{time.strftime('%Y%m%d-%H%M%S')}",
        **defaults,
        **{name: text for name, text in vars(given).items() if name in run_names and text is not None},
    }
    if texts.get("schedule") == "trace":
        for name in OF_TRACE:
            if vars(given).get(name) is None:
                texts.pop(name, None)
    if not elsewhere:
        texts |= Topics.fresh(_STAND_IN).driver_flags()
    options, found = parse([f"--{name}={text}" for name, text in texts.items()])
    problems += found + emulator_problems()
    flags = None
    if elsewhere:
        if of_job:
            problems.append("flags after -- are for a job that is started here: leave out --input_topic")
    else:
        flags = JobFlags(of_job, default_model=str(EXAMPLE / "model.pt2"))
        problems += flags.problems(Topics.fresh(_STAND_IN).job_arguments(), ())
        if given.input is None and flags.own_model:
            options = with_made_requests(options, flags, problems)
    metrics = parse_metrics_flags(given, options.project, flags, problems)
    return CommandLine(given, options, flags, metrics, list(dict.fromkeys(problems)))
