"""The sides of `benchmarks.worker`, each staged as for Dataflow, and the messages that they get."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import numpy as np
import torch
from apache_beam.io.gcp.pubsub import PubsubMessage as BeamMessage
from apache_beam.io.gcp.pubsub import ReadFromPubSub, WriteToPubSub
from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.harness import stock_job
from benchmarks.harness.handlers import model_flags, state_dict, stock_handler
from benchmarks.harness.machine import Machine
from benchmarks.harness.models import Workload, example, linear
from benchmarks.harness.request_messages import float32_messages, json_messages
from benchmarks.harness.staging import Staged, staged, staged_graph
from benchmarks.harness.write_serialized import WriteSerialized
from benchmarks.worker.floor import Floor
from pipeline.io.native import ReadSerialized
from pipeline.pubsub.protos import Proto

OURS = "ours"
STOCK = "stock"
TUNED = "tuned"
FLOOR = "floor"
HARNESS = "harness"
SIDES = (OURS, STOCK, TUNED, FLOOR, HARNESS)
TITLES: Mapping[str, str] = {
    OURS: "this job",
    STOCK: "stock, as it comes",
    TUNED: "stock, tuned",
    FLOOR: "the floor",
    HARNESS: "the harness alone",
}

SUBSCRIPTION = "projects/my-project/subscriptions/requests"
RESULTS = "projects/my-project/topics/results"
DEAD_LETTERS = "projects/my-project/topics/dead-letters"

LARGEST_BUNDLE = 1000
# Least and greatest size of tuned stock's batches; a batch ends with its bundle. Batches of 1,000 were no
# faster here: 85 µs a message instead of 78, both within the noise.
_TUNED_BATCH = 100
# One thread a forward pass, as each SDK process has one core on Dataflow.
_MACHINE = Machine("cpu", torch_threads=1)


@dataclass(frozen=True)
class Traffic:
    """What comes in.

    Attributes:
        title: In the tables.
        workload: The model.
        is_binary: Whether bodies are float32, which stock's job cannot read; else JSON.
    """

    title: str
    workload: Workload
    is_binary: bool

    def messages(self, count: int) -> list[Proto]:
        """Return requests as raw PubsubMessages."""
        make = float32_messages if self.is_binary else json_messages
        return make(self.workload, count)

    def has(self, side: str) -> bool:
        """Return whether a side can answer these messages."""
        return not self.is_binary or side not in (STOCK, TUNED)

    def predictions(self, messages: list[Proto]) -> np.ndarray:
        """Return what the model answers, computed here."""
        if self.is_binary:
            rows = np.array([np.frombuffer(message.data, "<f4") for message in messages])
        else:
            rows = np.array([json.loads(message.data)["features"] for message in messages], np.float32)
        with torch.inference_mode():
            answers: np.ndarray = self.workload.make()(torch.from_numpy(rows)).numpy()
        return answers


def traffics() -> dict[str, Traffic]:
    """Return all traffic by its name on the command line."""
    wide = linear(1024)
    return {
        "json30": Traffic("30 features, JSON", example(), is_binary=False),
        "json1024": Traffic("1,024 features, JSON", wide, is_binary=False),
        "float32": Traffic("1,024 features, float32", wide, is_binary=True),
    }


def stage(side: str, traffic: Traffic, folder: Path) -> Staged:
    """Build one side's job for Dataflow. `folder` is a new one, for the job and the model's weights."""
    folder.mkdir()
    weights = state_dict(traffic.workload, folder)
    if side == OURS:
        flags = [
            f"--input_subscription={SUBSCRIPTION}",
            f"--output_topic={RESULTS}",
            f"--dead_letter_topic={DEAD_LETTERS}",
            *model_flags(traffic.workload, weights),
            f"--device={_MACHINE.device}",
            f"--torch_threads={_MACHINE.torch_threads}",
        ]
        return staged(folder / "job", flags)

    def build(pipeline: beam.Pipeline, options: PipelineOptions) -> None:
        if side in (STOCK, TUNED):
            batch_size, decode = (None, stock_job.decode) if side == STOCK else (_TUNED_BATCH, decode_fast)
            handler = KeyedModelHandler(stock_handler(traffic.workload, weights, _MACHINE, batch_size))
            _ = (
                pipeline
                | "Read" >> ReadFromPubSub(subscription=SUBSCRIPTION, with_attributes=True)
                | "Decode" >> beam.Map(decode)
                | "Infer" >> RunInference(handler)
                | "Encode" >> beam.Map(stock_job.encode)
                | "Write" >> WriteToPubSub(RESULTS, with_attributes=True)
            )
        else:
            serialized = pipeline | "Read" >> ReadSerialized(SUBSCRIPTION)
            if side == FLOOR:
                floor = Floor(traffic.workload, traffic.is_binary, weights.name)
                serialized = serialized | "Floor" >> beam.ParDo(floor)
            _ = serialized | "Write" >> WriteSerialized(RESULTS)

    return staged_graph(folder / "job", build)


def decode_fast(message: BeamMessage) -> tuple[stock_job.Key, torch.Tensor]:
    """Return what `stock_job.decode` does, with a tensor made by numpy: torch takes longer for a list."""
    record = json.loads(message.data)
    features = torch.from_numpy(np.array(record.pop("features"), dtype=np.float32))
    return (message.attributes, record), features
