"""The handler as Beam uses it: copied, set up, torn down, and run in a pipeline."""

from __future__ import annotations

import gc
import pickle
import time
from pathlib import Path

import apache_beam as beam
import numpy as np
import pytest
import torch
from apache_beam.ml.inference.base import RunInference, _RunInferenceDoFn
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that

from pipeline.engine.runner import StreamingRunner
from pipeline.inference.local.handler import LocalModelHandler
from pipeline.model.load import load
from pipeline.model.model import Model
from pipeline.model.swapping import loading
from pipeline.request.messages import Request, Result, Timeline
from tests.pipeline.job_options import local_job_options
from tests.pipeline.models import Sum


def requests(*firsts: float) -> list[Request]:
    return [
        Request(
            f"r{first:g}", np.array([first, 1, 1], np.float32), b"%g" % first, {"a": "b"}, b"{}", Timeline()
        )
        for first in firsts
    ]


@pytest.fixture
def handler(tmp_path: Path) -> LocalModelHandler:
    torch.save(Sum().state_dict(), tmp_path / "m.pt")
    options = local_job_options(
        "--input_shape=3",
        f"--model_path={tmp_path / 'm.pt'}",
        "--model_class=tests.pipeline.models:Sum",
        "--max_batch_size=4",
    )
    return LocalModelHandler(options, on_dataflow=False)


def test_in_a_pipeline(handler: LocalModelHandler) -> None:
    def check(answers: list[Result]) -> None:
        assert sorted((a.request.request_id, float(a.prediction)) for a in answers) == [
            (f"r{n}", n + 2.0) for n in range(10)
        ]
        assert max(a.batch_size for a in answers) <= 4

    with beam.Pipeline(runner=StreamingRunner(), options=PipelineOptions([])) as pipeline:
        answers = pipeline | beam.Create(requests(*range(10))) | RunInference(handler)
        assert_that(answers, check)


def test_the_model_is_loaded_once_for_all_copies(handler: LocalModelHandler) -> None:
    copy = pickle.loads(pickle.dumps(handler))
    assert handler.load_model() is copy.load_model()


def test_idleness_does_not_load_it_again(handler: LocalModelHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a minute without work a worker tears its DoFns down; the next bundle sets up fresh ones."""
    loads = []

    def counted(*args: object, **named: object) -> Model:
        loads.append(args)
        return load(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(loading, "load", counted)
    for _ in range(3):
        dofn = _RunInferenceDoFn(pickle.loads(pickle.dumps(handler)), time, None)
        dofn.setup()
        (answer,) = dofn.process(requests(1), None, None)
        assert float(answer.prediction) == 3
        dofn.teardown()
        del dofn
        gc.collect()
    assert len(loads) == 1


def test_bytes_are_those_of_the_bodies(handler: LocalModelHandler) -> None:
    assert handler.get_num_bytes(requests(1, 22, 333)) == 6
