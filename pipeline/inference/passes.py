"""A batch through the model, whole or in parts. Runs on the batcher's threads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.inference import compute
from pipeline.inference.model import Model
from pipeline.inference.outputs import Batch
from pipeline.inference.swap import CurrentModel
from pipeline.input_spec import Inputs

_LOGGER = logging.getLogger(__name__)


class DeviceLostError(Exception):
    """The GPU is of no use to this process any more: only a new process gets a working one."""


@dataclass(frozen=True, slots=True)
class Block:
    """The requests of one bundle: their inputs, as `InputSpec.stack` makes them."""

    inputs: Inputs
    rows: int


@dataclass(frozen=True, slots=True)
class Pass:
    """Rows `first` to `stop` of a batch, which the model was called with together."""

    first: int
    stop: int
    start: float  # epoch seconds, as `end`
    end: float
    batch: Batch | None  # what it returned: row `first` is its row 0
    failure: Exception | None  # or why it failed with these; they are one row then


@dataclass(frozen=True, slots=True)
class Share:
    """What a block gets back: its rows begin at `offset` in the batch that these passes are of."""

    offset: int
    passes: list[Pass]
    model_id: str
    batched: float  # epoch seconds


class Passes:
    """Runs blocks as one batch through the model of the moment.

    A batch that fails is halved until the offender stands alone, and so is one for which memory is too small;
    how much it holds is remembered.
    """

    def __init__(self, current: CurrentModel, clock: Callable[[], float] = time.time) -> None:
        self._current = current
        self._clock = clock
        # Rows that fit into memory, by model_id, where it was once too small for more.
        self._most_rows: dict[str, int] = {}

    def __call__(self, blocks: list[Block]) -> list[Share]:
        """One share for each block, in the same order.

        Raises:
            DeviceLostError: the device failed so that nothing can be computed on it any more.
        """
        # Looked at once: a model is swapped between two batches, never within one.
        model = self._current.model
        batched = self._clock()
        inputs = [block.inputs for block in blocks]
        rows = sum(block.rows for block in blocks)
        passes: list[Pass] = []
        most = self._most_rows.get(model.model_id, rows)
        if rows <= most:
            self._run(model, inputs, 0, rows, passes)
        else:
            joined = _join(inputs)
            for first in range(0, rows, most):
                stop = min(first + most, rows)
                self._run(model, [_rows(joined, first, stop)], first, stop, passes)
        shares, offset = [], 0
        for block in blocks:
            shares.append(Share(offset, passes, model.model_id, batched))
            offset += block.rows
        return shares

    def _run(self, model: Model, inputs: list[Inputs], first: int, stop: int, passes: list[Pass]) -> None:
        start = self._clock()
        try:
            batch = model.run(inputs, stop - first)
        except Exception as error:
            # Its frames hold the tensors that memory may have run out over.
            failure = error.with_traceback(None)
        else:
            passes.append(Pass(first, stop, start, self._clock(), batch, None))
            return
        if compute.is_device_lost(failure):
            raise DeviceLostError(f"the GPU failed: {failure}") from failure
        # Halve until the offender stands alone: about 2·log2(n) extra calls for one bad request.
        half = (stop - first) // 2
        if compute.is_out_of_memory(failure):
            failure.__context__ = None
            compute.release_cached_memory()
            if self._current.waited_for_candidate():
                # Memory held two models: that passes, and says nothing about what fits beside one.
                self._run(model, inputs, first, stop, passes)
                return
            if half:
                self._remember(model, half, stop - first, failure)
        if half == 0:
            passes.append(Pass(first, stop, start, self._clock(), None, failure))
            return
        joined = _join(inputs)
        self._run(model, [_rows(joined, 0, half)], first, first + half, passes)
        self._run(model, [_rows(joined, half, stop - first)], first + half, stop, passes)

    def _remember(self, model: Model, most: int, tried: int, failure: Exception) -> None:
        self._most_rows[model.model_id] = min(most, self._most_rows.get(model.model_id, most))
        _LOGGER.warning(
            "out of memory with %d requests in a batch: at most %d from now on (%s)", tried, most, failure
        )


def _join(blocks: list[Inputs]) -> Inputs:
    first = blocks[0]
    if len(blocks) == 1:
        return first
    if isinstance(first, dict):
        return {name: np.concatenate([block[name] for block in blocks]) for name in first}
    return np.concatenate(blocks)  # type: ignore[arg-type]


def _rows(inputs: Inputs, first: int, stop: int) -> Inputs:
    if isinstance(inputs, dict):
        return {name: array[first:stop] for name, array in inputs.items()}
    return inputs[first:stop]
