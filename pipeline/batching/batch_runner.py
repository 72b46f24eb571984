"""Runs a batch through the model, whole or in parts, on the batcher's worker threads."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from pipeline.model import compute, gpu_memory
from pipeline.model.active_model import ActiveModel
from pipeline.model.model import Model
from pipeline.model.outputs import OutputRows
from pipeline.request.errors import TransientError
from pipeline.request.input_spec import Inputs

_LOGGER = logging.getLogger(__name__)

# After so many batches within the row limit, a larger batch is tried again.
GROW_AFTER = 500
# Between attempts at a single request for which there is no memory.
PAUSES_S = (0.1, 0.4, 1.6)


class DeviceLostError(Exception):
    """A GPU that this process can no longer use. Only a new process gets a working one."""


# Not frozen, as each call of the container has some of these: a frozen one takes 0.6 µs to make, not 0.2.
@dataclass(slots=True)
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
        failure: Why it failed; the pass has one row then. A TransientError: the row is not to blame.
    """

    first: int
    stop: int
    model_id: str
    start: float
    end: float
    outputs: OutputRows | None
    failure: Exception | None


@dataclass(slots=True)
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
        *,
        pauses_s: Sequence[float] = PAUSES_S,
        whole_bundles: bool = False,
    ) -> None:
        """Run batches.

        Args:
            active: Whose model is called.
            clock: Returns epoch seconds.
            sleep: Waits for so many seconds.
            pauses_s: Between attempts at an offender for which there is no memory.
            whole_bundles: Whether a bundle fails as a whole: the offender is a bundle, not a row.
        """
        self._active = active
        self._pauses_s = pauses_s
        self._whole_bundles = whole_bundles
        self._clock = clock
        self._sleep = sleep
        self._limits: dict[str, _RowLimit] = {}  # by model_id

    def __call__(
        self, bundles: list[BundleInputs], renew: Callable[[], None] = lambda: None
    ) -> list[BatchSlice]:
        """Return one slice of the batch for each bundle, in the same order.

        Args:
            bundles: What the batch is made of.
            renew: Called before each forward pass; what it raises ends the batch.

        Raises:
            DeviceLostError: The device failed so that nothing more can be computed on it.
        """
        batched = self._clock()
        batch = _Rows([bundle.inputs for bundle in bundles], [bundle.rows for bundle in bundles])
        passes: list[ForwardPass] = []
        first = 0
        while (first := self._run(batch, first, passes, renew)) < batch.count:
            # The model that left no room for these rows may have been replaced, and nothing here holds it.
            compute.release_cached_memory()
        slices, offset = [], 0
        for bundle in bundles:
            slices.append(BatchSlice(offset, passes, batched))
            offset += bundle.rows
        return slices

    def _run(self, batch: _Rows, first: int, passes: list[ForwardPass], renew: Callable[[], None]) -> int:
        """Append the forward passes from row `first` on to `passes`.

        Returns:
            The row to go on at with the model that is active by then; the number of rows, if all are done.
        """
        # Read once: a model is swapped between two batches, never within one.
        model = self._active.model
        limit = self._row_limit(model) or batch.count
        # Ranges of rows that are still to be run, the next one last.
        pending = [(start, min(start + limit, batch.count)) for start in range(first, batch.count, limit)]
        pending.reverse()
        pauses = iter(self._pauses_s)
        watch: gpu_memory.Watch | None = None
        while pending:
            first, stop = pending.pop()
            renew()
            start = self._clock()
            done = _try(model, batch.part(first, stop), stop - first)
            if isinstance(done, OutputRows):
                passes.append(ForwardPass(first, stop, model.model_id, start, self._clock(), done, None))
                pauses = iter(self._pauses_s)
                continue
            failure = done
            half = batch.half(first, stop, whole_bundles=self._whole_bundles)
            if compute.is_device_lost(failure) or (half == 0 and compute.is_device_gone()):
                raise DeviceLostError(f"the GPU failed: {failure}") from failure
            if compute.is_out_of_memory(failure):
                compute.release_cached_memory()
                if self._active.waited_for_candidate(renew):
                    # Memory held two models. That is transient, and tells nothing of what fits beside one.
                    return first
                if half:
                    self._lower_row_limit(model, half, stop - first, failure)
                elif (pause := next(pauses, None)) is not None:
                    # Other users of the device may free some memory; a single request is not to blame for
                    # them.
                    self._sleep(pause)
                    watch = gpu_memory.Watch()
                    pending.append((first, stop))
                    continue
                elif watch is not None and watch.others_took_it(failure):
                    failure = TransientError(f"other processes hold this one's share of the GPU: {failure}")
            if half == 0:
                passes.append(ForwardPass(first, stop, model.model_id, start, self._clock(), None, failure))
                pauses = iter(self._pauses_s)
                continue
            # Halve until the offender stands alone: about 2·log2(n) extra calls for one bad request.
            pending += [(first + half, stop), (first, first + half)]
        return batch.count

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


class _Rows:
    """The inputs of a batch, joined only where a part of it is wanted."""

    def __init__(self, inputs: list[Inputs], rows: list[int]) -> None:
        self.count = sum(rows)
        self._inputs = inputs
        self._rows = rows

    def half(self, first: int, stop: int, *, whole_bundles: bool) -> int:
        """Return how many of the rows make a first half; 0 where there are not two."""
        half = (stop - first) // 2
        if not whole_bundles:
            return half
        ends = [end - first for end in accumulate(self._rows) if first < end < stop]
        return min(ends, key=lambda end: abs(end - half), default=0)

    def part(self, first: int, stop: int) -> list[Inputs]:
        """Return the inputs of rows `first` to `stop`."""
        if stop - first == self.count:
            return self._inputs
        if len(self._inputs) > 1:
            self._inputs = [_join(self._inputs)]
        (joined,) = self._inputs
        if isinstance(joined, dict):
            return [{name: array[first:stop] for name, array in joined.items()}]
        return [joined[first:stop]]


def _try(model: Model, inputs: list[Inputs], rows: int) -> OutputRows | Exception:
    """Return what the model returns, or what it raises."""
    try:
        return model.run(inputs, rows)
    except Exception as error:
        _drop_frames(error)
        return error


def _drop_frames(error: BaseException) -> None:
    """Drop the tracebacks of an error and of those that led to it.

    Their frames hold the model, and the tensors that may have exhausted the memory.
    """
    seen: set[int] = set()
    errors: list[BaseException | None] = [error]
    while errors:
        each = errors.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            each.__traceback__ = None
            errors += [each.__cause__, each.__context__]


def _join(inputs: list[Inputs]) -> Inputs:
    first = inputs[0]
    if isinstance(first, dict):
        return {name: np.concatenate([each[name] for each in inputs]) for name in first}
    return np.concatenate(inputs)  # type: ignore[arg-type]
