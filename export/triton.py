"""A model repository for Triton, out of a torch.export file: exported, checked, and only then written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from export import onnx, torchscript
from export.errors import ExportError
from export.model_config import (
    BACKENDS,
    GPU,
    ONNX,
    TORCHSCRIPT,
    UNNAMED_OUTPUT,
    Serving,
    Tensor,
    config_text,
    name_problem,
)
from export.repository import add_version, version_to_add
from pipeline.inference.endpoint.triton_codec import DATATYPES, UNNAMED_INPUT
from pipeline.model.calling import keywords
from pipeline.model.comparing import difference
from pipeline.model.files.input_shape import UnknownShapeError, input_shape
from pipeline.model.files.model_files import read
from pipeline.model.files.private_copy import private_copy
from pipeline.model.load import load
from pipeline.model.model import Model
from pipeline.request.errors import ModelError
from pipeline.request.input_spec import InputSpec

TOLERANCE = 1e-4
"""By how much an exported model may differ, absolute and relative: its operators are fused anew."""

# PyTorch's names of dtypes are NumPy's.
_DATATYPES = {getattr(torch, name): datatype for name, datatype in DATATYPES.items()}


@dataclass(frozen=True, kw_only=True)
class TritonExport:
    """What is to be exported, and where to.

    Attributes:
        model_path: Of a torch.export file.
        input_shape: The model's inputs; None: what the file says of them.
        repository: Of Triton, on this machine.
        model_name: In the repository.
        version: Its number there; None: the next.
        format: TORCHSCRIPT or ONNX.
        serving: How Triton is to run it.
    """

    model_path: str
    input_shape: str | None
    repository: Path
    model_name: str
    version: int | None
    format: str
    serving: Serving


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written.

    Attributes:
        folder: Of the version.
        input_shape: The job's flag for this model.
        inputs: Of the config.
        outputs: Of the config.
        sizes: The rows of the batches that the file was checked on.
    """

    folder: Path
    input_shape: str
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]
    sizes: Sequence[int]


def export(wanted: TritonExport) -> Exported:
    """Export a model, compare what was made with it on random inputs, and add it to the repository.

    Raises:
        ExportError: It cannot be exported so, or computes something else in a batch of another size.
        ModelError: The file is none of torch.export, is refused, or does not take such inputs.
        RepositoryError: There is such a version, or the repository cannot be written.
    """
    if wanted.format == ONNX and (missing := onnx.why_not()):
        raise ExportError(missing)
    label = f"--model-path: {wanted.model_path}"
    with private_copy(wanted.model_path, label) as copy, tempfile.TemporaryDirectory() as folder:
        shape = _shape_in(copy.path, wanted.input_shape, label)
        spec = InputSpec.parse(shape)
        model = _Model(copy.path, spec, wanted, label)
        file = Path(folder) / BACKENDS[wanted.format].file
        forward = model.write(file)
        model.check(file, forward)
        inputs, outputs = model.tensors(forward)
        config = config_text(wanted.model_name, BACKENDS[wanted.format], inputs, outputs, wanted.serving)
        version = version_to_add(wanted.repository, wanted.model_name, config, wanted.version)
        place = add_version(wanted.repository, wanted.model_name, config, version, {file.name: file})
    return Exported(folder=place, input_shape=shape, inputs=inputs, outputs=outputs, sizes=model.sizes)


def _shape_in(path: str, given: str | None, label: str) -> str:
    """Return the text of the model's inputs, as it was given or as the file says it."""
    try:
        found = input_shape(path)
    except UnknownShapeError as error:
        if given is not None:
            return given
        raise ModelError(f"{label}: {error}: name its inputs by --input-shape, if they are tensors") from None
    if found is None:
        raise ModelError(f"{label} is not a torch.export file (.pt2), which is what can be exported")
    return given or found


