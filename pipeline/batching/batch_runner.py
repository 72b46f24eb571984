"""A batch through the model, whole or in parts. Runs on the batcher's threads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.model import compute
from pipeline.model.active_model import ActiveModel
from pipeline.model.model import Model
from pipeline.model.outputs import OutputRows
from pipeline.request.input_spec import Inputs

_LOGGER = logging.getLogger(__name__)

# Batches until more than what memory had room for is tried again.
GROW_AFTER = 500
# Between tries of a single request for which there is no memory.
PAUSES_S = (0.1, 0.4, 1.6)


class DeviceLostError(Exception):
    """The GPU is of no use to this process any more: only a new process gets a working one."""


@dataclass(frozen=True, slots=True)
class BundleInputs:
    """The requests of one bundle: their inputs, as `InputSpec.stack` makes them."""

    inputs: Inputs
    rows: int


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """Rows `first` to `stop` of a batch, which a model was called with together."""

    first: int
    stop: int
    model_id: str
    start: float  # epoch seconds, as `end`
    end: float
    batch: OutputRows | None  # what it returned: row `first` is its row 0
    failure: Exception | None  # or why it failed with these; they are one row then


@dataclass(frozen=True, slots=True)
class BatchSlice:
    """What a block gets back: its rows begin at `offset` in the batch that these passes are of."""

    offset: int
    passes: list[ForwardPass]
    batched: float  # epoch seconds


@dataclass(slots=True)
class _Limit:
    """Rows that fit into memory, and for how many batches that has been so."""

    rows: int
    batches: int = 0


class BatchRunner:
    """Runs blocks as one batch through the model of the moment.

    A batch that fails is halved until the offender stands alone, and so is one for which memory is too small;
    how much it holds is remembered, and doubled again after `GROW_AFTER` batches.
    """

    def __init__(
        self,
        active: ActiveModel,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._active = active
        self._clock = clock
        self._sleep = sleep
        self._limits: dict[str, _Limit] = {}  # by model_id

    def __call__(self, blocks: list[BundleInputs]) -> list[BatchSlice]:
        """One share for each block, in the same order.

        Raises:
            DeviceLostError: the device failed so that nothing can be computed on it any more.
        """
        # Looked at once: a model is swapped between two batches, never within one.
        model = self._active.model
        batched = self._clock()
        inputs = [block.inputs for block in blocks]
        rows = sum(block.rows for block in blocks)
        most = self._most_rows(model)
        passes: list[ForwardPass] = []
        if most is None or rows <= most:
            self._run(model, inputs, 0, rows, passes)
        else:
            joined = _join(inputs)
            for first in range(0, rows, most):
                stop = min(first + most, rows)
                self._run(model, [_rows(joined, first, stop)], first, stop, passes)
        shares, offset = [], 0
        for block in blocks:
            shares.append(BatchSlice(offset, passes, batched))
            offset += block.rows
        return shares

    def _run(
        self,
        model: Model,
        inputs: list[Inputs],
        first: int,
        stop: int,
        passes: list[ForwardPass],
        pauses: tuple[float, ...] = PAUSES_S,
    ) -> None:
        start = self._clock()
        try:
            batch = model.run(inputs, stop - first)
        except Exception as error:
            # Its frames hold the tensors that memory may have run out over.
            failure = error.with_traceback(None)
        else:
            passes.append(ForwardPass(first, stop, model.model_id, start, self._clock(), batch, None))
            return
        half = (stop - first) // 2
        if compute.is_device_lost(failure) or (half == 0 and compute.is_device_gone()):
            raise DeviceLostError(f"the GPU failed: {failure}") from failure
        if compute.is_out_of_memory(failure):
            failure.__context__ = None
            compute.release_cached_memory()
            if self._active.waited_for_candidate():
                # Memory held two models: that passes, and says nothing about what fits beside one.
                self._run(self._active.model, inputs, first, stop, passes)
                return
            if half == 0 and pauses:
                # Others that use the device may give some back; one request is not to blame for them.
                self._sleep(pauses[0])
                self._run(self._active.model, inputs, first, stop, passes, pauses[1:])
                return
            if half:
                self._remember(model, half, stop - first, failure)
        if half == 0:
            passes.append(ForwardPass(first, stop, model.model_id, start, self._clock(), None, failure))
            return
        # Halve until the offender stands alone: about 2·log2(n) extra calls for one bad request.
        joined = _join(inputs)
        self._run(model, [_rows(joined, 0, half)], first, first + half, passes)
        self._run(model, [_rows(joined, half, stop - first)], first + half, stop, passes)

    def _most_rows(self, model: Model) -> int | None:
        limit = self._limits.get(model.model_id)
        if limit is None:
            return None
        limit.batches += 1
        if limit.batches > GROW_AFTER:
            limit.rows *= 2
            limit.batches = 0
        return limit.rows

    def _remember(self, model: Model, most: int, tried: int, failure: Exception) -> None:
        known = self._limits.get(model.model_id)
        self._limits[model.model_id] = _Limit(most if known is None else min(most, known.rows))
        _LOGGER.warning(
            "out of memory with %d requests in a batch: at most %d in the next %d batches (%s)",
            tried,
            most,
            GROW_AFTER,
            failure,
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
