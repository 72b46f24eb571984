"""`python -m benchmarks.harness.stock_job`: the streaming job that a user of stock Beam would write.

Pub/Sub in, the example's model in process, Pub/Sub out, with nothing of this project in it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import apache_beam as beam
import torch
from apache_beam.io.gcp.pubsub import PubsubMessage, ReadFromPubSub, WriteToPubSub
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference
from apache_beam.ml.inference.pytorch_inference import PytorchModelHandlerTensor
from apache_beam.options.pipeline_options import PipelineOptions

from examples.breast_cancer import autoencoder

MODEL = Path(autoencoder.__file__).with_name("model.pt2")

Key = tuple[dict[str, str], dict[str, object]]
"""What a result takes over from its request: the message's attributes, and the record's own fields."""


@dataclass(frozen=True)
class Options:
    """The command line of a job that ours is compared with: full Pub/Sub names, a file for the weights."""

    input_subscription: str
    output_topic: str
    state_dict: Path


def parse(arguments: Sequence[str] | None) -> Options:
    """Return the options of a command line. Exit with code 2 for wrong flags."""
    parser = argparse.ArgumentParser(description="A job of benchmarks.local_engine.", allow_abbrev=False)
    parser.add_argument("--input_subscription", required=True, help="projects/P/subscriptions/S")
    parser.add_argument("--output_topic", required=True, help="projects/P/topics/T")
    parser.add_argument(
        "--state_dict", required=True, type=Path, help="file to write the example model's weights to"
    )
    return Options(**vars(parser.parse_args(arguments)))


def make_handler(state_dict: Path) -> KeyedModelHandler:
    """Return stock's handler of the example's model. Its weights are first written to `state_dict`.

    The handler takes no torch.export file. The weights are those of that very file.
    """
    torch.save(torch.export.load(MODEL).state_dict, state_dict)
    return KeyedModelHandler(
        PytorchModelHandlerTensor(
            state_dict_path=str(state_dict), model_class=autoencoder.AnomalyScorer, model_params={}
        )
    )


def decode(message: PubsubMessage) -> tuple[Key, torch.Tensor]:
    """Return a request's key and its features, float32 [30]."""
    record = json.loads(message.data)
    features = torch.tensor(record.pop("features"), dtype=torch.float32)
    return (message.attributes, record), features


def encode(answer: tuple[Key, PredictionResult]) -> PubsubMessage:
    """Return a result with the fields that the load driver checks."""
    (attributes, record), result = answer
    body = {
        "request_id": attributes["request_id"],
        "prediction": float(result.inference),
        "model_id": result.model_id,
        "passthrough": record,
    }
    return PubsubMessage(json.dumps(body).encode(), attributes)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the job until it is ended from outside."""
    options = parse(arguments)
    # DirectRunner ends up with this runner for a graph with Pub/Sub in it. Asked for as DirectRunner, Beam
    # first tries to download another runner (Prism), finds that it cannot run the graph, and falls back.
    beam_options = PipelineOptions(["--runner=BundleBasedDirectRunner", "--streaming"])
    with beam.Pipeline(options=beam_options) as pipeline:
        _ = (
            pipeline
            | "Read" >> ReadFromPubSub(subscription=options.input_subscription, with_attributes=True)
            | "Decode" >> beam.Map(decode)
            | "Infer" >> RunInference(make_handler(options.state_dict))
            | "Encode" >> beam.Map(encode)
            | "Write" >> WriteToPubSub(options.output_topic, with_attributes=True)
        )


if __name__ == "__main__":
    main()
