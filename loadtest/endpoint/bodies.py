"""The calls' bodies, encoded before the first one is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.inference.endpoint.codec import codec_for
from pipeline.request import wire_format
from pipeline.request.errors import DecodeError
from pipeline.request.input_spec import Inputs, InputSpec

# Different bodies of one batch size, as far as they fit in the memory: a server may cache what it has seen.
MOST = 64
MOST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Body:
    """The body of one call.

    Attributes:
        data: As it is sent.
        content_type: Its media type.
        rows: Instances in it.
    """

    data: bytes
    content_type: str
    rows: int


def decode_records(records: Sequence[bytes], spec: InputSpec) -> tuple[list[Inputs], list[str]]:
    """Return the inputs of the records that hold some, and a sentence for the first one that does not."""
    inputs: list[Inputs] = []
    for number, record in enumerate(records, start=1):
        try:
            inputs.append(wire_format.decode(record, {}, spec, received=0.0).inputs)
        except DecodeError as error:
            return inputs, [f"--input: record {number}: {error}; mend it, or give the model's --input_shape"]
    return inputs, []


def make_bodies(inputs: Sequence[Inputs], protocol: str, rows: int) -> list[Body]:
    """Return bodies of `rows` instances each: the inputs in their order, over and over.

    Args:
        inputs: At least one.
        protocol: `predict` or `raw`.
        rows: Instances in a call.
    """
    codec = codec_for(protocol)
    bodies: list[Body] = []
    size = 0
    while len(bodies) < min(MOST, len(inputs)) and (not bodies or size + len(bodies[-1].data) <= MOST_BYTES):
        first = len(bodies) * rows
        batch = [inputs[number % len(inputs)] for number in range(first, first + rows)]
        bodies.append(Body(codec.encode(batch), codec.content_type(batch), rows))
        size += len(bodies[-1].data)
    return bodies
