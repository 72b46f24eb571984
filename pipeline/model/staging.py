"""Carries inputs from the host to a batch on the model's device, and outputs back."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.request.input_spec import Inputs, InputSpec

# Takes the batch's tensors by input name, and returns the outputs' tensors.
Forward = Callable[[dict[str, torch.Tensor]], list[torch.Tensor]]


class Staging(ABC):
    """The way of batches to a device, and of outputs back. Several threads may call `run` at once."""

    def __init__(self, spec: InputSpec, dtype: torch.dtype | None) -> None:
        """Stage inputs of one model.

        Args:
            spec: The model's inputs.
            dtype: The type that floating inputs are cast to, on the device; None: they are not cast.
        """
        self._spec = spec
        self._dtype = dtype

    @abstractmethod
    def run(self, inputs: list[Inputs], forward: Forward) -> list[np.ndarray]:
        """Return the outputs of one batch, each contiguous; float16 and bfloat16 become float32.

        Args:
            inputs: Arrays as `InputSpec.stack` makes them, which become one batch in this order.
            forward: Computes the batch.

        Raises:
            Exception: Whatever `forward` raises.
        """

    def _column(self, name: str, inputs: list[Inputs]) -> list[np.ndarray]:
        """Return the arrays of the input `name`."""
        return [each[name] if isinstance(each, dict) else each for each in inputs]

    def _cast(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if self._dtype is None or not tensor.is_floating_point() else tensor.to(self._dtype)


class HostStaging(Staging):
    """The staging for a model on the CPU."""

    def run(self, inputs: list[Inputs], forward: Forward) -> list[np.ndarray]:
        """See `Staging.run`."""
        # Tensors, too, are made in inference mode: a compiled model tells them from others.
        with torch.inference_mode():
            batch = {}
            for tensor in self._spec.tensors:
                # Even one array is copied: a model may work in place, and a batch that fails is tried again.
                joined = np.concatenate(self._column(tensor.name, inputs))
                batch[tensor.name] = self._cast(torch.from_numpy(joined))
            return [_copied(_widened(output).contiguous(), output) for output in forward(batch)]


@dataclass(frozen=True, slots=True)
class _ThreadResources:
    """One thread's stream and buffers, so that its copies overlap with what other threads compute.

    Attributes:
        stream: The stream that the thread's batches run on.
        done: Marks how far the stream is.
        buffers: By input name: a pinned tensor of shape [max_rows, …].
    """

    stream: torch.cuda.Stream
    done: torch.cuda.Event
    buffers: dict[str, torch.Tensor]

    def wait(self) -> None:
        """Wait until all that was put on the stream is done.

        Raises:
            RuntimeError: Some of it failed.
        """
        # Not by the stream, whose wait keeps a core busy: for a kernel of 100 ms on an H200, 100 ms of
        # processor time instead of 0.3, and not a microsecond sooner.
        self.done.record(self.stream)
        self.done.synchronize()


class _Thread(threading.local):
    """What a thread holds for the models that it runs."""

    def __init__(self) -> None:
        self.held: dict[Hashable, _ThreadResources] = {}


# Owned by the thread rather than by the model: a stream's workspaces are never given back, and pinned memory
# is slow to get, so a swapped model takes over those of the model before. They end with their thread.
_thread = _Thread()


class CudaStaging(Staging):
    """The staging for a model on a GPU: one copy for each input and each output, one wait in all."""

    def __init__(
        self, spec: InputSpec, dtype: torch.dtype | None, device: torch.device, max_rows: int
    ) -> None:
        """Stage inputs of one model.

        Args:
            spec: The model's inputs.
            dtype: The type that floating inputs are cast to, on the device; None: they are not cast.
            device: The GPU.
            max_rows: Rows of the largest batch.
        """
        super().__init__(spec, dtype)
        self._device = device
        self._max_rows = max_rows
        # The weights were copied and cast on the default stream, for which other streams do not wait.
        torch.cuda.default_stream(device).synchronize()

    def run(self, inputs: list[Inputs], forward: Forward) -> list[np.ndarray]:
        """See `Staging.run`."""
        resources = self._thread_resources()
        with torch.inference_mode(), torch.cuda.stream(resources.stream):
            try:
                pinned = self._enqueue(inputs, forward, resources)
            except BaseException:
                # Nobody may write into the buffers, or free a swapped model, while the device reads them.
                # What the wait tells of the device, the next call on it tells, too.
                with contextlib.suppress(RuntimeError):
                    resources.wait()
                raise
            resources.wait()
            # Copied: rows may wait long before they are written, and pinned memory is scarce.
            return [_widened(host).numpy().copy() for host in pinned]

    def _enqueue(
        self, inputs: list[Inputs], forward: Forward, resources: _ThreadResources
    ) -> list[torch.Tensor]:
        """Start a batch, and return the pinned tensors that hold its outputs once the device is done."""
        batch = {}
        for tensor in self._spec.tensors:
            # The buffer is free: the last batch has waited until it had been copied to the device.
            column = self._column(tensor.name, inputs)
            buffer = resources.buffers[tensor.name][: sum(map(len, column))]
            np.concatenate(column, out=buffer.numpy())
            batch[tensor.name] = self._cast(buffer.to(self._device, non_blocking=True))
        pinned = []
        for output in forward(batch):
            output = output.contiguous()
            host = torch.empty(output.shape, dtype=output.dtype, pin_memory=True)
            pinned.append(host.copy_(output, non_blocking=True))
        return pinned

    def _thread_resources(self) -> _ThreadResources:
        key = (str(self._device), self._spec, self._max_rows)
        if key not in _thread.held:
            _thread.held[key] = self._allocate()
        return _thread.held[key]

    def _allocate(self) -> _ThreadResources:
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
    """Return the staging for a model on `device`, whose largest batch has `max_rows` rows."""
    if device.type == "cuda":
        return CudaStaging(spec, dtype, device, max_rows)
    return HostStaging(spec, dtype)


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    # numpy has no bfloat16, and JSON has no use for either.
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def _copied(tensor: torch.Tensor, output: torch.Tensor) -> np.ndarray:
    """Return the numbers of `tensor`, made of the model's `output`, in memory that is not the model's.

    A module may return memory that it keeps, and write the next batch into it.
    """
    array: np.ndarray = tensor.numpy()
    return array.copy() if tensor is output else array
