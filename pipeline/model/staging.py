"""From blocks of rows on the host to a batch on the model's device, and its outputs back. Imports no Beam."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.request.input_spec import Inputs, InputSpec

# From the batch's tensors by input name to the output's tensors.
Forward = Callable[[dict[str, torch.Tensor]], list[torch.Tensor]]


class Staging(ABC):
    """Carries batches to a device and outputs back; `run` may be called by several threads at once."""

    def __init__(self, spec: InputSpec, dtype: torch.dtype | None) -> None:
        """
        Args:
            spec: the model's inputs.
            dtype: what floating inputs are cast to, on the device; None: they stay what they are.
        """
        self._spec = spec
        self._dtype = dtype

    @abstractmethod
    def run(self, blocks: list[Inputs], forward: Forward) -> list[np.ndarray]:
        """The outputs of one batch, each contiguous; float16 and bfloat16 become float32.

        Args:
            blocks: inputs as `InputSpec.stack` makes them, which become one batch in this order.
            forward: see there.

        Raises:
            Exception: whatever `forward` raises.
        """

    def _column(self, name: str, blocks: list[Inputs]) -> list[np.ndarray]:
        """The arrays of one input, one for each block."""
        return [block[name] if isinstance(block, dict) else block for block in blocks]

    def _cast(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if self._dtype is None or not tensor.is_floating_point() else tensor.to(self._dtype)


class HostStaging(Staging):
    """For a model on the CPU."""

    def run(self, blocks: list[Inputs], forward: Forward) -> list[np.ndarray]:
        # Tensors are made in inference mode, too: a compiled model tells them from others.
        with torch.inference_mode():
            batch = {}
            for tensor in self._spec.tensors:
                # Copied even where it is one block: a model may work in place, and what fails is tried again.
                joined = np.concatenate(self._column(tensor.name, blocks))
                batch[tensor.name] = self._cast(torch.from_numpy(joined))
            return [_widened(output).contiguous().numpy() for output in forward(batch)]


@dataclass(frozen=True, slots=True)
class _ThreadResources:
    """What one thread has to itself, so that its copies run beside the other threads' computing."""

    stream: torch.cuda.Stream
    done: torch.cuda.Event
    buffers: dict[str, torch.Tensor]  # by input: pinned, [max_rows, …]


# Of the thread rather than of the model: a stream's workspaces are never given back, and pinned memory is
# slow to get, so that a swapped model takes over those of the one before. They go with their thread.
_of_thread = threading.local()


class CudaStaging(Staging):
    """For a model on a GPU: one copy there for each input, one back for each output, one wait in all."""

    def __init__(
        self, spec: InputSpec, dtype: torch.dtype | None, device: torch.device, max_rows: int
    ) -> None:
        """
        Args:
            max_rows: rows of the largest batch.
        """
        super().__init__(spec, dtype)
        self._device = device
        self._max_rows = max_rows
        # The weights were copied and cast on this one; side streams do not wait for it by themselves.
        torch.cuda.default_stream(device).synchronize()

    def run(self, blocks: list[Inputs], forward: Forward) -> list[np.ndarray]:
        own = self._own()
        with torch.inference_mode(), torch.cuda.stream(own.stream):
            batch = {}
            for tensor in self._spec.tensors:
                # Free to be written: the wait below has outlasted the last copy out of it.
                column = self._column(tensor.name, blocks)
                buffer = own.buffers[tensor.name][: sum(map(len, column))]
                np.concatenate(column, out=buffer.numpy())
                batch[tensor.name] = self._cast(buffer.to(self._device, non_blocking=True))
            pinned = []
            for output in forward(batch):
                output = output.contiguous()
                host = torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
                pinned.append(host.copy_(output, non_blocking=True))
            # Not by the stream, whose wait keeps a core busy: for a kernel of 100 ms on an H200, 100 ms of
            # processor time instead of 0.3, and not a microsecond sooner.
            own.done.record(own.stream)
            own.done.synchronize()
            # Copied: rows may wait long to be written, and pinned memory is scarce.
            return [_widened(host).numpy().copy() for host in pinned]

    def _own(self) -> _ThreadResources:
        held: dict[Hashable, _ThreadResources] = _of_thread.__dict__.setdefault("held", {})
        key = (str(self._device), self._spec, self._max_rows)
        if key not in held:
            held[key] = self._make()
        return held[key]

    def _make(self) -> _ThreadResources:
        buffers = {
            tensor.name: torch.empty(
                (self._max_rows, *tensor.shape),
                dtype=torch.from_numpy(np.empty(0, tensor.dtype)).dtype,
                pin_memory=True,
            )
            for tensor in self._spec.tensors
        }
        return _ThreadResources(torch.cuda.Stream(self._device), torch.cuda.Event(blocking=True), buffers)


def make_staging(spec: InputSpec, dtype: torch.dtype | None, device: torch.device, max_rows: int) -> Staging:
    if device.type == "cuda":
        return CudaStaging(spec, dtype, device, max_rows)
    return HostStaging(spec, dtype)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    # numpy has no bfloat16, and JSON no use for either.
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
