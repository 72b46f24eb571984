"""Loads a model: reads its file, moves it to its device, verifies and compiles it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.model.compiling import Compiled, padded_sizes
from pipeline.model.compute import Compute, name_of
from pipeline.model.graphs import Graphed
from pipeline.model.model import Model
from pipeline.model.model_files import read
from pipeline.model.staging import make_staging
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec

# The default of `load`.
_ON_CPU = Compute()


def load(
    path: str,
    spec: InputSpec,
    *,
    model_class: str | None = None,
    model_params: Mapping[str, Any] | None = None,
    max_batch_size: int = 1,
    compute: Compute = _ON_CPU,
    label: str | None = None,
) -> Model:
    """Load the model in a file and try it on zeros; what each thread needs for itself, `Model.warm_up` makes.

    Args:
        path: A file on this machine: torch.export (.pt2), TorchScript, or a state_dict (then `model_class`
            is needed).
        spec: The model's inputs.
        model_class: `module:Class` of a torch.nn.Module, for a state_dict.
        model_params: Keyword arguments of that class.
        max_batch_size: Rows of the largest batch that the model must take.
        compute: Device, precision, and whether to compile or to capture CUDA graphs.
        label: How messages begin; default: `--model_path: ` and the path.

    Raises:
        ModelError: The file is missing, damaged, of another kind, or does not take such inputs; or the model
            cannot compute as `compute` says.
    """
    label = label or f"--model_path: {path}"
    device = compute.choose_device()
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"{label}: there is no file")
    before = file.stat()
    module = read(
        path,
        spec,
        model_class=model_class,
        model_params=model_params or {},
        max_batch_size=max_batch_size,
        device=device,
        label=label,
    )
    module = _move(module, device, compute.dtype, label)
    builder = _ModelBuilder(
        spec=spec,
        model_id=_identify(file, before, label),
        device=device,
        max_batch_size=max_batch_size,
        compute=compute,
        label=label,
    )
    # The plain model is verified even where the compiled one is used: it tells a model that does not fit from
    # one that cannot be compiled.
    model = builder.verified(module)
    if compute.compile:
        return builder.compiled(module)
    return builder.graphed(module) if compute.takes_graphs(device, module) else model


def _move(
    module: torch.nn.Module, device: torch.device, dtype: torch.dtype | None, label: str
) -> torch.nn.Module:
    try:
        return module.to(device=device, dtype=dtype)
    except RuntimeError as error:
        raise ModelError(f"{label} cannot be moved to {name_of(device)}: {error}") from error


def _identify(file: Path, before: os.stat_result, label: str) -> str:
    """Return the id of the model in `file`.

    Args:
        file: The model file, which has been read.
        before: Its status before it was read.
        label: How messages begin.

    Raises:
        ModelError: The file has changed since, so that the id may not be that of the weights that were read.
    """
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()[:12]
    after = file.stat()
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise ModelError(f"{label} changed while it was loaded: write each model to a path of its own")
    return f"{file.name}@{digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelBuilder:
    """The steps from a module that has been read and moved to a model, verified on zeros."""

    spec: InputSpec
    model_id: str
    device: torch.device
    max_batch_size: int
    compute: Compute
    label: str

    def verified(self, module: torch.nn.Module) -> Model:
        """Return a model that runs `module` as it is.

        Raises:
            ModelError: It fails on zeros, or computes in fp32 only; `module` is then in fp32.
        """
        dtype = self.compute.dtype
        model = self._build(module, dtype)
        sizes = sorted({1, min(2, self.max_batch_size), self.max_batch_size})
        try:
            self._verify(model, sizes)
        except ModelError as error:
            if dtype is None or not self._computes_in_fp32(module, sizes):
                raise
            precision = self.compute.precision
            raise ModelError(
                f"{self.label} computes in fp32 only (--precision={precision}): export it in "
                f"{precision}, or give a state_dict and its --model_class, or use --precision=fp32: "
                f"{error.__cause__}"
            ) from error
        return model

    def compiled(self, module: torch.nn.Module) -> Model:
        """Return a model that runs `module` compiled, for all sizes that batches are padded to.

        Raises:
            ModelError: It cannot be compiled.
        """
        if isinstance(module, torch.jit.ScriptModule):
            raise ModelError(
                f"{self.label} is TorchScript, which cannot be compiled (--compile=true): export the model "
                "by torch.export.save (.pt2), or use --compile=false"
            )
        sizes = padded_sizes(self.max_batch_size)
        model = self._build(Compiled(module), self.compute.dtype, lambda: sizes)
        try:
            self._verify(model, sizes)
        except ModelError as error:
            # Without torch's advice on debugging.
            reason = str(error.__cause__ or error).split("\n\n")[0]
            raise ModelError(
                f"{self.label} cannot be compiled (--compile=true), which needs a C++ compiler such as g++, "
                f"and a model that runs as one graph; or use --compile=false: {reason}"
            ) from error
        return model

    def graphed(self, module: torch.nn.Module) -> Model:
        """Return a model that runs `module`, verified before, by CUDA graphs.

        Nothing is captured here: each thread that runs batches does so, in `Model.warm_up` or as they come.
        """
        graphed = Graphed(module, self.max_batch_size)
        return self._build(graphed, self.compute.dtype, graphed.sizes)

    def _build(
        self,
        forward: Callable[..., Any],
        dtype: torch.dtype | None,
        sizes: Callable[[], Sequence[int] | None] | None = None,
    ) -> Model:
        return Model(
            forward,
            self.spec,
            self.model_id,
            device=name_of(self.device),
            staging=make_staging(self.spec, dtype, self.device, self.max_batch_size),
            sizes=sizes,
            on_gpu=self.device.type == "cuda",
        )

    def _computes_in_fp32(self, module: torch.nn.Module, sizes: list[int]) -> bool:
        try:
            self._verify(self._build(module.float(), None), sizes)
        except ModelError:
            return False
        return True

    def _verify(self, model: Model, sizes: list[int]) -> None:
        """Run batches of zeros of the given sizes.

        Raises:
            ModelError: A batch fails (from what it raised), or a row of the output depends on the batch's
                size.
        """
        for rows in sizes:
            try:
                outputs = model.outputs if rows == 1 else model.try_zeros(rows)
            except Exception as error:
                raise ModelError(
                    f"{self.label} fails on {rows} rows of zeros, each {self.spec.example()} "
                    f"(--input_shape), on {model.device}: {error}"
                ) from error
            if outputs != model.outputs:
                raise ModelError(
                    f"{self.label}: a row of the output is {model.outputs} in a batch of 1, but {outputs} "
                    f"in a batch of {rows}: it must not depend on the batch"
                )
