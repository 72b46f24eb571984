"""What a runner is told: every metric, from a real pipeline."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apache_beam as beam
import torch
from apache_beam.metrics import MetricsFilter
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.engine.runner import StreamingRunner
from pipeline.inference.local.handler import LocalModelHandler
from pipeline.inference.local.process_model import ProcessModel
from pipeline.io.connectors import as_one_list
from pipeline.job.steps import DEAD_LETTERS, Decode, Encode
from pipeline.job.whole_batches import WholeBatches
from pipeline.metrics import NAMESPACE, _dead_letters
from pipeline.pubsub.protos import PubsubMessage
from pipeline.request.errors import RequestError
from pipeline.request.hooks import Hook
from tests.pipeline.job_options import local_job_options
from tests.pipeline.models import Sum

PUBLISHED = datetime(2026, 1, 2, tzinfo=UTC)


def clock() -> float:
    return PUBLISHED.timestamp() + 5


def three_is_too_much(prediction: Any) -> Any:
    if prediction == 3:
        raise ValueError("three")
    return prediction


def message(body: str, published: datetime | None = PUBLISHED) -> bytes:
    made = PubsubMessage(data=body.encode(), message_id="id")
    if published is not None:
        made.publish_time.FromDatetime(published)
    serialized: bytes = made.SerializeToString()
    return serialized


def run(handler: LocalModelHandler, *messages: bytes) -> tuple[dict[str, int], dict[str, Any]]:
    """Counters and distributions of the job's namespace, those of Beam's own left out."""
    pipeline = beam.Pipeline(runner=StreamingRunner(), options=PipelineOptions([]))
    options = local_job_options("--input_shape=3")
    whole = WholeBatches(handler)
    hook = Hook("--encode_hook", "tests.pipeline.test_metrics:three_is_too_much", three_is_too_much)
    decode = Decode(PubsubMessage.FromString, options.input_shape, whole.max_batch_size, clock=clock)
    encode = Encode(as_one_list, as_one_list, hook, clock)
    _ = (
        pipeline
        | beam.Create(messages)
        | "Decode" >> beam.ParDo(decode)
        | "Infer" >> RunInference(whole)
        | "Encode" >> beam.ParDo(encode).with_outputs(DEAD_LETTERS, main="results")
    )
    found = pipeline.run().metrics().query(MetricsFilter().with_namespace(NAMESPACE))
    counters = {row.key.metric.name: row.committed for row in found["counters"]}
    distributions = {row.key.metric.name: row.committed for row in found["distributions"]}
    return counters, distributions


def make_handler(folder: Path, *flags: str) -> LocalModelHandler:
    torch.save(Sum().state_dict(), folder / "m.pt")
    options = local_job_options("--input_shape=3", "--model_class=tests.pipeline.models:Sum", *flags)
    return LocalModelHandler(options, on_dataflow=False)


def test_each_request_counts_once(tmp_path: Path) -> None:
    counters, distributions = run(
        make_handler(tmp_path, f"--model_path={tmp_path / 'm.pt'}"),
        message('{"features": [2, 2, 2]}'),
        message('{"features": [3, 2, 2]}'),
        message('{"features": [4, 2, 2]}', published=None),
        message('{"features": [666, 2, 2]}'),
        message('{"features": [1, 1, 1]}'),
        message('{"features": []}'),
    )
    assert counters == {
        "results": 3,
        "dead_letters_decode": 1,
        "dead_letters_inference": 1,
        "dead_letters_encode": 1,
    }
    for name, count in {
        "queue_ms": 2,  # where the time of publishing is known
        "total_ms": 2,
        "batch_wait_ms": 3,
        "inference_ms": 3,
        "batch_size": 3,
    }.items():
        assert distributions[name].count == count, name
    assert (distributions["queue_ms"].min, distributions["total_ms"].max) == (5000, 5000)
    assert 1 <= distributions["batch_size"].min <= distributions["batch_size"].max <= 5


def test_swaps_and_refusals_are_counted_with_the_next_bundle(tmp_path: Path) -> None:
    handler = make_handler(tmp_path, f"--model_path={tmp_path / 'm.pt'}")
    model: ProcessModel = handler.load_model()
    model._active.swap(model._active.model, "elsewhere")
    model._active.swap(model._active.model, "back")
    model._active.count_refusal()
    counters, _ = run(handler, message('{"features": [2, 2, 2]}'))
    assert (counters["model_swaps"], counters["model_refusals"]) == (2, 1)
    counters, _ = run(handler, message('{"features": [2, 2, 2]}'))
    assert "model_swaps" not in counters


def test_every_stage_has_its_counter() -> None:
    assert set(_dead_letters) == {error.stage for error in RequestError.__subclasses__()}
