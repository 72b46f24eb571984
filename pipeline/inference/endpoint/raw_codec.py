"""Raw predict: bytes of the one input's dtype, and float32 bytes back."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from pipeline.inference.endpoint.codec import BadResponseError, EncodedCall, Predictions, WrongCountError
from pipeline.request.input_spec import Inputs, raw_type
from pipeline.request.wire_format import FLOAT32_TYPE

# At most 32 dimensions (NumPy's limit before 2.0), none of them empty.
_SIZE = "[1-9][0-9]{0,8}"
_SHAPE = re.compile(
    rf"{re.escape(FLOAT32_TYPE)}\s*;\s*shape=\"?({_SIZE}(?:x{_SIZE}){{0,31}})\"?", re.IGNORECASE
)


class RawCodec:
    """The codec of `raw`. Bytes are little-endian; the response's shape is a parameter of its media type."""

    def encode(self, rows: Sequence[Inputs]) -> EncodedCall:
        """See `Codec`."""
        batch = np.stack([_array(row) for row in rows])
        body = batch.astype(batch.dtype.newbyteorder("<"), copy=False).tobytes()
        return EncodedCall(body, {"Content-Type": raw_type(batch.dtype)})

    def decode(self, body: bytes, headers: Mapping[str, str], count: int) -> Predictions:
        """See `Codec`."""
        content_type = headers.get("content-type", "")
        match = _SHAPE.fullmatch(content_type.strip())
        if match is None:
            raise BadResponseError(
                f"the answer's Content-Type is {content_type[:80]!r}, expected {FLOAT32_TYPE}; shape=NxD"
            )
        shape = tuple(map(int, match.group(1).split("x")))
        if len(body) != 4 * math.prod(shape):
            raise BadResponseError(
                f"the answer has {len(body)} bytes, its shape {match.group(1)} takes others"
            )
        if shape[0] != count:
            raise WrongCountError(f"the answer has {shape[0]} predictions for {count} instances")
        array = np.frombuffer(body, "<f4").reshape(shape)
        finite = np.isfinite(array.reshape(count, -1)).all(axis=1)
        rows = [row if fine else None for row, fine in zip(array, finite, strict=True)]
        return Predictions(rows, None)


def _array(row: Inputs) -> np.ndarray:
    """Return the one input of a row."""
    if isinstance(row, np.ndarray):
        return row
    (array,) = row.values()
    return array
