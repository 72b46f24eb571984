"""A PyTorch model: loaded, checked, and run. Imports no Beam: the endpoint container runs this code too."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from pipeline.model.compiling import Compiled, padded_sizes
from pipeline.model.compute import Compute, name_of
from pipeline.model.graphs import Graphed, graph_sizes
from pipeline.model.model_files import read
from pipeline.model.outputs import OutputRows, Outputs, columns
from pipeline.model.staging import HostStaging, Staging, make_staging
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import Inputs, InputSpec

# The default of `load`.
_ON_CPU = Compute()


class Model:
    """A loaded model, which takes batches of the given inputs.

    Attributes:
        model_id: file name and the first 12 hexadecimal digits of the file's SHA-256, so that a result
            names exactly the weights that made it.
        device: what a person reads: `cpu`, or `cuda:0 (NVIDIA L4)`.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        spec: InputSpec,
        model_id: str,
        *,
        device: str = "cpu",
        staging: Staging | None = None,
        sizes: Sequence[int] | None = None,
    ) -> None:
        """
        Args:
            forward: called with tensors, the batch first (named inputs by name), gives such back.
            spec: the model's inputs.
            model_id: see there.
            device: see there.
            staging: carries batches to the model's device; default: to the CPU.
            sizes: of the batches that `forward` takes, ascending; others are padded with zeros. None: any.
        """
        self.model_id = model_id
        self.device = device
        self._forward = forward
        self._spec = spec
        self._staging = staging or HostStaging(spec, None)
        self._sizes = sizes

    def __str__(self) -> str:
        return f"model {self.model_id} on {self.device}"

    @cached_property
    def outputs(self) -> Outputs:
        """What every prediction is like, found out on zeros.

        Raises:
            Exception: see `predict`.
        """
        return self.try_zeros(1)

    def predict(self, rows: list[Inputs]) -> list[Any]:
        """One prediction for each row, in the same order. May be called by several threads at once.

        A prediction is a numpy scalar or array, or a dict of them where the model returns named outputs.

        Raises:
            InferenceError: a row does not fit, or the model returned something else than one row for each.
            Exception: whatever the model raised.
        """
        return self.run([self._spec.stack(rows)], len(rows)).predictions(0, len(rows))

    def run(self, blocks: list[Inputs], rows: int) -> OutputRows:
        """What the model returns for one batch. May be called by several threads at once.

        Args:
            blocks: inputs as `InputSpec.stack` makes them, which become one batch in this order.
            rows: of them all.

        Raises:
            InferenceError: the model returned something else than one row for each.
            Exception: whatever the model raised.
        """
        size = self._size_for(rows)
        names: list[str | None] = []

        def forward(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
            output = self._forward(**batch) if self._spec.named else self._forward(*batch.values())
            tensors = columns(output, size)
            names.extend(tensors)
            if size == rows:
                return list(tensors.values())
            return [tensor[:rows] for tensor in tensors.values()]

        padded = [*blocks, self._spec.stack([self._spec.zeros()] * (size - rows))] if size > rows else blocks
        return OutputRows(names, self._staging.run(padded, forward))

    def _size_for(self, rows: int) -> int:
        if self._sizes is None or rows > self._sizes[-1]:
            return rows
        return self._sizes[bisect_left(self._sizes, rows)]

    def warm_up(self) -> None:
        """Run a batch of each size that the model has kernels or graphs of its own for, on this thread.

        Raises:
            Exception: see `predict`.
        """
        for rows in self._sizes or [1]:
            self.try_zeros(rows)

    def try_zeros(self, rows: int) -> Outputs:
        """Runs a batch of so many rows of zeros, and says what its first prediction is like.

        Raises:
            Exception: see `predict`.
        """
        return Outputs.of(self.predict([self._spec.zeros()] * rows)[0])


def load(
    path: str,
    spec: InputSpec,
    *,
    model_class: str | None = None,
    model_params: Mapping[str, Any] | None = None,
    max_batch_size: int = 1,
    compute: Compute = _ON_CPU,
    called: str | None = None,
) -> Model:
    """Loads `path` and tries it on zeros, so that the first request finds it warm.

    Args:
        path: of a file on this machine: torch.export (.pt2), TorchScript, or a state_dict (then `model_class`
            is needed).
        spec: the model's inputs.
        model_class: `module:Class` of a torch.nn.Module, for a state_dict.
        model_params: keyword arguments of that class.
        max_batch_size: rows of the largest batch that the model must take.
        compute: device, precision, and whether to compile.
        called: how messages begin; default: `--model_path: ` and the path.

    Raises:
        ModelError: the file is missing, damaged, of another kind, or does not take such inputs; or it cannot
            compute as it is to.
    """
    called = called or f"--model_path: {path}"
    device = compute.choose_device()
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"{called}: there is no file")
    before = file.stat()
    module = read(
        path,
        spec,
        model_class=model_class,
        model_params=model_params or {},
        max_batch_size=max_batch_size,
        device=device,
        called=called,
    )
    try:
        module = module.to(device=device, dtype=compute.dtype)
    except RuntimeError as error:
        raise ModelError(f"{called} cannot be moved to {name_of(device)}: {error}") from error
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()[:12]
    after = file.stat()
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise ModelError(f"{called} changed while it was loaded: write each model to a path of its own")

    def made(
        forward: Callable[..., Any], dtype: torch.dtype | None, sizes: Sequence[int] | None = None
    ) -> Model:
        return Model(
            forward,
            spec,
            f"{file.name}@{digest}",
            device=name_of(device),
            staging=make_staging(spec, dtype, device, max_batch_size),
            sizes=sizes,
        )

    dtype = compute.dtype
    model = made(module, dtype)
    sizes = sorted({1, min(2, max_batch_size), max_batch_size})
    try:
        _check(model, spec, sizes, called)
    except ModelError as error:
        if dtype is None or not _passes(made(module.float(), None), spec, sizes):
            raise
        raise ModelError(
            f"{called} computes in fp32 only (--precision={compute.precision}): export it in "
            f"{compute.precision}, or give a state_dict and its --model_class, or use --precision=fp32: "
            f"{error.__cause__}"
        ) from error
    if not compute.compile:
        if device.type != "cuda" or not compute.cuda_graphs or isinstance(module, torch.jit.ScriptModule):
            return model
        return made(Graphed(module), dtype, graph_sizes(max_batch_size))
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(
            f"{called} is TorchScript, which cannot be compiled (--compile=true): export the model by "
            "torch.export.save (.pt2), or use --compile=false"
        )
    fast = made(Compiled(module), dtype, sizes=padded_sizes(max_batch_size))
    try:
        _check(fast, spec, padded_sizes(max_batch_size), called)
    except ModelError as error:
        # Without torch's advice on debugging.
        reason = str(error.__cause__ or error).split("\n\n")[0]
        raise ModelError(
            f"{called} cannot be compiled (--compile=true), which needs a C++ compiler such as g++, and a "
            f"model that runs as one graph; or use --compile=false: {reason}"
        ) from error
    return fast


def _check(model: Model, spec: InputSpec, sizes: list[int], called: str) -> None:
    """Tries batches of the given sizes.

    Raises:
        ModelError: one fails, from what was raised; or a row of the output depends on the batch's size.
    """
    for rows in sizes:
        try:
            outputs = model.outputs if rows == 1 else model.try_zeros(rows)
        except Exception as error:
            raise ModelError(
                f"{called} fails on {rows} rows of zeros, each {spec.example()} (--input_shape), on "
                f"{model.device}: {error}"
            ) from error
        if outputs != model.outputs:
            raise ModelError(
                f"{called}: a row of the output is {model.outputs} in a batch of 1, but {outputs} in a batch "
                f"of {rows}: it must not depend on the batch"
            )


def _passes(model: Model, spec: InputSpec, sizes: list[int]) -> bool:
    try:
        _check(model, spec, sizes, "")
    except ModelError:
        return False
    return True
