"""The job's command line: Beam's parser, what is wrong in words, and the typed options."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, StandardOptions

from pipeline.job.conflicts import conflicts
from pipeline.options.job_options import FLAGS, SINGLE, JobOptions
from pipeline.options.workers import ONE_PROCESS

_LOGGER = logging.getLogger(__name__)


class BeamFlags(PipelineOptions):
    """The job's flags, as text, among Beam's options."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        for flag in FLAGS:
            parser.add_argument(f"--{flag.name}", default=flag.default, help=flag.help)


def parser() -> argparse.ArgumentParser:
    """Make a parser of all flags: the job's and Beam's."""
    result = _Parser("python -m pipeline", allow_abbrev=False, conflict_handler="resolve", add_help=False)
    group = result.add_argument_group("the job")
    BeamFlags._add_argparse_args(group)  # type: ignore[arg-type]
    beam = result.add_argument_group("Apache Beam")
    for cls in PipelineOptions.__subclasses__():
        if cls is not BeamFlags:
            cls._add_argparse_args(beam)
    return result


def problems(argv: Sequence[str]) -> list[str]:
    """Return what is wrong with a command line, a sentence each: which flag, what, and how to fix it.

    Under a template launch, unknown flags are logged instead: the service adds its own.
    """
    found: list[str] = []
    left = _given(argv)
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
    found += _unknown(unknown, launched_by_template=known.template_location is not None)
    # A rule between flags may meet the same wrong value, and says the same of it.
    return list(dict.fromkeys(found + _wrong_values(vars(known)) + conflicts(known)))


def pipeline_options(argv: Sequence[str]) -> PipelineOptions:
    """Return Beam's options for a command line without `problems()`, and what the job's flags add to them."""
    options = PipelineOptions(_given(argv))
    options.view_as(StandardOptions).streaming = True
    if options.view_as(BeamFlags).worker_processes == SINGLE:
        options.view_as(DebugOptions).add_experiment(ONE_PROCESS)
    return options


def job_options(options: PipelineOptions) -> JobOptions:
    """Return the job's options, typed, from Beam's, which have no `problems()`."""
    job = options.view_as(BeamFlags)
    # Beam's options are attributes that only argparse knows.
    return JobOptions.from_texts({flag.name: getattr(job, flag.name) for flag in FLAGS})


def _given(argv: Sequence[str]) -> list[str]:
    """Return a command line without the flags that are empty, `--name=` or `--name ""`.

    Workflow tools and templates write them so where they are not given. Names that are no flag stay, to be
    refused.
    """
    flags = parser()._option_string_actions
    left: list[str] = []
    for text in argv:
        name, equals, value = text.partition("=")
        if equals and not value and name in flags:
            continue
        if not text and left and left[-1] in flags:
            left.pop()
            continue
        left.append(text)
    return left


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


def _unknown(texts: Sequence[str], *, launched_by_template: bool) -> list[str]:
    found = []
    for text, before in zip(texts, ["", *texts], strict=False):
        name = text.partition("=")[0]
        if text.startswith("-") and launched_by_template:
            _LOGGER.warning("%s: there is no such flag; ignored", name)
        elif text.startswith("-"):
            found.append(f"{name}: there is no such flag; see --help")
        elif not before.startswith("-") or "=" in before:
            found.append(f"{text}: not a flag; write --name=value")
    return found


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