class _Model:
    """The model to export: as it is, and what is made of it."""

    def __init__(self, path: str, spec: InputSpec, wanted: TritonExport, label: str) -> None:
        most = wanted.serving.max_batch_size
        self._path = path
        self._spec = spec
        self._wanted = wanted
        self._label = label
        self._backend = BACKENDS[wanted.format]
        self._model = load(path, spec, max_batch_size=most, label=label, is_private=True)
        zeros = self._model.run([spec.stack([spec.zeros()])], 1)
        self._outputs = zeros.names
        # Both ends, and some between: a trace may have its example's size written into it.
        self.sizes = sorted({min(rows, most) for rows in (1, 2, 3, 7, most)})
        for name in self._names():
            if problem := name_problem(name, self._backend):
                raise ExportError(
                    f"{label} has an input or output {name!r}, {problem}: export it under another"
                )

    def write(self, file: Path) -> Callable[..., Sequence[torch.Tensor]]:
        """Write the file in its new form, and return what it computes."""
        if self._wanted.format == ONNX:
            inputs, outputs = self._input_names(), self._output_names()
            onnx.write(torch.export.load(self._path), inputs, outputs, file)
            return onnx.load(file)
        module = self._read()
        torchscript.write(module, keywords(module, self._spec), self._zeros, file)
        return torchscript.load(file)

    def check(self, file: Path, forward: Callable[..., Sequence[torch.Tensor]]) -> None:
        """Compare a file that was written with the model.

        Raises:
            ExportError: They differ.
        """
        exported = Model(self._structured(forward), self._spec, "exported", keywords=())
        if found := difference(self._model, exported, self._spec, self.sizes, TOLERANCE):
            other = TORCHSCRIPT if self._wanted.format == ONNX else ONNX
            raise ExportError(
                f"--format={self._wanted.format}: what was made of the model is not the model: {found}. "
                f"Nothing was written. {_WHY[self._wanted.format]}: take --format={other}"
            )
        is_script = self._wanted.format == TORCHSCRIPT
        if self._wanted.serving.device == GPU and is_script and (why := torchscript.gpu_problem(file)):
            raise ExportError(f"--device=gpu: {why}, which fails on a GPU: take --format=onnx")

    def tensors(self, forward: Callable[..., Sequence[torch.Tensor]]) -> tuple[list[Tensor], list[Tensor]]:
        """Return inputs and outputs as the config has them.

        Raises:
            ExportError: An output has a dtype that the job cannot read.
        """
        inputs = [
            Tensor(name, DATATYPES[tensor.dtype.name], tensor.shape)
            for name, tensor in zip(self._input_names(), self._spec.tensors, strict=True)
        ]
        with torch.inference_mode():
            found = forward(*self._zeros(1))
        outputs = []
        for name, output in zip(self._output_names(), found, strict=True):
            if output.dtype not in _DATATYPES:
                raise ExportError(
                    f"{self._label}: its output {name} is {output.dtype}, which the job cannot read from "
                    "Triton: have the model return float32"
                )
            outputs.append(Tensor(name, _DATATYPES[output.dtype], tuple(output.shape[1:])))
        return inputs, outputs

    def _read(self) -> torch.fx.GraphModule:
        return read(
            self._path,
            self._spec,
            model_class=None,
            model_params={},
            max_batch_size=self._wanted.serving.max_batch_size,
            device=torch.device("cpu"),
            label=self._label,
        )

    def _structured(self, forward: Callable[..., Sequence[torch.Tensor]]) -> Callable[..., Any]:
        """Return a function whose outputs have the model's names."""

        def structured(*tensors: torch.Tensor) -> Any:
            outputs = forward(*tensors)
            if self._outputs == [None]:
                return outputs[0]
            return dict(zip(self._outputs, outputs, strict=True))

        return structured

    def _zeros(self, rows: int) -> list[torch.Tensor]:
        return [
            torch.zeros(rows, *tensor.shape, dtype=getattr(torch, tensor.dtype.name))
            for tensor in self._spec.tensors
        ]

    def _names(self) -> list[str]:
        """Return the names that the model itself has."""
        inputs = [tensor.name for tensor in self._spec.tensors] if self._spec.named else []
        return [*inputs, *(name for name in self._outputs if name is not None)]

    def _input_names(self) -> list[str]:
        return [tensor.name for tensor in self._spec.tensors] if self._spec.named else [UNNAMED_INPUT]

    def _output_names(self) -> list[str]:
        return [UNNAMED_OUTPUT if name is None else name for name in self._outputs]


_WHY: Mapping[str, str] = {
    TORCHSCRIPT: "A trace has sizes of its example written into it where the model computes with them",
    ONNX: "An operator of the model has another meaning there",
}
