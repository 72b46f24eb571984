"""The codec of each `--endpoint_protocol`."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.inference.endpoint.codec import Codec
from pipeline.inference.endpoint.json_codec import JsonCodec
from pipeline.inference.endpoint.raw_codec import RawCodec
from pipeline.inference.endpoint.triton_codec import TritonCodec
from pipeline.options.address import PREDICT, RAW, TRITON, Address


def codec_for(protocol: str, address: Address) -> Codec:
    """Return the codec of `predict`, `raw` or `triton`, for calls to an address."""
    return _CODECS[protocol](address)


_CODECS: dict[str, Callable[[Address], Codec]] = {
    PREDICT: lambda address: JsonCodec(),
    RAW: lambda address: RawCodec(),
    TRITON: TritonCodec,
}
