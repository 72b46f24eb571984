"""A model that does what its first feature says, importable by --model_class."""

from __future__ import annotations

import gc
import os
import signal
from pathlib import Path

import torch
from torch import nn

from tests.waiting import wait_until

PID, WAIT, DIE, FAIL, NAN, NO_MEMORY, NO_HOST_MEMORY, LOSE_DEVICE, COLLECTED = range(9)
LOST = "CUDA error: device-side assert triggered"


class Puppet(nn.Module):
    """float32 [batch, 1] → [batch], each the id of the process that answered.

    For COLLECTED, it is the number of objects that a full garbage collection visits there.

    Args:
        folder: Where WAIT makes the file `entered` and waits for the file `gate`. While there is a file
            `hold`, loading makes the file `loading-PID` and waits for `load-PID`. After LOSE_DEVICE, every
            call fails as one on a GPU does after an assertion in a kernel.
    """

    def __init__(self, folder: str = ".") -> None:
        super().__init__()
        self._folder = Path(folder)
        self._lost = False
        if (self._folder / "hold").exists():
            (self._folder / f"loading-{os.getpid()}").touch()
            wait_until((self._folder / f"load-{os.getpid()}").exists)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        orders = set(features[:, 0].int().tolist())
        if WAIT in orders:
            (self._folder / "entered").touch()
            wait_until((self._folder / "gate").exists)
        if LOSE_DEVICE in orders:
            self._lost = True
        if self._lost:
            raise torch.AcceleratorError(LOST)
        if DIE in orders:
            os.kill(os.getpid(), signal.SIGKILL)
        if FAIL in orders:
            raise ValueError("told to fail")
        if NO_MEMORY in orders:
            raise MemoryError
        if NO_HOST_MEMORY in orders:
            torch.empty(2**60)
        answer = torch.full((len(features),), float(os.getpid()))
        answer[features[:, 0] == NAN] = torch.nan
        if COLLECTED in orders:
            answer[features[:, 0] == COLLECTED] = float(len(gc.get_objects()))
        return answer


class Constant(nn.Module):
    """float32 [batch, n] → zeros [batch] of a given dtype."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(features), dtype=self._dtype)


class NamedWithNaN(nn.Module):
    """Two named outputs, of which one holds an infinity in the last row."""

    def forward(self, features: torch.Tensor) -> dict[str, torch.Tensor]:
        bad = features.clone()
        bad[-1] = torch.inf
        return {"good": features, "bad": bad}


class Fatal(nn.Module):
    """Takes its process along, as the kernel does for lack of memory."""

    def __init__(self) -> None:
        super().__init__()
        os.kill(os.getpid(), signal.SIGKILL)
