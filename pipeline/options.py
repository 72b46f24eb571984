"""Every flag of the job, its help and its rules. `problems()` says in words what is wrong."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from pipeline.input_spec import InputSpec

# Names that mean Beam's in-process engine. Plain DirectRunner would first try to download Prism.
IN_PROCESS_RUNNERS = ("DirectRunner", "SwitchingDirectRunner", "FnApiRunner")

# https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names
_RESOURCE_ID = r"(?!goog)[A-Za-z][A-Za-z0-9\-_.~+%]{2,254}"
_PROJECT_ID = r"(?:[a-z0-9.\-]+:)?[a-z][a-z0-9\-]{4,28}[a-z0-9]"


@dataclass(frozen=True)
class Settings:
    """The job's flags after parsing: one field a flag, of the flag's own type."""

    input_subscription: str
    output_topic: str
    dead_letter_topic: str
    inference_mode: str
    model_path: str | None
    model_class: str | None
    model_params: dict[str, Any] | None
    input_shape: InputSpec
    max_batch_size: int
    publish_deadline_s: float
    run_for_s: float | None


def _resource(kind: str) -> Callable[[str], str]:
    pattern = re.compile(rf"projects/{_PROJECT_ID}/{kind}s/{_RESOURCE_ID}")

    def parse(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"{text!r} is not the full name of a {kind}: projects/PROJECT/{kind}s/NAME")
        return text

    return parse


def _one_of(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not one of: {', '.join(choices)}")
        return text

    return parse


def _integer(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"{text!r} is not a whole number from {low} to {high}")
        return int(text)

    return parse


def _seconds(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) or float(text) <= 0:
        raise ValueError(f"{text!r} is not a number of seconds above 0")
    return float(text)


def _model_file(text: str) -> str:
    if not Path(text).is_file():
        raise ValueError(f"there is no file {text!r}: give the path of a model file on this machine")
    return text


def _class_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", text):
        raise ValueError(f"{text!r} is not module:Class, as in my_package.models:Classifier")
    return text


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{text!r} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f'{text!r} is not a JSON object such as {{"hidden": 16}}')
    return value


@dataclass(frozen=True)
class Flag:
    """One flag. Its value is always a single text, as the template launcher passes `--name=value` only."""

    name: str
    parse: Callable[[str], Any]
    help: str
    default: str | None = None
    required: bool = False


FLAGS = (
    Flag(
        "input_subscription",
        _resource("subscription"),
        "Where requests come from: projects/PROJECT/subscriptions/NAME.",
        required=True,
    ),
    Flag(
        "output_topic",
        _resource("topic"),
        "Where results go: projects/PROJECT/topics/NAME.",
        required=True,
    ),
    Flag(
        "dead_letter_topic",
        _resource("topic"),
        "Where refused requests go, with the reason: projects/PROJECT/topics/NAME.",
        required=True,
    ),
    Flag(
        "inference_mode",
        _one_of("local"),
        "local: a PyTorch model inside the worker process.",
        default="local",
    ),
    Flag(
        "model_path",
        _model_file,
        "The model file: torch.export (.pt2), TorchScript, or a state_dict together with --model_class.",
    ),
    Flag("model_class", _class_name, "module:Class of the torch.nn.Module that a state_dict belongs to."),
    Flag("model_params", _json_object, "Keyword arguments of --model_class, as a JSON object."),
    Flag(
        "input_shape",
        InputSpec.parse,
        "Shape of one request's features, without the batch: 30, or 3x224x224; "
        "named inputs as NAME:DTYPE:SHAPE, separated by commas.",
        default="30",
    ),
    Flag(
        "max_batch_size",
        _integer(1, 100_000),
        "Most requests in one call of the model.",
        default="128",
    ),
    Flag(
        "publish_deadline_s",
        _seconds,
        "Seconds for which publishing is retried before the job stops with exit code 3; "
        "off Dataflow only (Dataflow retries for ever).",
        default="60",
    ),
    Flag("run_for_s", _seconds, "Stop cleanly after so many seconds; off Dataflow only."),
)


class JobOptions(PipelineOptions):
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
    JobOptions._add_argparse_args(group)  # type: ignore[arg-type]
    beam = result.add_argument_group("Apache Beam")
    for cls in PipelineOptions.__subclasses__():
        if cls is not JobOptions:
            cls._add_argparse_args(beam)
    return result


def problems(argv: Sequence[str]) -> list[str]:
    """What is wrong with a command line, a sentence each: which flag, what, and the mend."""
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
    for text, before in zip(unknown, ["", *unknown], strict=False):
        if text.startswith("-"):
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


def settings(options: PipelineOptions) -> Settings:
    """The typed flags of options that have no `problems()`."""
    job = options.view_as(JobOptions)
    values: dict[str, Any] = {}
    for flag in FLAGS:
        text = getattr(job, flag.name)
        values[flag.name] = None if text is None else flag.parse(text)
    assert set(values) == {field.name for field in fields(Settings)}
    return Settings(**values)


def runs_in_process(options: PipelineOptions) -> bool:
    """Whether the job runs on Beam's in-process engine rather than on Dataflow."""
    return _runner_name(options.view_as(StandardOptions).runner) in IN_PROCESS_RUNNERS


def _runner_name(runner: str | None) -> str:
    return (runner or "DirectRunner").rpartition(".")[2]


def _conflicts(known: argparse.Namespace) -> list[str]:
    found = []
    runner = _runner_name(known.runner)
    if runner in IN_PROCESS_RUNNERS:
        if known.direct_num_workers != 1:
            found.append(
                f"--direct_num_workers: {known.direct_num_workers} is refused, only 1 works: "
                "with more, Beam's in-process engine loses what a streaming source has left to read"
            )
        if known.direct_running_mode != "in_memory":
            found.append(
                f"--direct_running_mode: {known.direct_running_mode} is refused: leave it at in_memory"
            )
    elif runner != "DataflowRunner":
        found.append(
            f"--runner: {runner} is refused: this job is proven on DataflowRunner, and on this machine "
            "on DirectRunner, only"
        )
    else:
        for name in ("project", "region", "temp_location"):
            if getattr(known, name) is None:
                found.append(f"--{name}: missing. --runner=DataflowRunner needs it")
        if known.run_for_s is not None:
            found.append("--run_for_s: works off Dataflow only; drain a Dataflow job instead")
    if known.inference_mode == "local" and known.model_path is None:
        found.append("--model_path: missing. --inference_mode=local needs a model file")
    if known.model_params is not None and known.model_class is None:
        found.append("--model_params: needs --model_class, whose arguments they are")
    return found
