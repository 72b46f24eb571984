"""Requests of the in-process experiments, as raw PubsubMessages: JSON and binary bodies."""

from __future__ import annotations

from itertools import cycle, islice
from pathlib import Path

import numpy as np
import orjson

from benchmarks.harness.models import Workload
from examples.breast_cancer import autoencoder
from pipeline.pubsub.protos import Proto, PubsubMessage
from pipeline.request.wire_format import FLOAT32_TYPE

_RECORDS = Path(autoencoder.__file__).with_name("records.jsonl")


def json_messages(workload: Workload, count: int) -> list[Proto]:
    """Return JSON requests: the example's records, over and over, or numbers with six decimals."""
    if workload.exported is not None:
        lines = list(islice(cycle(_RECORDS.read_bytes().splitlines()), count))
    else:
        lines = [
            orjson.dumps({"record_id": number, "features": row.tolist(), "label": number % 2})
            for number, row in enumerate(_rows(workload, count))
        ]
    return [_message(number, body, {}) for number, body in enumerate(lines)]


def float32_messages(workload: Workload, count: int) -> list[Proto]:
    """Return binary requests, for another model than the example with the numbers of `json_messages`."""
    return [
        _message(number, row.astype("<f4").tobytes(), {"content-type": FLOAT32_TYPE})
        for number, row in enumerate(_rows(workload, count))
    ]


def _rows(workload: Workload, count: int) -> np.ndarray:
    return np.round(np.random.default_rng(1).standard_normal((count, int(workload.input_shape))), 6)


def _message(number: int, body: bytes, attributes: dict[str, str]) -> Proto:
    message = PubsubMessage(
        data=body, attributes={"request_id": str(number), **attributes}, message_id=str(number)
    )
    message.publish_time.GetCurrentTime()
    return message
