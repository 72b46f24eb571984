"""The container's flags and the AIP_* variables that Vertex AI sets; all that is wrong is said at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pipeline.options import values, workers
from pipeline.options.spelling import unknown_flags, with_underscores
from pipeline.request.input_spec import InputSpec
from serving.flags import AUTO, Flags, OptionsError, make_parser
from serving.log import JSON, TEXT

_T = TypeVar("_T")


@dataclass(frozen=True)
class Options:
    """The container's options, parsed and checked.

    Attributes:
        host: Address to bind.
        port: To listen on; 0: any free one.
        health_route: Path of the health checks.
        predict_route: Path of the predictions.
        storage_uri: Where the model file is, see `serving.storage.fetch`; not read where there is a pointer.
        model_file: Its path there; None: the only one.
        model_pointer: The file that names the model, in place of `storage_uri`; None: there is none.
        model_root: The folder that its models lie under; None: its own.
        model_refresh_s: Seconds between two looks at it.
        model_class: `module:Class`, for a state_dict.
        model_params: Keyword arguments of that class.
        spec: The inputs of one instance; None: those that the model's .pt2 names, else DEFAULT_INPUT_SHAPE.
        max_batch_size: Most instances in one call, and in one pass of the model.
        max_batch_wait_ms: Longest that a free model waits for further calls, milliseconds.
        max_queue_size: Most calls that wait in a process.
        device: Where the model computes; see `pipeline.model.compute.Compute`.
        precision: What the model computes in: fp32, fp16 or bf16.
        cuda_graphs: Whether forward passes on a GPU are captured as CUDA graphs.
        workers: Processes that each hold the model.
        cores: That this process may use.
        predict_timeout_s: Most seconds of one call of the model; past it, its process is replaced.
        load_timeout_s: Most seconds until a process has loaded and warmed the model.
        drain_s: Seconds that predictions are still served after SIGTERM.
        log_format: json or text.
    """

    host: str
    port: int
    health_route: str
    predict_route: str
    storage_uri: str
    model_file: str | None
    model_pointer: str | None
    model_root: str | None
    model_refresh_s: float
    model_class: str | None
    model_params: dict[str, Any] | None
    spec: InputSpec | None
    max_batch_size: int
    max_batch_wait_ms: float
    max_queue_size: int
    device: str
    precision: str
    cuda_graphs: bool
    workers: int
    cores: int
    predict_timeout_s: float
    load_timeout_s: float
    drain_s: float
    log_format: str


def parse(arguments: Sequence[str], environment: Mapping[str, str]) -> Options:
    """Return the options that a command line and its environment ask for.

    Raises:
        OptionsError: Something in them is wrong or missing.
        SystemExit: For --help (0).
    """
    cores = workers.cores()
    names = list(Flags.__annotations__)
    parser = make_parser(cores)
    parser.log_format = _automatic_format(environment)
    flags, unknown = parser.parse_known_args(with_underscores(arguments, names), Flags())
    # Empty is how workflow tools write what is not given.
    for name in [name for name, text in vars(flags).items() if text == ""]:
        setattr(flags, name, parser.get_default(name))
    problems = unknown_flags(unknown, names)
    storage_uri = environment.get("AIP_STORAGE_URI", "")
    if not storage_uri and flags.model_pointer is None:
        problems.append(
            "AIP_STORAGE_URI: missing. Vertex AI sets it where the model was uploaded with an artifact URI; "
            "elsewhere, give a gs:// prefix or a local folder that holds the model file, or --model_pointer"
        )
    if flags.model_pointer is not None and flags.model_file is not None:
        problems.append(
            "--model_pointer: says which model to run, and so does --model_file: give one of the two"
        )
    if flags.model_root is not None and flags.model_pointer is None:
        problems.append("--model_root: needs --model_pointer, whose models lie under it")
    if flags.model_params is not None and flags.model_class is None:
        problems.append("--model_params: needs --model_class, whose arguments they are")
    read = _Reader(environment, problems)
    log_format = read.text("--log_format", flags.log_format, values.one_of(JSON, TEXT, AUTO), stand_in=AUTO)
    options = Options(
        host=flags.host,
        port=read.variable("AIP_HTTP_PORT", "8080", _port),
        health_route=read.variable("AIP_HEALTH_ROUTE", "/health", _route),
        predict_route=read.variable("AIP_PREDICT_ROUTE", "/predict", _route),
        storage_uri=storage_uri,
        model_file=flags.model_file,
        model_pointer=read.optional("--model_pointer", flags.model_pointer, values.local_or_gs),
        model_root=read.optional("--model_root", flags.model_root, values.local_or_gs),
        model_refresh_s=read.text("--model_refresh_s", flags.model_refresh_s, values.seconds, stand_in=1.0),
        model_class=read.optional("--model_class", flags.model_class, values.class_name),
        model_params=read.optional("--model_params", flags.model_params, values.json_object),
        spec=read.optional("--input_shape", flags.input_shape, InputSpec.parse),
        max_batch_size=read.text(
            "--max_batch_size", flags.max_batch_size, values.integer(1, 100_000), stand_in=1
        ),
        max_batch_wait_ms=read.text(
            "--max_batch_wait_ms", flags.max_batch_wait_ms, values.milliseconds, stand_in=0.0
        ),
        max_queue_size=read.text(
            "--max_queue_size", flags.max_queue_size, values.integer(1, 1_000_000), stand_in=1
        ),
        device=read.text("--device", flags.device, values.one_of("cpu", "gpu", "auto"), stand_in="auto"),
        precision=read.text(
            "--precision", flags.precision, values.one_of("fp32", "fp16", "bf16"), stand_in="fp32"
        ),
        cuda_graphs=read.text("--cuda_graphs", flags.cuda_graphs, values.boolean, stand_in=True),
        workers=read.optional("--workers", flags.workers, values.integer(1, 1_000)) or cores,
        cores=cores,
        predict_timeout_s=read.text(
            "--predict_timeout_s", flags.predict_timeout_s, values.seconds, stand_in=1.0
        ),
        load_timeout_s=read.text("--load_timeout_s", flags.load_timeout_s, values.seconds, stand_in=1.0),
        drain_s=read.text("--drain_s", flags.drain_s, _seconds_or_zero, stand_in=0.0),
        log_format=parser.log_format if log_format == AUTO else log_format,
    )
    if options.health_route == options.predict_route:
        problems.append(f"AIP_HEALTH_ROUTE and AIP_PREDICT_ROUTE: both are {options.health_route}")
    if problems:
        raise OptionsError("\n".join(problems), options.log_format)
    return options


class _Reader:
    """A reader of texts. A wrong one is noted and replaced, so that the other checks still run."""

    def __init__(self, environment: Mapping[str, str], problems: list[str]) -> None:
        self._environment = environment
        self._problems = problems

    def text(self, name: str, text: str, parse_text: Callable[[str], _T], stand_in: _T) -> _T:
        try:
            return parse_text(text)
        except ValueError as error:
            self._problems.append(f"{name}: {error}")
            return stand_in

    def optional(self, name: str, text: str | None, parse_text: Callable[[str], _T]) -> _T | None:
        return None if text is None else self.text(name, text, parse_text, stand_in=None)

    def variable(self, name: str, default: str, parse_text: Callable[[str], _T]) -> _T:
        text = self._environment.get(name) or default
        return self.text(name, text, parse_text, stand_in=parse_text(default))


def _automatic_format(environment: Mapping[str, str]) -> str:
    # Vertex AI sets it, and nobody else does
    # (https://cloud.google.com/vertex-ai/docs/predictions/custom-container-requirements#aip-variables).
    return JSON if environment.get("AIP_MODE") else TEXT


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
