"""From bodies to rows and from predictions to bodies: JSON as in Vertex AI's predict, and raw bytes."""

from __future__ import annotations

import gc
from math import prod
from typing import Any

import numpy as np
import orjson

from pipeline.batching.batch_runner import BundleInputs
from pipeline.model.outputs import OutputRows
from pipeline.request.compression import GzipError, UnpackedTooLargeError, unpack
from pipeline.request.errors import DecodeError
from pipeline.request.input_spec import RAW_TYPES, Inputs, InputSpec
from pipeline.request.wire_format import FLOAT32_TYPE, GZIP, UNENCODED
from serving.errors import Refusal

# Smaller bodies are parsed as they are: what they hold takes a few megabytes at most.
_LARGE_BYTES = 2**16
# From here on, to search the text for what is no number takes less time than to look at each value: 0.6 µs
# for 1,024 numbers of 11 bytes, not 9.
_SEARCHED_BYTES = 2**11
# Lists, values and names beyond twice what the largest batch has, for fields of a body that are not read.
_UNREAD = 10_000


def read_json(body: bytes, spec: InputSpec, most: int) -> BundleInputs:
    """Return the instances of `{"instances": […]}`.

    An instance is a nested list of the one input's shape; for named inputs, an object of such lists by name.

    Raises:
        Refusal: 400, the body is none of these (the message names the instance); 413, there are more than
            `most` instances, or many times the lists or numbers that so many have.
    """
    large = len(body) >= _LARGE_BYTES
    if large:
        _check_size(body, spec, most)
    try:
        call = _loads_uncollected(body) if large else orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refusal(400, f"the body is not JSON: {error}") from None
    instances = call.get("instances") if isinstance(call, dict) else None
    if not isinstance(instances, list) or not instances:
        raise Refusal(400, f'the body has no "instances": expected {{"instances": [{_example(spec)}, …]}}')
    _check_number(len(instances), most)
    only_numbers = not spec.named and len(body) >= _SEARCHED_BYTES and _holds_only_numbers(body)
    rows: list[Inputs] = []
    for index, instance in enumerate(instances):
        try:
            rows.append(_row(instance, spec, only_numbers))
        except DecodeError as error:
            raise Refusal(400, f"instance {index}: {error}") from None
    return BundleInputs(spec.stack(rows), len(rows))


