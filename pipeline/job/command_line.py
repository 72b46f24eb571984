"""Parsing the job's command line, and its rules. `problems()` says in words what is wrong."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import DebugOptions, PipelineOptions, StandardOptions

from pipeline.engine.choice import IN_PROCESS_RUNNERS, runner_name
from pipeline.options.address import RAW, address
from pipeline.options.job_options import ENDPOINT, FLAGS, LOCAL, SINGLE, JobOptions
from pipeline.options.workers import ONE_PROCESS, PROCESS_PER_CPU

_LOGGER = logging.getLogger(__name__)


class BeamFlags(PipelineOptions):
    """The job's flags as Beam options."""

    @classmethod
    def _add_argparse_args(cls, parser: argparse.ArgumentParser) -> None:
        for flag in FLAGS:
            parser.add_argument(f"--{flag.name}", default=flag.default, help=flag.help)


class _Refusal(Exception):
    pass


class _Parser(argparse.ArgumentParser):
    """argparse for Beam's own flags, which raises where the original prints its usage and exits."""

    def error(self, message: str) -> None:  # type: ignore[override]
        # "argument --name: what is wrong with it"
        name, _, reason = message.removeprefix("argument ").partition(": ")
        raise _Refusal(name.split("/")[0], reason)


def parser() -> argparse.ArgumentParser:
    """All flags: the job's and Beam's."""
    result = _Parser("python -m pipeline", allow_abbrev=False, conflict_handler="resolve", add_help=False)
    group = result.add_argument_group("the job")
    BeamFlags._add_argparse_args(group)  # type: ignore[arg-type]
    beam = result.add_argument_group("Apache Beam")
    for cls in PipelineOptions.__subclasses__():
        if cls is not BeamFlags:
            cls._add_argparse_args(beam)
    return result


def problems(argv: Sequence[str]) -> list[str]:
    """What is wrong with a command line, a sentence each: which flag, what, and the mend.

    Under a template launch, flags that nobody knows are logged instead: the service adds its own.
    """
    found = []
    left = list(argv)
    while True:
        try:
            known, unknown = parser().parse_known_args(left)
            break
        except _Refusal as refusal:
            # One of Beam's own flags. The others are looked at as if it had not been given.
            flag_name, reason = refusal.args
            found.append(f"{flag_name}: {reason}; see --help")
            others = [text for text in left if text.partition("=")[0] != flag_name]
            if others == left:
                return found
            left = others
    # The template's launcher reads the job where this flag has Beam write it, so it always sets it.
    launched_by_template = known.template_location is not None
    for text, before in zip(unknown, ["", *unknown], strict=False):
        if text.startswith("-") and launched_by_template:
            _LOGGER.warning("%s: there is no such flag; ignored", text.partition("=")[0])
        elif text.startswith("-"):
            found.append(f"{text.partition('=')[0]}: there is no such flag; see --help")
        elif not before.startswith("-") or "=" in before:
            found.append(f"{text}: not a flag; write --name=value")
    for flag in FLAGS:
        text = getattr(known, flag.name)
        if text is None:
            if flag.required:
                found.append(f"--{flag.name}: missing. {flag.help}")
            continue
        try:
            flag.parse(text)
        except ValueError as error:
            found.append(f"--{flag.name}: {error}")
    return found + _conflicts(known)


def pipeline_options(argv: Sequence[str]) -> PipelineOptions:
    """Beam's options of a command line that has no `problems()`, and what the job's own flags add to them."""
    options = PipelineOptions(argv)
    options.view_as(StandardOptions).streaming = True
    if options.view_as(BeamFlags).worker_processes == SINGLE:
        options.view_as(DebugOptions).add_experiment(ONE_PROCESS)
    return options


def job_options(options: PipelineOptions) -> JobOptions:
    """The typed flags of options that have no `problems()`."""
    job = options.view_as(BeamFlags)
    values: dict[str, Any] = {}
    for flag in FLAGS:
        text = getattr(job, flag.name)
        values[flag.name] = None if text is None else flag.parse(text)
    return JobOptions(**values)


