"""The text of a config.pbtxt: what Triton is told of a model.

Its fields: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

UNNAMED_OUTPUT = "OUTPUT__0"
"""The name of an output that the model does not name: the first one's of Triton's PyTorch backend."""

CPU = "cpu"
GPU = "gpu"
_KINDS: Mapping[str, str] = {CPU: "KIND_CPU", GPU: "KIND_GPU"}
# libtorch optimises a graph during its first calls with a shape, which take several times as long.
_WARMUP_CALLS = 3


@dataclass(frozen=True)
class Tensor:
    """An input or an output.

    Attributes:
        name: As requests have it.
        datatype: Of the config, such as FP32, INT64, BOOL.
        dims: Without the batch; of a scalar (), which clients see as [batch, 1].
    """

    name: str
    datatype: str
    dims: tuple[int, ...]

    def text(self) -> str:
        """Return it as the config has it."""
        shape = f"dims: {list(self.dims)}" if self.dims else "dims: [ 1 ] reshape { shape: [ ] }"
        return f'{{ name: "{self.name}" data_type: TYPE_{self.datatype} {shape} }}'


@dataclass(frozen=True)
class Backend:
    """What of Triton runs a model file.

    Attributes:
        name: Of the backend.
        platform: Its older name, where it has one.
        file: The model file's name, which the backend looks for.
        threads: The parameter that says how many threads one call has on the CPU.
    """

    name: str
    platform: str | None
    file: str
    threads: str


# https://github.com/triton-inference-server/pytorch_backend and …/onnxruntime_backend, Parameters.
PYTORCH = Backend("pytorch", "pytorch_libtorch", "model.pt", "INTRA_OP_THREAD_COUNT")
ONNX_RUNTIME = Backend("onnxruntime", None, "model.onnx", "intra_op_thread_count")

TORCHSCRIPT = "torchscript"
ONNX = "onnx"
BACKENDS: Mapping[str, Backend] = {TORCHSCRIPT: PYTORCH, ONNX: ONNX_RUNTIME}
"""What runs a model, by the format of its file."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """How Triton is to run a model.

    Attributes:
        max_batch_size: Most rows of a request, and of a batch that is formed of several.
        max_queue_size: Most requests that wait; further ones get 503.
        instances: Copies of the model that compute at once; on GPUs, of each GPU.
        device: CPU or GPU.
        threads: Of one call on the CPU.
    """

    max_batch_size: int
    max_queue_size: int
    instances: int
    device: str
    threads: int


def config_text(
    name: str, backend: Backend, inputs: Sequence[Tensor], outputs: Sequence[Tensor], serving: Serving
) -> str:
    """Return the config of a model.

    Args:
        name: Of the model.
        backend: What runs its file.
        inputs: In the order of the model's arguments.
        outputs: In the order of what it returns.
        serving: How it is to be run.
    """
    lines = [f'name: "{name}"', f'backend: "{backend.name}"']
    if backend.platform:
        lines.append(f'platform: "{backend.platform}"')
    lines += [
        f"max_batch_size: {serving.max_batch_size}",
        *(f"input {tensor.text()}" for tensor in inputs),
        *(f"output {tensor.text()}" for tensor in outputs),
        # No delay: a batch is what waits when an instance is free.
        f"dynamic_batching {{ default_queue_policy {{ max_queue_size: {serving.max_queue_size} }} }}",
        f"instance_group [ {{ kind: {_KINDS[serving.device]} count: {serving.instances} }} ]",
    ]
    if serving.device == CPU:
        value = f'{{ string_value: "{serving.threads}" }}'
        lines.append(f'parameters {{ key: "{backend.threads}" value: {value} }}')
    lines += [_warmup(inputs, rows) for rows in sorted({1, serving.max_batch_size})]
    return "\n".join(lines) + "\n"


def _warmup(inputs: Sequence[Tensor], rows: int) -> str:
    """Return a batch of zeros that the model computes before it is ready; an embedding knows them, too."""
    samples = " ".join(
        f'inputs {{ key: "{tensor.name}" value: {{ data_type: TYPE_{tensor.datatype} '
        f"dims: {list(tensor.dims)} zero_data: true }} }}"
        for tensor in inputs
    )
    return f'model_warmup {{ name: "{rows} rows" batch_size: {rows} {samples} count: {_WARMUP_CALLS} }}'


def name_problem(name: str, backend: Backend) -> str | None:
    """Return why no input or output can have that name, as the end of a sentence; None if one can."""
    if not re.fullmatch(r"[A-Za-z0-9_.\-/]+", name):
        return "which is not of letters, digits and _.-/ alone"
    if backend is PYTORCH and re.search(r"__[0-9]", name):
        # ModelInstanceState::GetNamingConvention in that backend's libtorch.cc
        return "in which Triton's PyTorch backend takes the number after __ for a position"
    return None
