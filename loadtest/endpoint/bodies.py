"""The calls' bodies, encoded before the first one is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.inference.endpoint.codec import Codec, EncodedCall
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
        encoded: As it is sent.
        rows: Instances in it.
    """

    encoded: EncodedCall
    rows: int

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return self.encoded.body


def decode_records(records: Sequence[bytes], spec: InputSpec) -> tuple[list[Inputs], list[str]]:
    """Return the inputs of the records that hold some, and a sentence for the first one that does not."""
    inputs: list[Inputs] = []
    for number, record in enumerate(records, start=1):
        try:
            inputs.append(wire_format.decode(record, {}, spec, received=0.0).inputs)
        except DecodeError as error:
            return inputs, [f"--input: record {number}: {error}; mend it, or give the model's --input_shape"]
    return inputs, []


def make_bodies(inputs: Sequence[Inputs], codec: Codec, rows: int) -> list[Body]:
    """Return bodies of `rows` instances each: the inputs in their order, over and over.

    Args:
        inputs: At least one.
        codec: Of the endpoint's protocol.
        rows: Instances in a call.
    """
    bodies: list[Body] = []
    size = 0
    while len(bodies) < min(MOST, len(inputs)) and (not bodies or size + len(bodies[-1].data) <= MOST_BYTES):
        first = len(bodies) * rows
        batch = [inputs[number % len(inputs)] for number in range(first, first + rows)]
        bodies.append(Body(codec.encode(batch), rows))
        size += len(bodies[-1].data)
    return bodies
