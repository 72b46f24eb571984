"""Loads a model: reads its file, moves it to its device, verifies and compiles it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from pipeline.model.calling import keywords
from pipeline.model.comparing import TOLERANCE, difference
from pipeline.model.compiling import Compiled, padded_sizes
from pipeline.model.compute import Compute, name_of, release_cached_memory
from pipeline.model.failure import said
from pipeline.model.files.model_files import drop_input_checks, read
from pipeline.model.files.private_copy import private_copy
from pipeline.model.graph_function import NoFunctionError, graph_function
from pipeline.model.graphs import Graphed
from pipeline.model.model import Model
from pipeline.model.moving import move_module
from pipeline.model.staging import make_staging
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec

_LOGGER = logging.getLogger(__name__)

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
    is_private: bool = False,
) -> Model:
    """Load the model in a file and try it on zeros.

    What each thread needs for itself, `Model.warm_up` makes. A private copy of the file is made, whose bytes
    are those that are checked, loaded and named by their SHA-256.

    Args:
        path: A file on this machine: torch.export (.pt2), TorchScript, or a state_dict (then `model_class`
            is needed).
        spec: The model's inputs.
        model_class: `module:Class` of a torch.nn.Module, for a state_dict.
        model_params: Keyword arguments of that class.
        max_batch_size: Rows of the largest batch that the model must take.
        compute: Device, precision, and whether to compile or to capture CUDA graphs.
        label: How messages begin; default: `--model_path: ` and the path.
        is_private: Nobody else can write the file, as after a download into a folder of this process's own:
            it is not copied again.

    Raises:
        ModelError: The file is missing, damaged, of another kind, or refused because it could run code; it
            cannot be copied, or does not take such inputs; or the model cannot compute as `compute` says.
    """
    label = label or f"--model_path: {path}"
    device = compute.choose_device()
    with private_copy(path, label, is_private=is_private) as copy:
        module = read(
            copy.path,
            spec,
            model_class=model_class,
            model_params=model_params or {},
            max_batch_size=max_batch_size,
            device=device,
            dtype=compute.dtype,
            label=label,
        )
    module = _move(module, device, compute.dtype, label)
    builder = _ModelBuilder(
        spec=spec,
        model_id=f"{Path(path).name}@{copy.sha256[:12]}",
        device=device,
        max_batch_size=max_batch_size,
        compute=compute,
        label=label,
        keywords=keywords(module, spec),
    )
    try:
        return builder.build(module)
    finally:
        # The allocator keeps memory for the stream that it was freed on: no batch runs on this one.
        release_cached_memory()


def _move(
    module: torch.nn.Module, device: torch.device, dtype: torch.dtype | None, label: str
) -> torch.nn.Module:
    try:
        return move_module(module, device, dtype)
    except RuntimeError as error:
        raise ModelError(f"{label} cannot be moved to {name_of(device)}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _ModelBuilder:
    """The steps from a module that has been read and moved to a model, verified on zeros."""

    spec: InputSpec
    model_id: str
    device: torch.device
    max_batch_size: int
    compute: Compute
    label: str
    keywords: tuple[str, ...]

    def build(self, module: torch.nn.Module) -> Model:
        """Return the model as `compute` says, verified.

        Raises:
            ModelError: See `verified` and `compiled`.
        """
        # The plain model is verified even where the compiled one is used: it tells a model that does not fit
        # from one that cannot be compiled.
        model = self.verified(module)
        # The sizes that they look at do not change from batch to batch: 45 of 174 µs for an encoder layer.
        drop_input_checks(module)
        if self.compute.compile:
            return self.compiled(module)
        if self.compute.takes_graphs(self.device, module):
            return self.graphed(module)
        # On a GPU, the way to the operators is hidden behind their kernels, or gone in graphs of them.
        return model if model.on_gpu else self.direct(module, model)

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
                f"{self.label} cannot be compiled (--compile=true), which needs a C++ compiler such as g++ "
                "(an image has one if built with --build-arg COMPILE=true: ./launch.sh build … --compiler), "
                f"and a model that runs as one graph; or use --compile=false: {reason}"
            ) from error
        return model

    def direct(self, module: torch.nn.Module, model: Model) -> Model:
        """Return a model that calls the operators of an export directly, or `model` where that cannot be.

        The log says which.

        Args:
            module: The module of `model`, whose inputs are no longer checked.
            model: The model of `verified`.
        """
        if not isinstance(module, torch.fx.GraphModule):
            return model
        sizes = sorted({min(rows, self.max_batch_size) for rows in (1, 2, 3, self.max_batch_size)})
        reason = ""
        try:
            direct = self._build(graph_function(module), self.compute.dtype)
        except NoFunctionError as error:
            reason = str(error)
        else:
            reason = difference(model, direct, self.spec, sizes)
        if reason:
            _LOGGER.info("%s is called by way of torch's own module: %s", self.label, reason)
            return model
        _LOGGER.info(
            "%s is called as a function of its operators: on random batches of %s rows it answers as torch's "
            "own module does, within %g",
            self.label,
            ", ".join(map(str, sizes)),
            TOLERANCE,
        )
        return direct

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
            keywords=self.keywords,
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
                    f"(--input_shape), on {model.device}: {said(error)}"
                ) from error
            if outputs != model.outputs:
                raise ModelError(
                    f"{self.label}: a row of the output is {model.outputs} in a batch of 1, but {outputs} "
                    f"in a batch of {rows}: it must not depend on the batch"
                )
