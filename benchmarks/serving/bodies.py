"""What goes to a server and comes back: a row as JSON or in binary, in each server's own form."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import orjson

JSON, BINARY = "json", "binary"
BODIES = (JSON, BINARY)

INPUT, OUTPUT = "INPUT__0", "OUTPUT__0"  # of Triton's model
HEADER_LENGTH = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Form:
    """How one row travels.

    Attributes:
        headers: Of a call with a row of this width; beside Content-Length.
        encode: Takes a row, float32 [width], and returns the body.
        decode: Takes the body and the headers of an answer, and returns the numbers in it.

    `decode` raises ValueError, KeyError, TypeError or IndexError for what is no such answer.
    """

    headers: Callable[[int], Mapping[str, str]]
    encode: Callable[[np.ndarray], bytes]
    decode: Callable[[bytes, Mapping[str, str]], np.ndarray]


def _json_headers(width: int) -> Mapping[str, str]:
    return {"Content-Type": "application/json"}


def _numbers(row: np.ndarray) -> list[float]:
    # With six decimals, as clients write them; as float32 they would have up to nine.
    return [round(float(number), 6) for number in row]


def _instances(row: np.ndarray) -> bytes:
    return orjson.dumps({"instances": [_numbers(row)]})


def _predictions(body: bytes, headers: Mapping[str, str]) -> np.ndarray:
    (prediction,) = orjson.loads(body)["predictions"]
    return np.asarray(prediction, np.float32)


def _rows(body: bytes, headers: Mapping[str, str]) -> np.ndarray:
    (prediction,) = orjson.loads(body)
    return np.asarray(prediction, np.float32)


def _kserve(row: np.ndarray) -> bytes:
    tensor = {"name": INPUT, "shape": [1, row.size], "datatype": "FP32", "data": _numbers(row)}
    return orjson.dumps({"inputs": [tensor]})


def _kserve_answer(body: bytes, headers: Mapping[str, str]) -> np.ndarray:
    (output,) = orjson.loads(body)["outputs"]
    return np.asarray(output["data"], np.float32)


def _binary_head(width: int) -> bytes:
    tensor = {
        "name": INPUT,
        "shape": [1, width],
        "datatype": "FP32",
        "parameters": {"binary_data_size": 4 * width},
    }
    return orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})


def _binary_headers(width: int) -> Mapping[str, str]:
    return {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(len(_binary_head(width)))}


def _binary_answer(body: bytes, headers: Mapping[str, str]) -> np.ndarray:
    return np.frombuffer(body[int(headers[HEADER_LENGTH]) :], "<f4")


def _bytes(row: np.ndarray) -> bytes:
    return row.astype("<f4", copy=False).tobytes()


def _floats(body: bytes, headers: Mapping[str, str]) -> np.ndarray:
    return np.frombuffer(body, "<f4")


PREDICT = Form(_json_headers, _instances, _predictions)
"""Vertex AI's: {"instances": [row]} → {"predictions": [answer]}."""
INSTANCES_TO_ROWS = Form(_json_headers, _instances, _rows)
"""BentoML's: {"instances": [row]}, by the name of the argument → [answer]."""
KSERVE_JSON = Form(_json_headers, _kserve, _kserve_answer)
"""KServe v2, numbers as JSON."""
KSERVE_BINARY = Form(_binary_headers, lambda row: _binary_head(row.size) + _bytes(row), _binary_answer)
"""KServe v2 with binary tensors (Triton's extension), both ways."""
RAW = Form(lambda width: {"Content-Type": "application/x-float32"}, _bytes, _floats)
"""Ours: float32, little-endian."""
OCTETS = Form(lambda width: {"Content-Type": "application/octet-stream"}, _bytes, _floats)
"""The same of a server that asks for no type."""
