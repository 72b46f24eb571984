"""The container's flags and the AIP_* variables that Vertex AI sets; all that is wrong is said at once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.options import values
from pipeline.request.input_spec import InputSpec

_T = TypeVar("_T")


@dataclass(frozen=True)
class Options:
    """Everything that can be set, checked."""

    host: str
    port: int  # 0: any free one
    health_route: str
    predict_route: str
    storage_uri: str  # see `serving.storage.fetch`
    model_file: str | None
    model_class: str | None
    model_params: dict[str, Any] | None
    spec: InputSpec
    max_batch_size: int  # most instances in one call
    device: str  # these two: see `pipeline.model.compute.Compute`
    precision: str
    workers: int
    cores: int  # that this process may use
    drain_s: float


class OptionsError(Exception):
    """Flags or variables are wrong; the message has a line for each."""


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """The options of a command line and its environment.

    Raises:
        OptionsError: see there.
        SystemExit: for --help (0).
    """
    cores = _cores()
    found: list[str] = []
    given, unknown = _parser(cores).parse_known_args(arguments)
    found += [f"{text.partition('=')[0]}: there is no such flag; see --help" for text in unknown]

    def value(name: str, parse_text: Callable[[str], _T], text: str | None, otherwise: _T) -> _T:
        if text is None:
            return otherwise
        try:
            return parse_text(text)
        except ValueError as error:
            found.append(f"{name}: {error}")
            return otherwise

    def variable(name: str, parse_text: Callable[[str], _T], default: str) -> _T:
        return value(name, parse_text, environment.get(name, default), parse_text(default))

    storage_uri = environment.get("AIP_STORAGE_URI", "")
    if not storage_uri:
        found.append(
            "AIP_STORAGE_URI: missing. Vertex AI sets it where the model was uploaded with an artifact URI; "
            "elsewhere, give a gs:// prefix or a local folder that holds the model file"
        )
    if given.model_params is not None and given.model_class is None:
        found.append("--model_params: needs --model_class, whose arguments they are")
    options = Options(
        host=given.host,
        port=variable("AIP_HTTP_PORT", _port, "8080"),
        health_route=variable("AIP_HEALTH_ROUTE", _route, "/health"),
        predict_route=variable("AIP_PREDICT_ROUTE", _route, "/predict"),
        storage_uri=storage_uri,
        model_file=given.model_file,
        model_class=value("--model_class", values.class_name, given.model_class, None),
        model_params=value("--model_params", values.json_object, given.model_params, None),
        spec=value("--input_shape", InputSpec.parse, given.input_shape, InputSpec.parse("1")),
        max_batch_size=value("--max_batch_size", values.integer(1, 100_000), given.max_batch_size, 1),
        device=value("--device", values.one_of("cpu", "gpu", "auto"), given.device, "auto"),
        precision=value("--precision", values.one_of("fp32", "fp16", "bf16"), given.precision, "fp32"),
        workers=value("--workers", values.integer(1, 1_000), given.workers, cores),
        cores=cores,
        drain_s=value("--drain_s", _seconds_or_zero, given.drain_s, 0.0),
    )
    if options.health_route == options.predict_route:
        found.append(f"AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE: both are {options.health_route}")
    if found:
        raise OptionsError("\n".join(found))
    return options


class _Parser(argparse.ArgumentParser):
    """argparse, but a flag without its value is told like everything else that is wrong."""

    def error(self, message: str) -> None:  # type: ignore[override]
        raise OptionsError(f"{message.removeprefix('argument ')}; see --help")


def _parser(cores: int) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="python -m serving",
        allow_abbrev=False,
        description="Serves a PyTorch model as Vertex AI's custom containers do.",
        epilog="Environment, set by Vertex AI: AIP_STORAGE_URI (gs:// prefix, or local folder or file, of "
        "the model), AIP_HTTP_PORT (8080; 0: any free port), AIP_HEALTH_ROUTE (/health), "
        "AIP_PREDICT_ROUTE (/predict).",
    )
    parser.add_argument("--host", default="0.0.0.0", help="address to bind (default: all)")
    parser.add_argument(
        "--workers",
        help=f"processes that each hold the model (default: one a core, here {cores}). With one process, "
        "a machine of 4 cores stays near 25 %% CPU however much load there is, and an autoscaler with Vertex "
        "AI's default target of 60 %% never adds a replica",
    )
    parser.add_argument(
        "--model_file", help="the file's name in AIP_STORAGE_URI (default: the only model there)"
    )
    parser.add_argument("--model_class", help="module:Class of the torch.nn.Module, for a state_dict")
    parser.add_argument("--model_params", help="keyword arguments of --model_class, as a JSON object")
    parser.add_argument(
        "--input_shape", default="30", help="of one instance: 30, 3x224x224, or NAME:DTYPE:SHAPE,… (30)"
    )
    parser.add_argument("--max_batch_size", default="1024", help="most instances in one call (1024)")
    parser.add_argument(
        "--device",
        default="auto",
        help="where the model computes: cpu; gpu, which is refused without a CUDA device; auto, a GPU where "
        "there is one (auto)",
    )
    parser.add_argument(
        "--precision", default="fp32", help="what the model computes in: fp32, fp16 or bf16 (fp32)"
    )
    parser.add_argument(
        "--drain_s",
        default="5",
        help="seconds that predictions are still served after SIGTERM, while health says 503 (5)",
    )
    return parser


def _cores() -> int:
    """The cores this process may run on: fewer than the machine's in a container that is pinned to some."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit()) or int(text) > 65535:
        raise ValueError(f"{text!r} is not a port: use a number from 0 to 65535")
    return int(text)


def _route(text: str) -> str:
    # Braces would be taken for parameters of the path.
    if not text.startswith("/") or set(text) & set("{}?# "):
        raise ValueError(f"{text!r} is not a path such as /predict")
    return text


def _seconds_or_zero(text: str) -> float:
    return 0.0 if text == "0" else values.seconds(text)
