"""A PyTorch model that takes batches. Imports no Beam: the endpoint container runs this code too."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch

from pipeline.model import graphs
from pipeline.model.outputs import OutputRows, Outputs, columns
from pipeline.model.staging import HostStaging, Staging
from pipeline.request.input_spec import Inputs, InputSpec


class Model:
    """A loaded model, which takes batches of the given inputs.

    Attributes:
        model_id: File name and the first 12 hexadecimal digits of the file's SHA-256, so that a result
            names exactly the weights that made it.
        device: The device in words: `cpu`, or `cuda:0 (NVIDIA L4)`.
        on_gpu: Whether that is a GPU.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        spec: InputSpec,
        model_id: str,
        *,
        device: str = "cpu",
        staging: Staging | None = None,
        sizes: Callable[[], Sequence[int] | None] | None = None,
        on_gpu: bool = False,
        keywords: Sequence[str] | None = None,
    ) -> None:
        """Wrap a function that computes a batch.

        Args:
            forward: Takes tensors, the batch first, and returns tensors.
            spec: The model's inputs.
            model_id: The attribute of that name.
            device: The attribute of that name.
            staging: Carries batches to the model's device; default: to the CPU.
            sizes: Returns the rows of the batches that `forward` takes, ascending; other batches are padded
                with zeros. None, or where it returns None: `forward` takes any.
            on_gpu: The attribute of that name.
            keywords: The names that `forward` takes its tensors by, in the order of `spec`; none: by
                position; default: those of named inputs.
        """
        self.model_id = model_id
        self.device = device
        self._forward = forward
        self._spec = spec
        self._staging = staging or HostStaging(spec, None)
        self._sizes = sizes
        self.on_gpu = on_gpu
        if keywords is None:
            keywords = [tensor.name for tensor in spec.tensors] if spec.named else []
        self._keywords = keywords

    def __str__(self) -> str:
        return f"model {self.model_id} on {self.device}"

    @cached_property
    def outputs(self) -> Outputs:
        """The structure of every prediction, found by a run on zeros.

        Raises:
            Exception: See `predict`.
        """
        return self.try_zeros(1)

    def predict(self, rows: list[Inputs]) -> list[Any]:
        """Return one prediction for each row, in the same order. Several threads may call it at once.

        A prediction is a numpy scalar or array, or a dict of them where the model returns named outputs.

        Raises:
            InferenceError: A row does not fit, or the model did not return one row for each.
            Exception: Whatever the model raised.
        """
        return self.run([self._spec.stack(rows)], len(rows)).predictions(0, len(rows))

    def run(self, inputs: list[Inputs], rows: int) -> OutputRows:
        """Return what the model returns for one batch. Several threads may call it at once.

        Args:
            inputs: Arrays as `InputSpec.stack` makes them, which become one batch in this order.
            rows: The number of rows in all of them.

        Raises:
            InferenceError: The model did not return one row for each.
            Exception: Whatever the model raised.
        """
        size = self._size_for(rows)
        names: list[str | None] = []

        def forward(batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
            if self._keywords:
                output = self._forward(**dict(zip(self._keywords, batch.values(), strict=True)))
            else:
                output = self._forward(*batch.values())
            tensors = columns(output, size)
            names.extend(tensors)
            if size == rows:
                return list(tensors.values())
            return [tensor[:rows] for tensor in tensors.values()]

        padded = [*inputs, self._spec.stack([self._spec.zeros()] * (size - rows))] if size > rows else inputs
        return OutputRows(names, self._staging.run(padded, forward))

    def _size_for(self, rows: int) -> int:
        sizes = self._sizes() if self._sizes is not None else None
        if sizes is None or rows > sizes[-1]:
            return rows
        return sizes[bisect_left(sizes, rows)]

    def warm_up(self, renew: Callable[[], None] = lambda: None) -> None:
        """Run a batch of each size that the model has kernels or graphs of its own for, on this thread.

        The thread captures CUDA graphs from then on, of the models after this one too.

        Args:
            renew: Called before each batch; what it raises ends the warm-up.

        Raises:
            Exception: See `predict`.
        """
        graphs.capture_on_this_thread()
        for rows in (self._sizes() if self._sizes is not None else None) or [1]:
            renew()
            self.try_zeros(rows)

    def try_zeros(self, rows: int) -> Outputs:
        """Run a batch of `rows` rows of zeros, and return the structure of its first prediction.

        Raises:
            Exception: See `predict`.
        """
        return Outputs.of(self.predict([self._spec.zeros()] * rows)[0])
