"""The least that a message costs in an SDK process: its bytes through, and all work in one DoFn."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import orjson
import torch
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

from benchmarks.harness.models import Workload
from pipeline.pubsub.attributes import attributes_of, set_attributes
from pipeline.pubsub.protos import Proto, PubsubMessage

_LOADING = threading.Lock()


class Floor(beam.DoFn):
    """Serialized requests to serialized results: one forward pass a bundle, nothing checked, nothing counted.

    Args:
        workload: The model.
        is_binary: Whether bodies are float32, else JSON.
        model_id: Stands in each result, as in those of the other sides.
    """

    def __init__(self, workload: Workload, is_binary: bool, model_id: str) -> None:
        self._workload = workload
        self._is_binary = is_binary
        self._model_id = model_id

    def setup(self) -> None:
        """Load the model, one thread after the other: torch.export.load takes no two at once."""
        with _LOADING:
            self._module = self._workload.make()

    def start_bundle(self) -> None:
        """Begin a batch."""
        self._messages: list[Proto] = []
        self._records: list[dict[str, Any]] = []

    def process(self, element: bytes) -> None:
        """Add a request to the batch."""
        message = PubsubMessage.FromString(element)
        self._messages.append(message)
        if not self._is_binary:
            self._records.append(orjson.loads(message.data))

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Give the results of the batch."""
        if not self._messages:
            return
        if self._is_binary:
            body = b"".join([message.data for message in self._messages])
            rows = np.frombuffer(bytearray(body), np.float32).reshape(len(self._messages), -1)
            passthroughs: list[dict[str, Any]] = [{}] * len(self._messages)
        else:
            rows = np.array([record.pop("features") for record in self._records], np.float32)
            passthroughs = self._records
        with torch.inference_mode():
            predictions = self._module(torch.from_numpy(rows)).tolist()
        window = (GlobalWindow(),)
        for message, prediction, passthrough in zip(self._messages, predictions, passthroughs, strict=True):
            attributes = attributes_of(message)
            body = orjson.dumps(
                {
                    "request_id": attributes["request_id"],
                    "prediction": prediction,
                    "model_id": self._model_id,
                    "passthrough": passthrough,
                }
            )
            result = PubsubMessage(data=body)
            set_attributes(result, attributes)
            yield WindowedValue(result.SerializeToString(), MIN_TIMESTAMP, window)
