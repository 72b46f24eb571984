"""The container's flags, each with its default and its help; their values are still text."""

from __future__ import annotations

import argparse

from pipeline.options.job_options import DEFAULT_INPUT_SHAPE

AUTO = "auto"


class OptionsError(Exception):
    """Flags or variables are wrong; the message has a line for each.

    Attributes:
        log_format: In which it is to be told.
    """

    def __init__(self, message: str, log_format: str) -> None:
        super().__init__(message)
        self.log_format = log_format


class Flags(argparse.Namespace):
    """The flags as given, or their defaults, still as text."""

    host: str
    workers: str | None
    model_file: str | None
    model_pointer: str | None
    model_root: str | None
    model_refresh_s: str
    model_class: str | None
    model_params: str | None
    input_shape: str | None
    max_batch_size: str
    max_batch_wait_ms: str
    max_queue_size: str
    device: str
    precision: str
    cuda_graphs: str
    predict_timeout_s: str
    load_timeout_s: str
    drain_s: str
    log_format: str


class Parser(argparse.ArgumentParser):
    """argparse's parser, with a flag without its value reported as everything else that is wrong."""

    log_format: str

    def error(self, message: str) -> None:  # type: ignore[override]
        """Raise `OptionsError`."""
        raise OptionsError(f"{message.removeprefix('argument ')}; see --help", self.log_format)


def make_parser(cores: int) -> Parser:
    """Return the parser of the flags; `cores` is what it says of the default of --workers."""
    parser = Parser(
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
        "--model_file", help="the file's path below AIP_STORAGE_URI (default: the only model there)"
    )
    parser.add_argument(
        "--model_pointer",
        help="instead of AIP_STORAGE_URI: a file, gs://… or here, that names the current model; another one "
        "that it names later takes its place, without a restart, once it has answered its golden set",
    )
    parser.add_argument(
        "--model_root",
        help="the folder that models of --model_pointer lie under (default: the pointer's own folder)",
    )
    parser.add_argument(
        "--model_refresh_s", default="60", help="seconds between two looks at --model_pointer (60)"
    )
    parser.add_argument("--model_class", help="module:Class of the torch.nn.Module, for a state_dict")
    parser.add_argument("--model_params", help="keyword arguments of --model_class, as a JSON object")
    parser.add_argument(
        "--input_shape",
        help="of one instance: 30, 3x224x224, or NAME:DTYPE:SHAPE,… (default: as a .pt2 names it; "
        f"{DEFAULT_INPUT_SHAPE} for other files)",
    )
    parser.add_argument(
        "--max_batch_size",
        default="1024",
        help="most instances in one call, and in one pass of the model, in which calls meet (1024)",
    )
    parser.add_argument(
        "--max_batch_wait_ms",
        default="2",
        help="milliseconds that a free model waits at most for callers that were answered a moment ago; it "
        "never waits for others (2)",
    )
    parser.add_argument(
        "--max_queue_size",
        default="512",
        help="calls that wait in a process; further ones get 503 with Retry-After, so that callers back off "
        "and an autoscaler sees it (512)",
    )
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
        "--cuda_graphs",
        default="true",
        help="true: on a GPU, forward passes are captured as CUDA graphs; false: never (true)",
    )
    parser.add_argument(
        "--predict_timeout_s",
        default="60",
        help="seconds that one call of the model may take, and that a call may wait for its turn; a process "
        "whose call takes longer is replaced, and its callers get 503 (60)",
    )
    parser.add_argument(
        "--load_timeout_s",
        default="600",
        help="seconds that a process may take to load and to warm the model (600)",
    )
    parser.add_argument(
        "--drain_s",
        default="5",
        help="seconds that predictions are still served after SIGTERM, while health says 503 (5)",
    )
    parser.add_argument(
        "--log_format",
        default=AUTO,
        help="json: each event a line, a JSON object as Cloud Logging reads it; text; auto, json on Vertex "
        "AI, which sets AIP_MODE, else text (auto)",
    )
    return parser
