"""The handler as Beam uses it."""

from __future__ import annotations

import pickle
import socket
from dataclasses import replace

import apache_beam as beam
import pytest
from apache_beam.ml.inference.base import RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipeline import metrics
from pipeline.inference.endpoint.client import EndpointConfig
from pipeline.inference.endpoint.handler import EndpointModelHandler
from pipeline.inference.local.handler import LocalModelHandler
from pipeline.job import graph
from pipeline.job.command_line import job_options
from pipeline.job.handler import make_handler
from pipeline.options.address import Address
from pipeline.request.messages import Result
from tests.pipeline.inference.endpoint.server import ScriptedEndpoint
from tests.pipeline.inference.endpoint.test_client import PATIENT, assert_right, requests
from tests.pipeline.job.test_command_line import DATAFLOW, ENDPOINT, line


def config(endpoint: ScriptedEndpoint) -> EndpointConfig:
    return EndpointConfig(Address(f"{endpoint.address}/predict", False), "predict", 10, 8, PATIENT)


def test_copies_share_one_client(endpoint: ScriptedEndpoint) -> None:
    handler = EndpointModelHandler(config(endpoint))
    copy = pickle.loads(pickle.dumps(handler))
    assert copy.load_model() is handler.load_model()
    other = EndpointModelHandler(replace(config(endpoint), batch_size=3))
    assert other.load_model() is not handler.load_model()


def test_a_batch_is_what_may_be_in_flight(endpoint: ScriptedEndpoint) -> None:
    handler = EndpointModelHandler(config(endpoint))
    assert handler.batch_elements_kwargs() == {"min_batch_size": 80, "max_batch_size": 80}


def test_answers_of_a_batch(endpoint: ScriptedEndpoint) -> None:
    handler = EndpointModelHandler(config(endpoint), clock=lambda: 5.0)
    answers = list(handler.run_inference(requests(12), handler.load_model()))
    assert_right(answers, 12)
    assert isinstance(answers[0], Result)
    times = answers[0].request.timeline
    assert (times.batched, times.inference_start, times.inference_end) == (5.0, 5.0, 5.0)


def test_throttled_seconds_are_counted_as_dataflow_reads_them(endpoint: ScriptedEndpoint) -> None:
    # Pauses of at least 25, 50, 100, 200, 400 and 800 ms, of twice that at most.
    endpoint.script = [429] * 6
    handler = EndpointModelHandler(config(endpoint))
    pipeline = beam.Pipeline(runner=FnApiRunner())
    pipeline | beam.Create(requests(5)) | RunInference(handler)
    result = pipeline.run()
    result.wait_until_finish()
    (counter,) = result.metrics().query(
        beam.metrics.MetricsFilter().with_name("cumulativeThrottlingSeconds")
    )["counters"]
    assert counter.key.metric.namespace == metrics.NAMESPACE
    assert counter.committed >= 1


@pytest.mark.parametrize("runner", [{}, DATAFLOW], ids=["in process", "dataflow"])
def test_building_the_graph_contacts_nobody(runner: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it look for credentials: there are none here."""
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")
    endpoint = {"inference_mode": "endpoint", "endpoint": "12", "endpoint_location": "us-central1"}
    options = PipelineOptions(line(**{**DATAFLOW, **runner, **endpoint, "model_path": None, "runner": None}))

    def refuse(*_: object) -> None:
        pytest.fail("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    graph.build(beam.Pipeline(runner=FnApiRunner(), options=options), options)


def test_one_flag_switches() -> None:
    for mode, kind in (("local", LocalModelHandler), ("endpoint", EndpointModelHandler)):
        options = PipelineOptions(line(**{**ENDPOINT, "inference_mode": mode}))
        assert type(make_handler(job_options(options), options)) is kind
