"""The job's options: each field is one flag, with its type, its parser, its default and its help.

A flag is text, `--name=value`; an option is the typed value that it parses to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar, overload

from pipeline.options import values
from pipeline.options.address import (
    PREDICT,
    RAW,
    TRITON,
    parse_endpoint,
    parse_model,
    parse_token_host,
    parse_url,
)
from pipeline.request.input_spec import InputSpec

T = TypeVar("T")

# Where neither the flag nor the model's file says it: that of the example's model.
DEFAULT_INPUT_SHAPE = "30"
LOCAL = "local"
ENDPOINT = "endpoint"

PER_CPU = "per_cpu"
SINGLE = "single"

_METADATA = "flag"


@dataclass(frozen=True)
class Flag:
    """One flag. Its value is always a single text, as the template launcher passes `--name=value` only.

    Attributes:
        name: Without dashes.
        parse: From the text to the option's value; raises ValueError that says what is wrong.
        help: One sentence or two, for --help and for the message of a missing flag.
        default: Text, parsed like any other; None if the option is None unless the flag is given.
        required: Whether the job does not start without it.
    """

    name: str
    parse: Callable[[str], Any]
    help: str
    default: str | None
    required: bool


@overload
def flag(parse: Callable[[str], T], help: str, *, required: Literal[True]) -> T: ...


@overload
def flag(parse: Callable[[str], T], help: str, *, default: str) -> T: ...


@overload
def flag(parse: Callable[[str], T], help: str) -> T | None: ...


def flag(
    parse: Callable[[str], Any], help: str, *, default: str | None = None, required: bool = False
) -> Any:
    """Declare a field of `JobOptions` as a flag; the arguments are those of `Flag`.

    mypy checks that the parser returns what the field holds, and that an optional flag may be None.
    """
    return field(metadata={_METADATA: (parse, help, default, required)})


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """The job's flags after parsing, one field each. An optional flag without a default may be None."""

    input_subscription: str = flag(
        values.resource("subscription"),
        "Where requests come from: projects/PROJECT/subscriptions/NAME.",
        required=True,
    )
    output_topic: str = flag(
        values.resource("topic"), "Where results go: projects/PROJECT/topics/NAME.", required=True
    )
    dead_letter_topic: str = flag(
        values.resource("topic"),
        "Where refused requests go, with the reason: projects/PROJECT/topics/NAME.",
        required=True,
    )
    output_table: str | None = flag(
        values.table,
        "A BigQuery table that gets the results too: PROJECT:DATASET.TABLE, made beforehand from "
        "pipeline/io/bigquery_schema.json; Dataflow only.",
    )
    inference_mode: str = flag(
        values.one_of(LOCAL, ENDPOINT),
        "local: a PyTorch model inside the worker process; endpoint: a Vertex AI endpoint, or another server "
        "that speaks its protocol. The other mode's flags may stay: they are ignored.",
        default="local",
    )
    model_path: str | None = flag(
        values.path,
        "The model file: torch.export (.pt2), TorchScript, or a state_dict together with --model_class. "
        "A path, or gs://BUCKET/OBJECT. On Dataflow a path is absolute, and in the worker's image.",
    )
    model_class: str | None = flag(
        values.class_name, "module:Class of the torch.nn.Module that a state_dict belongs to."
    )
    model_params: dict[str, Any] | None = flag(
        values.json_object, "Keyword arguments of --model_class, as a JSON object."
    )
    model_pointer: str | None = flag(
        values.path,
        "Instead of --model_path: a small file (a path, or gs://BUCKET/OBJECT) that holds the current "
        "model's path. When its content changes, the model is swapped while the job runs. Beside each model "
        "lies its golden set, NAME.golden.jsonl.",
    )
    model_root: str | None = flag(
        values.path,
        "The folder that models of --model_pointer lie under; none from elsewhere is loaded. Default: the "
        "pointer's own folder.",
    )
    model_refresh_s: float = flag(
        values.seconds, "Seconds between two looks at --model_pointer.", default="60"
    )
    input_shape: InputSpec = flag(
        InputSpec.parse,
        "Shape of one request's features, without the batch: 30, or 3x224x224; "
        "named inputs as NAME:DTYPE:SHAPE, separated by commas, with float16, float32, float64, uint8, int8, "
        "int16, int32, int64 or bool. Where it is not given, a .pt2 file says it.",
        default=DEFAULT_INPUT_SHAPE,
    )
    decode_hook: str | None = flag(
        values.function_name,
        "module:function that makes the inputs out of a request's body, where --input_shape alone does not.",
    )
    encode_hook: str | None = flag(
        values.function_name,
        "module:function that makes what a result holds as its prediction out of what the model returned.",
    )
    allow_nan: bool = flag(
        values.boolean,
        "true: NaN and infinity in the model's output are no error; JSON has neither, so they become null. "
        "With --inference_mode=local.",
        default="false",
    )
    max_batch_size: int = flag(
        values.integer(1, 100_000),
        "Most requests in one call of the model, with --inference_mode=local.",
        default="128",
    )
    max_batch_wait_ms: float = flag(
        values.milliseconds,
        "Longest that a free model waits for requests of other bundles, where there were some a moment ago; "
        "0: never.",
        default="1",
    )
    inference_timeout_s: float = flag(
        values.seconds,
        "Seconds that one call of the model may take; then the bundles of its batch fail and are tried "
        "again. If further calls hang while the first still do, the process ends.",
        default="300",
    )
    device: str = flag(
        values.one_of("cpu", "gpu", "auto"),
        "Where the model computes. gpu: refuses to start without a CUDA device; auto: a GPU where there is "
        "one.",
        default="auto",
    )
    precision: str = flag(
        values.one_of("fp32", "fp16", "bf16"),
        "What the model computes in; fp32: as the file has it.",
        default="fp32",
    )
    compile: bool = flag(
        values.boolean,
        "true: compiled by TorchInductor at load, for batches padded to powers of two. Needs a C++ compiler; "
        "not for TorchScript.",
        default="false",
    )
    cuda_graphs: bool = flag(
        values.boolean,
        "true: on a GPU, forward passes are captured as CUDA graphs, which makes small batches several times "
        "faster; what cannot be captured runs without. false: never.",
        default="true",
    )
    torch_threads: int | None = flag(
        values.integer(1, 1_024),
        "Threads of one call of the model on the CPU. Default: the cores, divided by the processes on the "
        "worker; off Dataflow one core is left free.",
    )
    worker_processes: str = flag(
        values.one_of(PER_CPU, SINGLE),
        "per_cpu: a Python process, with its own copy of the model, for each vCPU of a worker; single: one "
        "for all. Dataflow only.",
        default=PER_CPU,
    )
    endpoint: str | None = flag(
        parse_endpoint, "The Vertex AI endpoint: its id, or projects/PROJECT/locations/REGION/endpoints/ID."
    )
    endpoint_location: str | None = flag(values.region, "Region of --endpoint, where that is an id.")
    endpoint_url: str | None = flag(
        parse_url,
        "With --endpoint: its server, such as https://ID.REGION-UID.prediction.vertexai.goog of a dedicated "
        "endpoint. Without: the whole URL to POST to, such as http://127.0.0.1:8080/predict; no access token "
        "is sent there.",
    )
    endpoint_token_host: str | None = flag(
        parse_token_host,
        "The host of --endpoint_url, where that leads to Vertex AI by a name of your own: a Google access "
        "token is then sent there too, and not to Google's hosts and this machine only.",
    )
    endpoint_protocol: str = flag(
        values.one_of(PREDICT, RAW, TRITON),
        "predict: JSON instances; raw: the one input as bytes in its dtype, and float32 bytes back, for a "
        "container that does so (serving/ does); triton: NVIDIA Triton's, KServe v2 with binary tensors.",
        default=PREDICT,
    )
    endpoint_model: str | None = flag(
        parse_model,
        "The model to call on a Triton that holds several, with --endpoint_protocol=triton. Default: the one "
        "that --endpoint_url names, or the endpoint's default model.",
    )
    endpoint_batch_size: int = flag(values.integer(1, 100_000), "Most instances in one call.", default="32")
    endpoint_max_concurrency: int = flag(
        values.integer(1, 1_000),
        "Most calls in flight, of each process; halved while the endpoint is full.",
        default="32",
    )
    endpoint_timeout_s: float = flag(values.seconds, "Seconds that one call may take.", default="30")
    endpoint_deadline_s: float = flag(
        values.seconds,
        "Seconds for which the calls of a request are retried before the job stops with exit code 3 "
        "(Dataflow: before the bundle is tried again). The scale-up from zero is not counted.",
        default="120",
    )
    endpoint_scale_up_wait_s: float = flag(
        values.seconds, "Seconds to wait for an endpoint that scales up from zero replicas.", default="600"
    )
    max_active_bundles_per_worker: int | None = flag(
        values.integer(1, 100_000), "Bundles that Dataflow may run at once on a worker; Dataflow only."
    )
    publish_deadline_s: float = flag(
        values.seconds,
        "Seconds for which publishing is retried before the job stops with exit code 3; "
        "off Dataflow only (Dataflow retries for ever).",
        default="60",
    )
    run_for_s: float | None = flag(values.seconds, "Stop cleanly after so many seconds; off Dataflow only.")

    @classmethod
    def from_texts(cls, texts: Mapping[str, str | None]) -> JobOptions:
        """Return the options that the texts of flags stand for; one without a text, or an empty, its default.

        A required flag without a text is None: a job's command line has been checked for them before, and who
        makes a handler without a job needs none of them.

        Args:
            texts: By the flags' names, without dashes.

        Raises:
            ValueError: A text is wrong, or there is no flag of a name.
        """
        if unknown := texts.keys() - {flag.name for flag in FLAGS}:
            raise ValueError(f"there is no flag --{min(unknown)}")
        options: dict[str, Any] = {}
        for flag in FLAGS:
            # Empty is how workflow tools and templates write a flag that is not given.
            text = texts.get(flag.name) or flag.default
            options[flag.name] = None if text is None else flag.parse(text)
        return cls(**options)


FLAGS: tuple[Flag, ...] = tuple(Flag(each.name, *each.metadata[_METADATA]) for each in fields(JobOptions))
