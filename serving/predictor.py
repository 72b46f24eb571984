"""One call answered by the model: body in, body out. Everything here runs on the process's model thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipeline.model.compute import is_device_gone, is_device_lost, is_out_of_memory
from pipeline.model.failure import said
from pipeline.model.model import Model
from pipeline.request.input_spec import RAW_TYPES, Inputs, InputSpec
from pipeline.request.wire_format import JSON_TYPE, media_types
from serving.errors import DeviceLost, Refusal
from serving.limits import body_limit
from serving.protocol import check_finite, read_json, read_raw, unpacked, write_float32, write_json

# The CUDA errors of a device that fails whatever it computes: uncorrectable ECC and NVLink errors, MPS server
# gone (https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html).
_HARDWARE_CODES = frozenset({214, 220, 810})
_HARDWARE_TEXTS = ("uncorrectable ECC error", "uncorrectable NVLink error")


@dataclass(frozen=True)
class Predictor:
    """A model, with the shape and the number of the instances that it takes in one call."""

    model: Model
    spec: InputSpec
    max_batch_size: int

    def answer(self, content_type: str, body: bytes, encoding: str = "") -> tuple[bytes, str]:
        """Return the body and the Content-Type of the answer to one call.

        Args:
            content_type: Of the call; parameters after a semicolon are ignored.
            body: Of the call.
            encoding: Its Content-Encoding.

        Raises:
            Refusal: With status 400, 406, 413 or 415 as the functions of `serving.protocol` raise it; 415,
                another Content-Type; 422, the model failed; 503, there was not enough memory for a single
                instance.
            DeviceLost: With 422 where these inputs may be to blame, 503 where the hardware is.
        """
        media_type = content_type.partition(";")[0].strip().lower()
        try:
            # Here and not as it is read, so that no more than one body is unpacked at a time.
            body = unpacked(body, encoding, body_limit(self.spec, self.max_batch_size))
            if media_type == JSON_TYPE:
                rows = read_json(body, self.spec, self.max_batch_size)
                return write_json(self._predict(rows)), JSON_TYPE
            if media_type in RAW_TYPES:
                rows = read_raw(body, media_type, self.spec, self.max_batch_size)
                return write_float32(self._predict(rows))
        except MemoryError as error:
            raise _out_of_memory(error, 1) from error
        raise Refusal(415, f"Content-Type {content_type[:100]!r}: expected {media_types(self.spec)}")

    def _predict(self, rows: list[Inputs]) -> list[Any]:
        try:
            predictions = self.model.predict(rows)
        except Exception as error:
            if is_device_lost(error) or is_device_gone():
                raise _device_lost(error) from error
            if is_out_of_memory(error):
                raise _out_of_memory(error, len(rows)) from error
            raise Refusal(422, f"the model failed: {said(error)}") from error
        check_finite(predictions)
        return predictions


def _device_lost(error: Exception) -> DeviceLost:
    # The device answered every call before this one, so a fault of the program is this call's: 422, by which
    # a caller finds the offender. Answered with 503, it would come again and end one process after another.
    code = getattr(error, "error_code", None)
    hardware = code in _HARDWARE_CODES or any(text in str(error) for text in _HARDWARE_TEXTS)
    return DeviceLost(503 if hardware else 422, f"the device was lost: {error}")


def _out_of_memory(error: BaseException, instances: int) -> Refusal:
    reason = f"out of memory: {error or type(error).__name__}"
    # Fewer at once may fit, and a caller halves its call after a 413; repeated as it is, it would fail again.
    return Refusal(413, f"{reason} (with {instances} instances)") if instances > 1 else Refusal(503, reason)
