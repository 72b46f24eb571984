"""The jobs that ours is compared with must do the same work, or the comparison is none."""

from __future__ import annotations

import os
from pathlib import Path

import apache_beam as beam
import numpy as np
import orjson
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.harness import jobs, stock_job
from benchmarks.local_engine import hybrid_job
from pipeline.engine.fusion import fused_stages
from pipeline.engine.runner import StreamingRunner
from pipeline.model.load import load
from pipeline.request.input_spec import InputSpec
from tests.benchmarks.conftest import UsageError

RECORDS = stock_job.MODEL.with_name("records.jsonl").read_bytes().splitlines()[:3]
ATTRIBUTES = {"request_id": "cafe0123-0", "intended_time": "1.5", "sent_time": "1.6"}


def test_stock_gives_the_predictions_of_ours_and_carries_the_record_along(tmp_path: Path) -> None:
    handler = stock_job.make_handler(tmp_path / "state_dict.pt")
    requests = [stock_job.decode(PubsubMessage(line, ATTRIBUTES)) for line in RECORDS]
    answers = [stock_job.encode(each) for each in handler.run_inference(requests, handler.load_model())]

    records = [orjson.loads(line) for line in RECORDS]
    spec = InputSpec.parse("30")
    ours = load(str(stock_job.MODEL), spec).predict([spec.from_json(record) for record in records])
    bodies = [orjson.loads(answer.data) for answer in answers]
    np.testing.assert_allclose([body["prediction"] for body in bodies], ours, atol=1e-6)
    for body, record in zip(bodies, records, strict=True):
        assert body["request_id"] == ATTRIBUTES["request_id"]
        assert body["passthrough"] == {"record_id": record["record_id"], "label": record["label"]}
    assert all(answer.attributes == ATTRIBUTES for answer in answers)


def test_the_hybrid_runs_source_to_sink_in_one_stage(tmp_path: Path) -> None:
    pipeline = beam.Pipeline(runner=StreamingRunner(), options=PipelineOptions(["--streaming"]))
    names = ("projects/my-project/subscriptions/requests", "projects/my-project/topics/results")
    hybrid_job.build(pipeline, stock_job.Options(*names, tmp_path / "state_dict.pt"))
    _, second = fused_stages(pipeline)
    assert {"Decode", "Encode", "Write/Publish"} <= set(second)


def test_a_job_needs_its_names(usage_error: UsageError) -> None:
    assert "--output_topic, --state_dict" in usage_error(
        stock_job.parse, "--input_subscription=projects/p/subscriptions/s"
    )


@pytest.mark.parametrize("before", [None, "elsewhere:1"])
def test_the_broker_of_a_run_is_the_one_in_use(monkeypatch: pytest.MonkeyPatch, before: str | None) -> None:
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    if before is not None:
        monkeypatch.setenv("PUBSUB_EMULATOR_HOST", before)
    with jobs.pubsub() as broker:
        assert os.environ["PUBSUB_EMULATOR_HOST"] == broker.address
    assert os.environ.get("PUBSUB_EMULATOR_HOST") == before
