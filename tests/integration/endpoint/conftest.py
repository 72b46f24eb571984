"""A real container of `python -m serving`, a front that makes the faults before it, and jobs that call it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.pubsub_v1.types import PubsubMessage

from broker import EmbeddedBroker
from loadtest.summary import Summary
from local.topics import Topics
from pipeline.model.load import load
from pipeline.request.input_spec import InputSpec
from tests.integration.conftest import MODEL, RECORDS, Pipeline
from tests.integration.faulty_endpoint import FaultyEndpoint
from tests.serving.container import Serving

Start = Callable[..., Pipeline]
Drive = Callable[..., Summary]
Result = dict[str, Any]  # as its JSON says

FEATURES = 30


@contextmanager
def serving(log: Path, port: str = "0") -> Iterator[Serving]:
    """Start a container with the example's model and wait until it is ready."""
    variables = {"AIP_HTTP_PORT": port, "AIP_STORAGE_URI": str(MODEL)}
    container = Serving(log, ("--workers=1", "--drain_s=0.5"), variables)
    try:
        yield container.ready()
    finally:
        container.close()


@pytest.fixture(scope="package")
def container(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("serving") / "serving.log") as container:
        yield container


@pytest.fixture
def front(container: Serving) -> Iterator[FaultyEndpoint]:
    host, _, port = container.address.partition(":")
    # Held for a while, calls carry more than one instance, so that a row could be shifted.
    with FaultyEndpoint(host, int(port), FEATURES, delay_s=0.02) as front:
        yield front


@pytest.fixture
def start_job(start: Start, front: FaultyEndpoint) -> Start:
    """Return a function that starts a job that calls the front."""
    return partial(start, "--inference_mode=endpoint", f"--endpoint_url={front.url}/predict")


@pytest.fixture(scope="package")
def predictions() -> dict[int, float]:
    """Return the model's own answer to each record, by record_id."""
    model = load(str(MODEL), InputSpec.parse(str(FEATURES)), max_batch_size=355)
    records = [json.loads(line) for line in RECORDS.read_bytes().splitlines()]
    rows = model.predict([np.array(record["features"], np.float32) for record in records])
    return {record["record_id"]: float(row) for record, row in zip(records, rows, strict=True)}


def assert_own_answers(results: Iterable[Result], predictions: dict[int, float]) -> None:
    """Assert that each result holds the model's answer to its own record."""
    for result in results:
        record_id = result["passthrough"]["record_id"]
        assert result["prediction"] == pytest.approx(predictions[record_id], rel=1e-4), record_id


def driven(out: Path) -> list[Result]:
    """Return the results of a run of the load driver."""
    return [json.loads(line)["result"] for line in (out / "results.jsonl").read_text().splitlines()]


def bodies(messages: list[PubsubMessage]) -> list[Result]:
    return [json.loads(message.data) for message in messages]


def lines_with(text: str, log: str) -> list[str]:
    return [line for line in log.splitlines() if text in line]


def assert_given_back(embedded: EmbeddedBroker, topics: Topics, count: int) -> None:
    """Assert that all messages are in the subscription again and none has become a dead letter."""
    stats = embedded.stats(topics.input_subscription)
    assert (stats.backlog, stats.outstanding) == (count, 0)
    assert embedded.stats(topics.dead_letter_subscription).backlog == 0
