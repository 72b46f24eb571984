"""The command `./launch.sh export triton`: its flags, what it prints, its exit code."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.errors import ExportError
from export.model_config import CPU, GPU, ONNX, TORCHSCRIPT, Serving
from export.repository import RepositoryError
from pipeline.options import values
from pipeline.options.spelling import unknown_flags
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec

if TYPE_CHECKING:
    from export.triton import Exported, TritonExport


def _model_name(text: str) -> str:
    values.check_part(
        text,
        text,
        r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}",
        "the name of a model",
        "1 to 63 letters, digits and _.-, beginning with a letter or digit",
    )
    return text


def _shape(text: str) -> str:
    InputSpec.parse(text)
    return text


def _folder(text: str) -> Path:
    if "://" in text:
        raise ValueError(
            f"{text!r} is not a folder of this machine: write it here, then copy it by gcloud storage rsync"
        )
    return Path(text)


# Each flag: its parser, its default as text (None: it has none), its help.
_FLAGS: Mapping[str, tuple[Callable[[str], Any], str | None, str]] = {
    "model-path": (values.path, None, "the model: a torch.export file (.pt2)"),
    "out": (_folder, None, "folder of the model repository, made if it is not there"),
    "model-name": (_model_name, "model", "the model's name in the repository"),
    "version": (values.integer(1, 999_999_999), None, "the version's number (default: the next)"),
    "format": (
        values.one_of(TORCHSCRIPT, ONNX),
        TORCHSCRIPT,
        "torchscript, for Triton's PyTorch backend, or onnx, for that of ONNX Runtime, which needs "
        "the packages onnx, onnxscript and onnxruntime here",
    ),
    "input-shape": (_shape, None, "the model's inputs, as the job's flag (default: what the file says)"),
    "max-batch-size": (
        values.integer(1, 100_000),
        "64",
        "most rows of a request, and of a batch that is formed of several",
    ),
    "max-queue-size": (
        values.integer(1, 1_000_000),
        "512",
        "most requests that wait; further ones get 503, by which the job makes fewer calls at once",
    ),
    "instances": (
        values.integer(1, 1_000),
        "1",
        "copies of the model that compute at once; with --device=gpu, on each GPU",
    ),
    "device": (values.one_of(CPU, GPU), CPU, "what the server computes on: cpu or gpu"),
    "threads": (values.integer(1, 1_000), "1", "with --device=cpu: threads of one call of the model"),
}
_REQUIRED = ("model-path", "out")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the flags; all values are text, which `_FLAGS` parses."""
    parser = argparse.ArgumentParser(
        prog="./launch.sh export triton",
        description="Write a model repository for NVIDIA's Triton Inference Server: the model, which is "
        "compared with the .pt2 on random batches of several sizes before anything is written, and its "
        "config.pbtxt, with dynamic batching. What is there already is never overwritten.",
        epilog="Exit code: 0 written; 1 the model cannot be exported so, or the repository refuses it; "
        "2 a wrong flag.",
        allow_abbrev=False,
    )
    for name, (_, default, told) in _FLAGS.items():
        end = f" (default: {default})" if default is not None else ""
        parser.add_argument(f"--{name}", help=told + end, metavar="VALUE")
    return parser


def export_triton(arguments: Sequence[str]) -> int:
    """Export a model as the flags say, and return the exit code."""
    given, problems = _given(arguments)
    if problems:
        print("\n".join(problems), file=sys.stderr)
        return 2
    # Below the flags, so that --help and a wrong one need not wait for torch.
    from export.triton import TritonExport, export

    wanted = TritonExport(
        model_path=given["model-path"],
        input_shape=given["input-shape"],
        repository=given["out"],
        model_name=given["model-name"],
        version=given["version"],
        format=given["format"],
        serving=Serving(
            max_batch_size=given["max-batch-size"],
            max_queue_size=given["max-queue-size"],
            instances=given["instances"],
            device=given["device"],
            threads=given["threads"],
        ),
    )
    try:
        exported = export(wanted)
    except (ExportError, ModelError, RepositoryError) as error:
        print(f"export: {error}", file=sys.stderr)
        return 1
    print("\n".join(_told(wanted, exported)))
    return 0


def _given(arguments: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the flags' values by name, and what is wrong with them."""
    texts = []
    for word in arguments:
        flag, equals, value = word.partition("=")
        # As the job's flags are written.
        texts.append(f"{flag.replace('_', '-') if flag.startswith('--') else flag}{equals}{value}")
    named, unknown = make_parser().parse_known_args(texts)
    problems = unknown_flags(unknown, list(_FLAGS))
    found: dict[str, Any] = {}
    for name, (parse, default, told) in _FLAGS.items():
        text: str | None = getattr(named, name.replace("-", "_"))
        text = default if text is None else text
        found[name] = None
        if text is None:
            if name in _REQUIRED:
                problems.append(f"--{name}: missing: {told}")
            continue
        try:
            found[name] = parse(text)
        except ValueError as error:
            problems.append(f"--{name}: {error}")
    return found, problems


def _told(wanted: TritonExport, exported: Exported) -> list[str]:
    sizes = ", ".join(map(str, exported.sizes))
    return [
        f"written: {exported.folder}, and {exported.folder.parent / 'config.pbtxt'}",
        f"on random batches of {sizes} rows it answers as the model does; checked on this machine's CPU",
        *(f"  input   {tensor.name}  {tensor.datatype} {list(tensor.dims)}" for tensor in exported.inputs),
        *(f"  output  {tensor.name}  {tensor.datatype} {list(tensor.dims)}" for tensor in exported.outputs),
        "copy the folder above the models, then deploy it (docs/endpoint.md):",
        f"  gcloud storage rsync --recursive {shlex.quote(str(wanted.repository))} gs://BUCKET/repository",
        "  ./launch.sh endpoint deploy --server=triton --model-uri=gs://BUCKET/repository "
        "--serving-image=IMAGE",
        "the flags for the job, after --: --endpoint_protocol=triton "
        f"{shlex.quote(f'--input_shape={exported.input_shape}')} "
        f"--endpoint_batch_size={min(32, wanted.serving.max_batch_size)}",
    ]
