"""The job's command line: Beam's parser, what is wrong in words, and the typed options."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, StandardOptions

from pipeline.job.conflicts import conflicts
from pipeline.options.job_options import FLAGS, SINGLE, JobOptions
from pipeline.options.spelling import unknown_flags, with_underscores
from pipeline.options.workers import ONE_PROCESS

_LOGGER = logging.getLogger(__name__)


class BeamFlags(PipelineOptions):
    """The job's flags, as text, among Beam's options."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        for flag in FLAGS:
            # argparse takes % for the start of a field.
            told = flag.help.replace("%", "%%")
            if flag.default is not None:
                told += f" Default: {flag.default}."
            parser.add_argument(
                f"--{flag.name}",
                default=flag.default,
                metavar="VALUE",
                help=told + " Required." * flag.required,
            )


def parser(*, with_beam: bool = True) -> argparse.ArgumentParser:
    """Make a parser of the job's flags and, unless it is for their help alone, of Beam's."""
    result = _Parser(
        "python -m pipeline",
        usage="python -m pipeline --NAME=VALUE ...",
        epilog=None if with_beam else "Apache Beam's flags, such as --runner and --project: --help_beam",
        allow_abbrev=False,
        conflict_handler="resolve",
        add_help=False,
    )
    group = result.add_argument_group("the job")
    BeamFlags._add_argparse_args(group)  # type: ignore[arg-type]
    if with_beam:
        beam = result.add_argument_group("Apache Beam")
        for cls in PipelineOptions.__subclasses__():
            if cls is not BeamFlags:
                cls._add_argparse_args(beam)
    return result


def help_text(argv: Sequence[str]) -> str | None:
    """Return what `--help` asks for, the job's flags, or `--help_beam`, Beam's, too; None without either."""
    if {"--help_beam", "--help-beam"} & set(argv):
        return parser().format_help()
    return parser(with_beam=False).format_help() if {"--help", "-h"} & set(argv) else None


def spelt(argv: Sequence[str]) -> list[str]:
    """Return a command line with its flags as declared, --model-path as --model_path, without empty ones.

    `--name=` and `--name ""` are how workflow tools and templates write what is not given. Names that are no
    flag stay, to be refused.
    """
    words = with_underscores(argv, vars(parser().parse_known_args([])[0]))
    flags = parser()._option_string_actions
    left: list[str] = []
    for text in words:
        name, equals, value = text.partition("=")
        if equals and not value and name in flags:
            continue
        if not text and left and left[-1] in flags:
            left.pop()
            continue
        left.append(text)
    return left


def texts(argv: Sequence[str]) -> dict[str, str | None]:
    """Return the texts of the job's flags by name, for a command line without `problems()`."""
    known, _ = parser().parse_known_args(spelt(argv))
    return {flag.name: getattr(known, flag.name) for flag in FLAGS}


def problems(argv: Sequence[str]) -> list[str]:
    """Return what is wrong with a command line, a sentence each: which flag, what, and how to fix it.

    Under a template launch, unknown flags are logged instead: the service adds its own.
    """
    found: list[str] = []
    left = spelt(argv)
    while True:
        try:
            known, unknown = parser().parse_known_args(left)
            break
        except _RefusedFlagError as refused:
            found.append(f"{refused.flag}: {refused.reason}; see --help")
            # The others are checked as if this one had not been given.
            others = [text for text in left if text.partition("=")[0] != refused.flag]
            if others == left:
                return found
            left = others
    # The template's launcher reads the job where this flag has Beam write it, so it always sets it.
    if known.template_location is None:
        found += unknown_flags(unknown, vars(known))
    else:
        found += _unknown_to_a_template(unknown)
    # A rule between flags may meet the same wrong value, and says the same of it.
    return list(dict.fromkeys(found + _wrong_values(vars(known)) + conflicts(known)))


def pipeline_options(argv: Sequence[str]) -> PipelineOptions:
    """Return Beam's options for a command line without `problems()`, and what the job's flags add to them."""
    options = PipelineOptions(spelt(argv))
    options.view_as(StandardOptions).streaming = True
    if options.view_as(BeamFlags).worker_processes == SINGLE:
        options.view_as(DebugOptions).add_experiment(ONE_PROCESS)
    return options


def job_options(options: PipelineOptions) -> JobOptions:
    """Return the job's options, typed, from Beam's, which have no `problems()`."""
    job = options.view_as(BeamFlags)
    # Beam's options are attributes that only argparse knows.
    return JobOptions.from_texts({flag.name: getattr(job, flag.name) for flag in FLAGS})


class _RefusedFlagError(Exception):
    """One of Beam's own flags has a value that its parser refuses."""

    def __init__(self, flag: str, reason: str) -> None:
        super().__init__(flag, reason)
        self.flag = flag
        self.reason = reason


class _Parser(argparse.ArgumentParser):
    """argparse for Beam's own flags, which raises where the original prints its usage and exits."""

    def error(self, message: str) -> None:  # type: ignore[override]
        # "argument --name: what is wrong with it"
        name, _, reason = message.removeprefix("argument ").partition(": ")
        raise _RefusedFlagError(name.split("/")[0], reason)


def _unknown_to_a_template(left: Sequence[str]) -> list[str]:
    """Log the flags among what a parser has left over, and return what is wrong with the rest."""
    found = unknown_flags(left, ())
    flags = {text.partition("=")[0] for text in left if text.startswith("-")}
    for name in flags:
        _LOGGER.warning("%s: there is no such flag; ignored", name)
    return [problem for problem in found if problem.partition(": ")[0] not in flags]


def _wrong_values(texts: dict[str, str | None]) -> list[str]:
    found = []
    for flag in FLAGS:
        text = texts[flag.name]
        if text is None:
            if flag.required:
                found.append(f"--{flag.name}: missing. {flag.help}")
            continue
        try:
            flag.parse(text)
        except ValueError as error:
            found.append(f"--{flag.name}: {error}")
    return found