def _conflicts(known: argparse.Namespace) -> list[str]:
    runner = runner_name(known.runner)
    if runner in IN_PROCESS_RUNNERS:
        found = _in_process_conflicts(known)
    elif runner == "DataflowRunner":
        found = _dataflow_conflicts(known)
    else:
        found = [
            f"--runner: {runner} is refused: this job is proven on DataflowRunner, and on this machine "
            "on DirectRunner, only"
        ]
    if known.inference_mode == LOCAL:
        found += _model_conflicts(known)
    if known.inference_mode == ENDPOINT:
        found += _endpoint_conflicts(known)
    if known.model_params is not None and known.model_class is None:
        found.append("--model_params: needs --model_class, whose arguments they are")
    if known.model_root is not None and known.model_pointer is None:
        found.append("--model_root: needs --model_pointer, whose models lie under it")
    return found


def _model_conflicts(known: argparse.Namespace) -> list[str]:
    if known.model_path is None and known.model_pointer is None:
        return ["--model_path: missing. --inference_mode=local needs a model file, or else --model_pointer"]
    if known.model_path is not None and known.model_pointer is not None:
        return ["--model_pointer: says which model to run, and so does --model_path: give one of the two"]
    if known.model_pointer is not None and known.compile == "true":
        return [
            "--compile: true cannot go with --model_pointer: torch does not compile safely beside threads "
            "that serve, as a swap would. Use --model_path, and start another job for another model"
        ]
    return []


def _in_process_conflicts(known: argparse.Namespace) -> list[str]:
    found = []
    if known.direct_num_workers != 1:
        found.append(
            f"--direct_num_workers: {known.direct_num_workers} is refused, only 1 works: "
            "with more, Beam's in-process engine loses what a streaming source has left to read"
        )
    if known.direct_running_mode != "in_memory":
        found.append(f"--direct_running_mode: {known.direct_running_mode} is refused: leave it at in_memory")
    if known.max_active_bundles_per_worker is not None:
        found.append(
            "--max_active_bundles_per_worker: works on Dataflow only; here, one bundle runs at a time"
        )
    if known.output_table is not None:
        found.append(
            "--output_table: works on Dataflow only: writing to BigQuery shuffles, and here messages would "
            "then be acknowledged before their results are published"
        )
    if known.worker_processes == SINGLE:
        found.append("--worker_processes: works on Dataflow only; here, one process is all there is")
    for name, what in (("model_path", "a model file"), ("model_pointer", "a pointer")):
        path = getattr(known, name)
        if known.inference_mode == LOCAL and path and _is_local(path) and not Path(path).is_file():
            found.append(
                f"--{name}: there is no file {path!r}: give the path of {what} on this machine, or gs://…"
            )
    return found


def _dataflow_conflicts(known: argparse.Namespace) -> list[str]:
    found = []
    for name in ("project", "region", "temp_location"):
        if getattr(known, name) is None:
            found.append(f"--{name}: missing. --runner=DataflowRunner needs it")
    if known.run_for_s is not None:
        found.append("--run_for_s: works off Dataflow only; drain a Dataflow job instead")
    for name in ("model_path", "model_pointer", "model_root"):
        path = getattr(known, name)
        if known.inference_mode == LOCAL and path and _is_local(path) and not path.startswith("/"):
            found.append(
                f"--{name}: {path!r} is not an absolute path. On Dataflow it is looked for in the worker's "
                "image: begin with a slash, or with gs://"
            )
    experiments = known.experiments or []
    if known.worker_processes == SINGLE and PROCESS_PER_CPU in experiments:
        found.append(
            f"--experiments: {PROCESS_PER_CPU} contradicts --worker_processes=single: leave one of them out"
        )
    if known.worker_processes != SINGLE and ONE_PROCESS in experiments:
        found.append(
            f"--experiments: {ONE_PROCESS}: use --worker_processes=single instead, which gives the one "
            "process all cores"
        )
    return found


def _is_local(path: str) -> bool:
    """Whether a path is on the machine that opens it, rather than on one of Beam's other filesystems."""
    return "://" not in path


def _endpoint_conflicts(known: argparse.Namespace) -> list[str]:
    found = []
    try:
        address(
            endpoint=known.endpoint,
            location=known.endpoint_location,
            url=known.endpoint_url,
            project=known.project,
            protocol=known.endpoint_protocol,
        )
    except ValueError as error:
        found.append(str(error))
    if known.endpoint_protocol == RAW and ":" in known.input_shape:
        found.append("--endpoint_protocol: raw carries one float32 tensor; named inputs need predict")
    return found
