"""Runs a batch through the model, whole or in parts, on the batcher's worker threads."""

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

# After so many batches within the row limit, a larger batch is tried again.
GROW_AFTER = 500
# Between attempts at a single request for which there is no memory.
PAUSES_S = (0.1, 0.4, 1.6)


class DeviceLostError(Exception):
    """A GPU that this process can no longer use. Only a new process gets a working one."""


@dataclass(frozen=True, slots=True)
class BundleInputs:
    """The inputs of one bundle's requests.

    Attributes:
        inputs: As `InputSpec.stack` makes them: arrays of shape [rows, …].
        rows: Requests in the bundle.
    """

    inputs: Inputs
    rows: int


@dataclass(frozen=True, slots=True)
class ForwardPass:
    """One call of the model, with rows `first` to `stop` of a batch.

    Attributes:
        first: The first row.
        stop: The row after the last.
        model_id: The model that was called.
        start: Epoch seconds at the start of the call.
        end: Epoch seconds at its end.
        outputs: What the model returned; row `first` of the batch is row 0 here. None if it failed.
        failure: Why it failed; the pass has one row then.
    """

    first: int
    stop: int
    model_id: str
    start: float
    end: float
    outputs: OutputRows | None
    failure: Exception | None


@dataclass(frozen=True, slots=True)
class BatchSlice:
    """What one bundle gets back of its batch.

    Attributes:
        offset: The row of the batch that the bundle begins at.
        passes: The forward passes of the whole batch.
        batched: Epoch seconds at which the batch was put together.
    """

    offset: int
    passes: list[ForwardPass]
    batched: float


@dataclass(slots=True)
class _RowLimit:
    """How many rows fit into memory, and for how many batches that has held."""

    rows: int
    batches: int = 0


class BatchRunner:
    """A function that runs bundles as one batch through the active model.

    A batch that fails is halved until the offender stands alone. So is a batch for which memory is too small;
    the number of rows that fit is remembered, and doubled again after `GROW_AFTER` batches.
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
        self._limits: dict[str, _RowLimit] = {}  # by model_id

    def __call__(self, bundles: list[BundleInputs]) -> list[BatchSlice]:
        """Return one slice of the batch for each bundle, in the same order.

        Raises:
            DeviceLostError: The device failed so that nothing more can be computed on it.
        """
        # Read once: a model is swapped between two batches, never within one.
        model = self._active.model
        batched = self._clock()
        inputs = [bundle.inputs for bundle in bundles]
        rows = sum(bundle.rows for bundle in bundles)
        limit = self._row_limit(model)
        passes: list[ForwardPass] = []
        if limit is None or rows <= limit:
            self._run(model, inputs, 0, rows, passes)
        else:
            joined = _join(inputs)
            for first in range(0, rows, limit):
                stop = min(first + limit, rows)
                self._run(model, [_rows(joined, first, stop)], first, stop, passes)
        slices, offset = [], 0
        for bundle in bundles:
            slices.append(BatchSlice(offset, passes, batched))
            offset += bundle.rows
        return slices

    def _run(
        self,
        model: Model,
        inputs: list[Inputs],
        first: int,
        stop: int,
        passes: list[ForwardPass],
        pauses: tuple[float, ...] = PAUSES_S,
    ) -> None:
        """Append the forward passes of rows `first` to `stop`, whose inputs are `inputs`, to `passes`."""
        start = self._clock()
        try:
            outputs = model.run(inputs, stop - first)
        except Exception as error:
            # Its frames hold the tensors that may have exhausted the memory.
            failure = error.with_traceback(None)
        else:
            passes.append(ForwardPass(first, stop, model.model_id, start, self._clock(), outputs, None))
            return
        half = (stop - first) // 2
        if compute.is_device_lost(failure) or (half == 0 and compute.is_device_gone()):
            raise DeviceLostError(f"the GPU failed: {failure}") from failure
        if compute.is_out_of_memory(failure):
            failure.__context__ = None
            compute.release_cached_memory()
            if self._active.waited_for_candidate():
                # Memory held two models. That is transient, and tells nothing of what fits beside one.
                self._run(self._active.model, inputs, first, stop, passes)
                return
            if half == 0 and pauses:
                # Other users of the device may free some memory; a single request is not to blame for them.
                self._sleep(pauses[0])
                self._run(self._active.model, inputs, first, stop, passes, pauses[1:])
                return
            if half:
                self._lower_row_limit(model, half, stop - first, failure)
        if half == 0:
            passes.append(ForwardPass(first, stop, model.model_id, start, self._clock(), None, failure))
            return
        # Halve until the offender stands alone: about 2·log2(n) extra calls for one bad request.
        joined = _join(inputs)
        self._run(model, [_rows(joined, 0, half)], first, first + half, passes)
        self._run(model, [_rows(joined, half, stop - first)], first + half, stop, passes)

    def _row_limit(self, model: Model) -> int | None:
        limit = self._limits.get(model.model_id)
        if limit is None:
            return None
        limit.batches += 1
        if limit.batches > GROW_AFTER:
            limit.rows *= 2
            limit.batches = 0
        return limit.rows

    def _lower_row_limit(self, model: Model, rows: int, tried: int, failure: Exception) -> None:
        known = self._limits.get(model.model_id)
        self._limits[model.model_id] = _RowLimit(rows if known is None else min(rows, known.rows))
        _LOGGER.warning(
            "out of memory with %d requests in a batch: at most %d in the next %d batches (%s)",
            tried,
            rows,
            GROW_AFTER,
            failure,
        )


def _join(inputs: list[Inputs]) -> Inputs:
    first = inputs[0]
    if len(inputs) == 1:
        return first
    if isinstance(first, dict):
        return {name: np.concatenate([each[name] for each in inputs]) for name in first}
    return np.concatenate(inputs)  # type: ignore[arg-type]


def _rows(inputs: Inputs, first: int, stop: int) -> Inputs:
    if isinstance(inputs, dict):
        return {name: array[first:stop] for name, array in inputs.items()}
    return inputs[first:stop]
