"""The table of the job's flags: each one's name, type, default and help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pipeline.options import values
from pipeline.options.address import PREDICT, RAW, parse_endpoint, parse_url
from pipeline.request.input_spec import InputSpec

LOCAL = "local"
ENDPOINT = "endpoint"

PER_CPU = "per_cpu"
SINGLE = "single"


@dataclass(frozen=True)
class Settings:
    """The job's flags after parsing: one field a flag, of the flag's own type."""

    input_subscription: str
    output_topic: str
    dead_letter_topic: str
    output_table: str | None
    inference_mode: str
    model_path: str | None
    model_class: str | None
    model_params: dict[str, Any] | None
    model_pointer: str | None
    model_root: str | None
    model_refresh_s: float
    input_shape: InputSpec
    decode_hook: str | None
    encode_hook: str | None
    allow_nan: bool
    max_batch_size: int
    max_batch_wait_ms: float
    inference_timeout_s: float
    device: str
    precision: str
    compile: bool
    torch_threads: int | None
    worker_processes: str
    endpoint: str | None
    endpoint_location: str | None
    endpoint_url: str | None
    endpoint_protocol: str
    endpoint_batch_size: int
    endpoint_max_concurrency: int
    endpoint_timeout_s: float
    endpoint_deadline_s: float
    endpoint_scale_up_wait_s: float
    max_active_bundles_per_worker: int | None
    publish_deadline_s: float
    run_for_s: float | None


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
        values.resource("subscription"),
        "Where requests come from: projects/PROJECT/subscriptions/NAME.",
        required=True,
    ),
    Flag(
        "output_topic",
        values.resource("topic"),
        "Where results go: projects/PROJECT/topics/NAME.",
        required=True,
    ),
    Flag(
        "dead_letter_topic",
        values.resource("topic"),
        "Where refused requests go, with the reason: projects/PROJECT/topics/NAME.",
        required=True,
    ),
    Flag(
        "output_table",
        values.table,
        "A BigQuery table that gets the results too: PROJECT:DATASET.TABLE, made beforehand from "
        "pipeline/io/bigquery_schema.json; Dataflow only.",
    ),
    Flag(
        "inference_mode",
        values.one_of(LOCAL, ENDPOINT),
        "local: a PyTorch model inside the worker process; endpoint: a Vertex AI endpoint, or another server "
        "that speaks its protocol. The other mode's flags may stay: they are ignored.",
        default="local",
    ),
    Flag(
        "model_path",
        values.path,
        "The model file: torch.export (.pt2), TorchScript, or a state_dict together with --model_class. "
        "A path, or gs://BUCKET/OBJECT. On Dataflow a path is absolute, and in the worker's image.",
    ),
    Flag(
        "model_class", values.class_name, "module:Class of the torch.nn.Module that a state_dict belongs to."
    ),
    Flag("model_params", values.json_object, "Keyword arguments of --model_class, as a JSON object."),
    Flag(
        "model_pointer",
        values.path,
        "Instead of --model_path: a small file (a path, or gs://BUCKET/OBJECT) that holds the current "
        "model's path. When its content changes, the model is swapped while the job runs. Beside each model "
        "lies its golden set, NAME.golden.jsonl.",
    ),
    Flag(
        "model_root",
        values.path,
        "The folder that models of --model_pointer lie under; none from elsewhere is loaded. Default: the "
        "pointer's own folder.",
    ),
    Flag("model_refresh_s", values.seconds, "Seconds between two looks at --model_pointer.", default="60"),
    Flag(
        "input_shape",
        InputSpec.parse,
        "Shape of one request's features, without the batch: 30, or 3x224x224; "
        "named inputs as NAME:DTYPE:SHAPE, separated by commas.",
        default="30",
    ),
    Flag(
        "decode_hook",
        values.function_name,
        "module:function that makes the inputs out of a request's body, where --input_shape alone does not.",
    ),
    Flag(
        "encode_hook",
        values.function_name,
        "module:function that makes what a result holds as its prediction out of what the model returned.",
    ),
    Flag(
        "allow_nan",
        values.boolean,
        "true: NaN and infinity in the model's output are no error; JSON has neither, so they become null. "
        "With --inference_mode=local.",
        default="false",
    ),
    Flag(
        "max_batch_size",
        values.integer(1, 100_000),
        "Most requests in one call of the model, with --inference_mode=local.",
        default="128",
    ),
    Flag(
        "max_batch_wait_ms",
        values.milliseconds,
        "Longest that a free model waits for requests of other bundles, where there were some a moment ago; "
        "0: never.",
        default="1",
    ),
    Flag(
        "inference_timeout_s",
        values.seconds,
        "Seconds that a batch may take, with the calls that isolate a bad request in it; then its bundles "
        "fail and are tried again.",
        default="300",
    ),
    Flag(
        "device",
        values.one_of("cpu", "gpu", "auto"),
        "Where the model computes. gpu: refuses to start without a CUDA device; auto: a GPU where there is "
        "one.",
        default="auto",
    ),
    Flag(
        "precision",
        values.one_of("fp32", "fp16", "bf16"),
        "What the model computes in; fp32: as the file has it.",
        default="fp32",
    ),
    Flag(
        "compile",
        values.boolean,
        "true: compiled by TorchInductor at load, for batches padded to powers of two. Needs a C++ compiler; "
        "not for TorchScript.",
        default="false",
    ),
    Flag(
        "torch_threads",
        values.integer(1, 1_024),
        "Threads of one call of the model on the CPU. Default: the cores, divided by the processes on the "
        "worker; off Dataflow one core is left free.",
    ),
    Flag(
        "worker_processes",
        values.one_of(PER_CPU, SINGLE),
        "per_cpu: a Python process, with its own copy of the model, for each vCPU of a worker; single: one "
        "for all. Dataflow only.",
        default=PER_CPU,
    ),
    Flag(
        "endpoint",
        parse_endpoint,
        "The Vertex AI endpoint: its id, or projects/PROJECT/locations/REGION/endpoints/ID.",
    ),
    Flag("endpoint_location", values.region, "Region of --endpoint, where that is an id."),
    Flag(
        "endpoint_url",
        parse_url,
        "With --endpoint: its server, such as https://ID.REGION-UID.prediction.vertexai.goog of a dedicated "
        "endpoint. Without: the whole URL to POST to, such as http://127.0.0.1:8080/predict; no access token "
        "is sent there.",
    ),
    Flag(
        "endpoint_protocol",
        values.one_of(PREDICT, RAW),
        "predict: JSON instances; raw: float32 bytes, for a container that takes them (serving/ does).",
        default=PREDICT,
    ),
    Flag("endpoint_batch_size", values.integer(1, 100_000), "Most instances in one call.", default="32"),
    Flag(
        "endpoint_max_concurrency",
        values.integer(1, 1_000),
        "Most calls in flight, of each process; halved while the endpoint is full.",
        default="32",
    ),
    Flag("endpoint_timeout_s", values.seconds, "Seconds that one call may take.", default="30"),
    Flag(
        "endpoint_deadline_s",
        values.seconds,
        "Seconds for which the calls of a request are retried before the job stops with exit code 3 "
        "(Dataflow: before the bundle is tried again). The scale-up from zero is not counted.",
        default="120",
    ),
    Flag(
        "endpoint_scale_up_wait_s",
        values.seconds,
        "Seconds to wait for an endpoint that scales up from zero replicas.",
        default="600",
    ),
    Flag(
        "max_active_bundles_per_worker",
        values.integer(1, 100_000),
        "Bundles that Dataflow may run at once on a worker; Dataflow only.",
    ),
    Flag(
        "publish_deadline_s",
        values.seconds,
        "Seconds for which publishing is retried before the job stops with exit code 3; "
        "off Dataflow only (Dataflow retries for ever).",
        default="60",
    ),
    Flag("run_for_s", values.seconds, "Stop cleanly after so many seconds; off Dataflow only."),
)
