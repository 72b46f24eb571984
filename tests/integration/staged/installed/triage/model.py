"""The sum of two numbers, by a model that tells a folder what it does, and that can be held up."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

HOLD, FAIL = 1000.0, 666.0


class Sum(nn.Module):
    """Sums rows: float32 [batch, 2] → [batch].

    A batch with `HOLD` in a row's first place waits until the folder has the file `go-N`, where N is the
    row's second number. One with `FAIL` there fails.
    """

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = Path(folder)
        self.weight = nn.Parameter(torch.ones(2))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Tell, and load."""
        self._tell("load")
        return super().load_state_dict(state_dict, strict, assign)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return a number a row."""
        if (rows[:, 0] == FAIL).any():
            raise ValueError("the number of the beast")
        self._tell(f"threads {torch.get_num_threads()}")
        for number in rows[rows[:, 0] == HOLD, 1].tolist():
            self._tell(f"hold {number:g}")
            while not (self.folder / f"go-{number:g}").exists():
                time.sleep(0.005)
        return rows @ self.weight

    def _tell(self, word: str) -> None:
        with (self.folder / f"{os.getpid()}.log").open("a") as log:
            log.write(f"{word}\n")