def read_raw(body: bytes, media_type: str, spec: InputSpec, most: int) -> BundleInputs:
    """Return the instances of a raw body, which they share the memory of.

    The body is n × input shape, little-endian, C order, in the dtype of the media type, one of `RAW_TYPES`.

    Raises:
        Refusal: 400, the bytes are not whole rows, or hold NaN, infinity or a bool beyond 0 and 1; 406, the
            model takes several inputs; 413, there are more than `most` rows; 415, it takes another dtype.
    """
    if spec.raw_type != media_type:
        raise Refusal(406 if spec.raw_type is None else 415, f"{media_type}: {spec.raw_misfit()}")
    (tensor,) = spec.tensors
    row_bytes = tensor.dtype.itemsize * prod(tensor.shape)
    if not body or len(body) % row_bytes:
        raise Refusal(
            400,
            f"a body of {len(body)} bytes is not a number of rows: "
            f"{tensor.dtype} of shape {'x'.join(map(str, tensor.shape))} takes {row_bytes} each",
        )
    _check_number(len(body) // row_bytes, most)
    batch = np.frombuffer(body, RAW_TYPES[media_type].newbyteorder("<")).reshape(-1, *tensor.shape)
    if tensor.dtype.kind in "fb":
        good = np.isfinite(batch) if tensor.dtype.kind == "f" else batch.view(np.uint8) <= 1
        # All at once first: row by row takes twice the time.
        if not good.all():
            index = int(np.argmin(good.reshape(len(batch), -1).all(axis=1)))
            try:
                tensor.from_bytes(batch[index].tobytes())
            except DecodeError as error:
                raise Refusal(400, f"instance {index}: {error}") from None
    return BundleInputs({tensor.name: batch} if spec.named else batch, len(batch))


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """Return a body without its Content-Encoding, of `most` bytes at most.

    Raises:
        Refusal: 400, it is not what that says; 413, it has more bytes; 415, it is not gzip.
    """
    encoding = encoding.strip().lower()
    if encoding in UNENCODED:
        return body
    if encoding not in GZIP:
        raise Refusal(415, f"Content-Encoding {encoding[:100]!r}: expected gzip, or none")
    try:
        return unpack(body, most)
    except UnpackedTooLargeError as error:
        raise Refusal(413, f"the body is too large: {error} bytes") from None
    except GzipError as error:
        raise Refusal(400, f"the body cannot be unpacked: {error}") from None


def write_json(outputs: OutputRows) -> bytes:
    """Return `{"predictions": […]}`, a prediction for each row.

    Raises:
        Refusal: 422, JSON has nothing for the dtype, such as complex64.
    """
    # One array as a whole: row by row, orjson takes 1 µs more for each.
    predictions = outputs.arrays[0] if None in outputs.names else outputs.predictions(0, len(outputs))
    try:
        return orjson.dumps({"predictions": predictions}, option=orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError as error:
        raise Refusal(422, f"the model's output cannot be written as JSON: {error}") from None


def write_float32(outputs: OutputRows) -> tuple[bytes, str]:
    """Return the raw body of predictions, and its media type with the shape: `…; shape=3x30`.

    Raises:
        Refusal: 406, the predictions are not one float32 array each.
    """
    if None not in outputs.names:
        names = ", ".join(map(str, outputs.names))
        raise Refusal(406, f"{FLOAT32_TYPE}: this model's output is named ({names}); send JSON")
    (array,) = outputs.arrays
    if array.dtype != np.float32:
        raise Refusal(406, f"{FLOAT32_TYPE}: this model's output is {array.dtype}; send JSON")
    shape = "x".join(map(str, array.shape))
    return array.astype("<f4", copy=False).tobytes(), f"{FLOAT32_TYPE}; shape={shape}"


def _holds_only_numbers(body: bytes) -> bool:
    """Return whether JSON of the one field "instances" holds nothing in its lists but numbers."""
    # Its name has two quotes, and neither an l, as false and null have, nor an r, as true has. Looking for
    # single bytes takes 0.6 µs for 11 kB; counting them takes 5, looking for the words 20.
    closing = body.find(b'"', body.find(b'"') + 1)
    return body.find(b'"', closing + 1) < 0 and b"l" not in body and b"r" not in body


def _row(instance: Any, spec: InputSpec, only_numbers: bool) -> Inputs:
    if not spec.named:
        return spec.tensors[0].from_json(instance, only_numbers=only_numbers)
    if not isinstance(instance, dict):
        raise DecodeError(f"not an object: expected {_example(spec)}")
    missing = [tensor.name for tensor in spec.tensors if tensor.name not in instance]
    if missing:
        raise DecodeError(f"{', '.join(missing)} missing: expected {_example(spec)}")
    return {tensor.name: tensor.from_json(instance[tensor.name]) for tensor in spec.tensors}


def _check_size(body: bytes, spec: InputSpec, most: int) -> None:
    """Check, without parsing, that a body holds no more than about twice what the largest call does.

    Parsing 10 MB of `[],` takes 140 ms and 300 MB, counting its brackets 3 ms.

    Raises:
        Refusal: 413, it does.
    """
    numbers = sum(prod(tensor.shape) for tensor in spec.tensors)
    # A list for each row of each dimension, and one object.
    lists = 1 + sum(prod(tensor.shape[:end]) for tensor in spec.tensors for end in range(len(tensor.shape)))
    for characters, what, each in (
        (b"[{", "lists and objects", lists),
        (b",", "values", numbers),
        (b":", "names", len(spec.tensors)),
    ):
        allowed = 2 * most * each + _UNREAD
        found = sum(body.count(character) for character in characters)
        if found > allowed:
            raise Refusal(
                413,
                f"the body holds {found} {what}: at most {most} instances are taken in one call, "
                f"which have {most * each}",
            )


def _loads_uncollected(body: bytes) -> Any:
    # The collector would walk the new lists again and again: 0.6 s instead of 0.14 for 10 MB of `[],`.
    enabled = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(body)
    finally:
        if enabled:
            gc.enable()


def _check_number(instances: int, most: int) -> None:
    if instances > most:
        raise Refusal(413, f"{instances} instances: at most {most} are taken in one call")


def _example(spec: InputSpec) -> str:
    texts = [f"[{'x'.join(map(str, tensor.shape))} {tensor.dtype}]" for tensor in spec.tensors]
    if not spec.named:
        return texts[0]
    named = [f'"{tensor.name}": {text}' for tensor, text in zip(spec.tensors, texts, strict=True)]
    return f"{{{', '.join(named)}}}"
