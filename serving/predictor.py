"""Calls answered by the model, in batches: bodies in, bodies out. All of it runs on the model's thread."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pipeline.batching.batch_runner import BatchRunner, BatchSlice, BundleInputs, DeviceLostError, ForwardPass
from pipeline.model.active_model import ActiveModel
from pipeline.model.compute import is_out_of_memory
from pipeline.model.failure import said
from pipeline.model.outputs import OutputRows
from pipeline.request.input_spec import RAW_TYPES, InputSpec
from pipeline.request.wire_format import JSON_TYPE, media_types
from serving.call_batcher import Answered
from serving.errors import DeviceLost, Reason, Refusal
from serving.exchange import Answer
from serving.limits import body_limit
from serving.model_call import ModelCall
from serving.protocol import read_json, read_raw, unpacked, write_float32, write_json

# The CUDA errors of a device that fails whatever it computes: uncorrectable ECC and NVLink errors, MPS server
# gone (https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html).
_HARDWARE_CODES = frozenset({214, 220, 810})
_HARDWARE_TEXTS = ("uncorrectable ECC error", "uncorrectable NVLink error")


@dataclass(slots=True)
class _Group:
    """Calls that one batch answers.

    Attributes:
        began: Monotonic seconds at which the first of them was decoded.
        calls: With their inputs, and whether they want JSON.
        rows: In all of them.
    """

    began: float
    calls: list[tuple[ModelCall, BundleInputs, bool]]
    rows: int = 0


class Predictor:
    """A model, with the shape and the number of the instances that it takes at once."""

    def __init__(
        self,
        active: ActiveModel,
        spec: InputSpec,
        max_batch_size: int,
        alone: int = 0,
        count: Callable[[int, float, Sequence[float]], None] = lambda rows, compute_s, waited_s: None,
    ) -> None:
        """Answer by the model of `active`.

        Args:
            active: Whose model is called.
            spec: Of the inputs.
            max_batch_size: Most instances in a call, and in a pass of the model.
            alone: The first so many calls share no batch with others, for one of them may cost the device:
                then it is known which.
            count: Called after each batch, with its rows, the seconds that the model took, and those that
                each of its calls had waited.
        """
        self._spec = spec
        self._max_batch_size = max_batch_size
        self._most_of_a_body = body_limit(spec, max_batch_size)
        self._alone = alone
        self._count = count
        # Whoever gets 503 for lack of memory comes again by itself; the others need not wait for it.
        self._run = BatchRunner(active, pauses_s=(), whole_bundles=True)

    def answer(
        self, calls: list[ModelCall], renew: Callable[[], None], deliver: Callable[[Answered], None]
    ) -> None:
        """See `serving.call_batcher.Answering`.

        A call is refused with 400, 406, 413 or 415 as the functions of `serving.protocol` say; 415, another
        Content-Type; 422, the model failed on it, or its output holds NaN; 503, there was not enough memory
        for a single instance; 504, its deadline has passed.
        """
        group = _Group(time.monotonic(), [])
        refused: Answered = []
        for call in calls:
            if not call.is_wanted(now := time.monotonic()):
                waited = f"nobody waits for the answer any more, after {now - call.arrived:.1f} s"
                refused.append((call, Answer.of(Refusal(504, waited))))
                continue
            try:
                inputs, is_json = self._decoded(call)
            except Refusal as refusal:
                refused.append((call, Answer.of(refusal)))
                continue
            if group.calls and (group.rows + inputs.rows > self._max_batch_size or self._alone > 0):
                deliver(self._answered(group, renew))
                group = _Group(time.monotonic(), [])
            group.calls.append((call, inputs, is_json))
            group.rows += inputs.rows
        if group.calls:
            refused += self._answered(group, renew)
        deliver(refused)

    def _decoded(self, call: ModelCall) -> tuple[BundleInputs, bool]:
        """Return the instances of a call, and whether they came as JSON."""
        content_type = call.exchange.first(b"content-type")
        media_type = content_type.partition(";")[0].strip().lower()
        encoding = call.exchange.header(b"content-encoding")
        try:
            # Here and not as it is read, so that no more than one body is unpacked at a time.
            body = unpacked(call.body, encoding, self._most_of_a_body)
            if media_type == JSON_TYPE:
                return read_json(body, self._spec, self._max_batch_size), True
            if media_type in RAW_TYPES:
                return read_raw(body, media_type, self._spec, self._max_batch_size), False
        except MemoryError as error:
            raise _out_of_memory(error, 1) from error
        raise Refusal(415, f"Content-Type {content_type[:100]!r}: expected {media_types(self._spec)}")

    def _answered(self, group: _Group, renew: Callable[[], None]) -> Answered:
        began = time.monotonic()
        try:
            slices = self._run([inputs for _, inputs, _ in group.calls], renew)
        except DeviceLostError as error:
            raise _device_lost(error, len(group.calls)) from error
        compute_s = time.monotonic() - began
        self._count(group.rows, compute_s, [group.began - call.arrived for call, _, _ in group.calls])
        self._alone = max(0, self._alone - len(group.calls))
        try:
            bad = _rows_not_finite(slices[0].passes)
        except MemoryError as error:
            return [(call, Answer.of(_out_of_memory(error, inputs.rows))) for call, inputs, _ in group.calls]
        answered: Answered = []
        for (call, inputs, is_json), batch_slice in zip(group.calls, slices, strict=True):
            try:
                outputs, model_id = _outputs(inputs, batch_slice)
                if bad:
                    _check_finite(bad, batch_slice.offset, inputs.rows)
                if is_json:
                    content, content_type = write_json(outputs), JSON_TYPE
                else:
                    content, content_type = write_float32(outputs)
            except Refusal as refusal:
                answer = Answer.of(refusal)
            except MemoryError as error:
                answer = Answer.of(_out_of_memory(error, inputs.rows))
            else:
                timing = (
                    f"queue;dur={1000 * (group.began - call.arrived):.3f}, "
                    f"compute;dur={1000 * compute_s:.3f}, "
                    f"total;dur={1000 * (time.monotonic() - call.arrived):.3f}"
                )
                headers = (("X-Model-Id", model_id), ("Server-Timing", timing))
                answer = Answer(200, content, content_type, headers)
            answered.append((call, answer))
        return answered


def _outputs(inputs: BundleInputs, batch_slice: BatchSlice) -> tuple[OutputRows, str]:
    """Return what the model returned for the rows of one call, and the id of the model.

    Raises:
        Refusal: It failed.
    """
    offset = batch_slice.offset
    parts: list[OutputRows] = []
    model_id = ""
    for each in batch_slice.passes:
        first, stop = max(each.first, offset), min(each.stop, offset + inputs.rows)
        if first >= stop:
            continue
        if each.outputs is None:
            raise _failed(each, inputs.rows)
        if model_id not in ("", each.model_id):
            # A batch in parts, which memory had no room for beside a candidate, goes on with the next model.
            raise Refusal(503, "the model was swapped between two parts of this call")
        parts.append(each.outputs.part(first - each.first, stop - each.first))
        model_id = each.model_id
    return OutputRows.joined(parts), model_id


def _rows_not_finite(passes: list[ForwardPass]) -> list[int]:
    """Return the rows of a batch whose outputs hold NaN or infinity."""
    # Of all calls at once: one by one, it took 5 of the 30 µs that a call of the example's model costs.
    bad: list[int] = []
    for each in passes:
        if each.outputs is not None:
            good = each.outputs.finite(0, each.stop - each.first)
            if not all(good):
                bad += [each.first + index for index, is_good in enumerate(good) if not is_good]
    return bad


def _check_finite(bad: list[int], offset: int, rows: int) -> None:
    """Check that no prediction of a call, rows `offset` to `offset + rows` of its batch, is a bad one.

    Raises:
        Refusal: 422, one holds NaN or infinity; the message names the instance.
    """
    for row in bad:
        if offset <= row < offset + rows:
            message = f"instance {row - offset}: the model's output holds NaN or infinity"
            raise Refusal(422, message, reason=Reason.NOT_FINITE)


def _failed(each: ForwardPass, instances: int) -> Refusal:
    assert each.failure is not None  # for mypy: without outputs there is one
    if is_out_of_memory(each.failure):
        return _out_of_memory(each.failure, instances)
    return Refusal(422, f"the model failed: {said(each.failure)}")


def _device_lost(error: DeviceLostError, calls: int) -> DeviceLost:
    # The device answered every batch before this one, so a fault of the program is this call's: 422, by which
    # a caller finds the offender. Answered with 503, it would come again and end one process after another.
    # Of several calls nobody knows which: all may come again, and the next process takes them one by one.
    cause = error.__cause__
    code = getattr(cause, "error_code", None)
    hardware = code in _HARDWARE_CODES or any(text in str(cause) for text in _HARDWARE_TEXTS)
    return DeviceLost(503 if hardware or calls > 1 else 422, f"the device was lost: {cause}")


def _out_of_memory(error: BaseException, instances: int) -> Refusal:
    reason = f"out of memory: {str(error) or type(error).__name__}"
    # Fewer at once may fit, and a caller halves its call after a 413; repeated as it is, it would fail again.
    if instances > 1:
        return Refusal(413, f"{reason} (with {instances} instances)", reason=Reason.MEMORY)
    return Refusal(503, reason, reason=Reason.MEMORY)
