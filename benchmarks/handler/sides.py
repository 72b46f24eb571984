"""The sides of `benchmarks.handler`: the decode, RunInference and encode of each, and its bundle."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from apache_beam.io.gcp import pubsub as beam_pubsub
from apache_beam.ml.inference.base import KeyedModelHandler

from benchmarks.harness import stock_job
from benchmarks.harness.beam_thread import Expanded, InferenceSteps
from benchmarks.harness.handlers import our_handler, state_dict, stock_handler
from benchmarks.harness.machine import Machine
from benchmarks.harness.models import Workload, WrongAnswerError
from benchmarks.harness.request_messages import float32_messages, json_messages
from pipeline.io.connectors import as_it_is, as_one_list
from pipeline.job.steps import Decode, Encode
from pipeline.job.whole_batches import WholeBatches
from pipeline.pubsub.protos import Proto
from pipeline.request import wire_format
from pipeline.request.input_spec import InputSpec
from pipeline.request.messages import DeadLetter, Result
from pipeline.request.wire_format import WireMessage

BUNDLE = 100  # messages
STOCK = "stock"
TUNED = f"stock, batches of {BUNDLE}"
OURS = "ours"
OURS_FLOAT32 = "ours, float32 body"
SILENT = "ours, no metrics"


@dataclass(frozen=True)
class Side:
    """One side with a bundle thread's DoFns, set up.

    Attributes:
        title: STOCK, TUNED, OURS, OURS_FLOAT32 or SILENT.
        steps: RunInference.
        decode: What stands before it: from the messages of a bundle to the elements of RunInference.
        encode: What stands after it, for each element that comes out.
        messages: Of a bundle, as the side's source gives them: raw ones, or Beam's.
    """

    title: str
    steps: InferenceSteps
    decode: Callable[[Iterable[Any]], Iterable[Any]]
    encode: Callable[[Any], Iterable[Any]]
    messages: Sequence[Proto | beam_pubsub.PubsubMessage]

    def bundle(self) -> list[Any]:
        """Send all messages as one bundle, each as far as it gets before the next, as Beam moves them."""
        answers = self.steps.run(self.decode(self.messages))
        return [output for answer in answers for output in self.encode(answer)]


def sides(workload: Workload, machine: Machine, folder: Path, *, float32: bool = False) -> list[Side]:
    """Return stock with Beam's default batches, stock with the bundle as one batch, and ours.

    Args:
        workload: The model and its inputs.
        machine: What both sides compute on.
        folder: For the weights.
        float32: Whether ours has a second side, with binary bodies.
    """
    weights = state_dict(workload, folder)
    requests = json_messages(workload, BUNDLE)
    all_sides = [
        Side(
            title,
            Expanded.of(KeyedModelHandler(stock_handler(workload, weights, machine, batch_size))).set_up(),
            lambda messages: map(stock_job.decode, messages),
            lambda answer: (stock_job.encode(answer),),
            [
                beam_pubsub.PubsubMessage(request.data, dict(request.attributes), request.message_id)
                for request in requests
            ],
        )
        for title, batch_size in ((STOCK, None), (TUNED, BUNDLE))
    ]
    spec = InputSpec.parse(workload.input_shape)
    handler = WholeBatches(our_handler(workload, weights, machine))
    expanded = Expanded.of(handler)
    kinds = {OURS: requests} | ({OURS_FLOAT32: float32_messages(workload, BUNDLE)} if float32 else {})
    for title, messages in kinds.items():
        decode = Decode(as_it_is, spec, handler.max_batch_size)
        all_sides.append(
            Side(
                title,
                expanded.set_up(),
                partial(_batches, decode),
                partial(_encoded, Encode(as_one_list, as_one_list)),
                messages,
            )
        )
    return all_sides


def _batches(decode: Decode, messages: Iterable[Proto]) -> Iterator[Any]:
    decode.start_bundle()
    for message in messages:
        for batch in decode.process(message):
            yield batch.value
    for batch in decode.finish_bundle():
        yield batch.value


def _encoded(encode: Encode, answers: Any) -> list[Any]:
    """Return messages, and lists of them that are dead letters."""
    outputs: list[Any] = []
    for output in encode.process(answers):
        outputs += output if isinstance(output, list) else [output]
    return outputs


def silent(ours: Side) -> Side:
    """Return our side without the metrics that the job counts for each result."""
    return replace(ours, title=SILENT, encode=encode_silently)


def encode_silently(
    answers: Sequence[Result | DeadLetter], clock: Callable[[], float] = time.time
) -> list[WireMessage]:
    """Return the messages that the job's Encode returns for results, and count nothing.

    Raises:
        WrongAnswerError: An answer is a dead letter.
    """
    messages = []
    for answer in answers:
        if isinstance(answer, DeadLetter):
            raise WrongAnswerError(f"{SILENT}: {answer.error_message}")
        messages.append(wire_format.encode(answer, clock()))
    return messages


def check(sides: Sequence[Side]) -> None:
    """Send one bundle through each side.

    Raises:
        WrongAnswerError: A side refuses a request, or its predictions are not the first side's.
    """
    expected: np.ndarray | None = None
    for side in sides:
        outputs = side.bundle()
        if not all(isinstance(output, WireMessage | beam_pubsub.PubsubMessage) for output in outputs):
            raise WrongAnswerError(f"{side.title}: refuses requests")
        results = [orjson.loads(output.data) for output in outputs]
        if [result["request_id"] for result in results] != [str(number) for number in range(BUNDLE)]:
            raise WrongAnswerError(f"{side.title}: not one result for each request, in their order")
        predictions = np.array([result["prediction"] for result in results])
        if expected is None:
            expected = predictions
        elif not np.allclose(predictions, expected, rtol=1e-4, atol=1e-5):
            raise WrongAnswerError(f"{side.title}: other predictions than {sides[0].title}'s")
