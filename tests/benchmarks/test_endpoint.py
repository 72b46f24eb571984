"""The server does what it claims, and what is measured is the right thing."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import orjson
import pytest
from google.cloud.aiplatform_v1.types import PredictRequest, PredictResponse
from google.protobuf import json_format

from benchmarks.endpoint.__main__ import TABLES, parse
from benchmarks.endpoint.measures import Refusal, cost_of_a_refusal, some_rows, throughput
from benchmarks.endpoint.process import EndpointProcess, endpoint_server
from benchmarks.endpoint.server import (
    DEDICATED,
    LOCATION,
    PROJECT,
    SHARED,
    Capacity,
    Counts,
    FullError,
    ServerConfig,
)
from benchmarks.endpoint.sides import (
    OURS,
    OURS_JSON,
    OURS_RAW,
    STOCK_DEDICATED,
    STOCK_SHARED,
    Side,
    Sides,
)
from benchmarks.harness import cli
from benchmarks.harness.models import WrongAnswerError
from tests.benchmarks.conftest import UsageError
from tests.waiting import LIMIT_S

HOUR = 3600.0


@pytest.fixture(scope="module")
def process() -> Iterator[EndpointProcess]:
    with endpoint_server() as running:
        yield running


@pytest.fixture
def server(process: EndpointProcess) -> EndpointProcess:
    process.configure(ServerConfig(width=3))
    return process


@pytest.fixture
def sides(server: EndpointProcess) -> Iterator[Sides]:
    with Sides(server) as opened:
        yield opened


def url(server: EndpointProcess, method: str = "", endpoint: str = SHARED) -> str:
    name = f"projects/{PROJECT}/locations/{LOCATION}/endpoints/{endpoint}"
    return f"http://{server.http}/v1/{name}{method}"


def post(server: EndpointProcess, method: str, body: bytes) -> tuple[bytes, str]:
    """Return the answer's body and content type."""
    with urllib.request.urlopen(urllib.request.Request(url(server, method), body), timeout=LIMIT_S) as answer:
        return answer.read(), answer.headers["Content-Type"]


def test_so_many_calls_are_served_at_once_and_the_others_queue() -> None:
    async def check() -> None:
        capacity = Capacity(ServerConfig(HOUR, concurrency=32))
        calls = [asyncio.create_task(capacity.serve(10)) for _ in range(40)]
        for _ in range(100):
            await asyncio.sleep(0)
        assert capacity.counts == Counts(in_flight_peak=40, serving_peak=32)
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    asyncio.run(check())


def test_those_that_queue_are_served_too() -> None:
    async def check() -> None:
        capacity = Capacity(ServerConfig(concurrency=2))
        await asyncio.gather(*(capacity.serve(10) for _ in range(7)))
        assert capacity.counts == Counts(served=7, instances=70, in_flight_peak=7, serving_peak=2)

    asyncio.run(check())


def test_the_first_calls_are_refused_if_so_configured() -> None:
    async def check() -> None:
        capacity = Capacity(ServerConfig(refusals=2))
        for _ in range(2):
            with pytest.raises(FullError):
                await capacity.serve(1)
        await capacity.serve(1)
        assert (capacity.counts.refused, capacity.counts.served) == (2, 1)

    asyncio.run(check())


def test_http_echoes_rows_in_order_and_counts(server: EndpointProcess) -> None:
    instances = [[1.5, 2, 3], [4, 5, 6.25]]
    body, content_type = post(server, ":predict", orjson.dumps({"instances": instances}))
    assert orjson.loads(body)["predictions"] == instances
    assert content_type.startswith("application/json")
    rows = np.array(instances, "<f4")
    body, content_type = post(server, ":rawPredict", rows.tobytes())
    assert body == rows.tobytes()
    assert content_type == "application/x-float32; shape=2x3"
    assert server.counts() == Counts(served=2, instances=4, in_flight_peak=1, serving_peak=1)


def test_grpc_echoes_rows_in_order_and_counts(server: EndpointProcess) -> None:
    instances = [[1.5, 2.0], [3.0, 4.0]]
    request = json_format.ParseDict({"instances": instances}, PredictRequest.pb()())
    with grpc.insecure_channel(server.grpc) as channel:
        predict = channel.unary_unary(
            "/google.cloud.aiplatform.v1.PredictionService/Predict",
            request_serializer=PredictRequest.pb().SerializeToString,
            response_deserializer=PredictResponse.pb().FromString,
        )
        answer = predict(request, timeout=LIMIT_S)
        assert [json_format.MessageToDict(each) for each in answer.predictions] == instances
        assert server.counts().instances == 2
        server.configure(ServerConfig(refusals=1))
        with pytest.raises(grpc.RpcError) as refused:
            predict(request, timeout=LIMIT_S)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("method", [":predict", ":rawPredict"])
def test_http_refuses_once_and_then_serves(server: EndpointProcess, method: str) -> None:
    body = b'{"instances":[[1,2,3]]}'
    server.configure(ServerConfig(refusals=1))
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(server, method, body)
    assert refused.value.code == 429
    assert orjson.loads(refused.value.read())["error"]["status"] == "RESOURCE_EXHAUSTED"
    post(server, method, body)
    assert (server.counts().refused, server.counts().served) == (1, 1)


def test_the_two_kinds_of_endpoint(server: EndpointProcess) -> None:
    described = [
        orjson.loads(urllib.request.urlopen(url(server, endpoint=endpoint), timeout=LIMIT_S).read())
        for endpoint in (SHARED, DEDICATED)
    ]
    assert [each["dedicatedEndpointEnabled"] for each in described] == [False, True]
    assert [each["dedicatedEndpointDns"] for each in described] == ["", server.http]


class Echo:
    """A model handler whose results are what `change` returns for its batches. Batches have `size`."""

    def __init__(self, change: Callable[[list[Any]], list[Any]] = list, size: int = 2) -> None:
        self.change = change
        self.size = size

    def batch_elements_kwargs(self) -> dict[str, int]:
        return {"min_batch_size": self.size, "max_batch_size": self.size}

    def run_inference(self, batch: list[Any], model: None) -> list[Any]:
        return self.change(list(batch))


def echo(handler: Any) -> Side:
    return Side("echo", handler, None, np.ndarray.tolist, lambda result: result)


def test_a_bundle_is_cut_into_the_batches_that_beam_would_make() -> None:
    assert echo(Echo(size=2)).batches([1, 2, 3, 4, 5]) == [[1, 2], [3, 4], [5]]
    assert echo(Echo(size=9)).batches([1, 2, 3]) == [[1, 2, 3]]


def test_batches_that_beam_would_size_by_measuring_are_refused() -> None:
    handler = Echo()
    handler.batch_elements_kwargs = lambda: {"min_batch_size": 1, "max_batch_size": 9}  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="not of a fixed size"):
        echo(handler).batches([1, 2, 3])


def test_answers_must_be_the_rows_own() -> None:
    rows = some_rows(6, 3)
    echo(Echo()).check(rows)
    for change in (lambda batch: batch[::-1], lambda batch: batch[:1]):
        with pytest.raises(WrongAnswerError):
            echo(Echo(change)).check(rows)


@pytest.mark.parametrize("title", OURS)
def test_ours_splits_a_bundle_into_calls_of_the_size_asked_for(
    sides: Sides, server: EndpointProcess, title: str
) -> None:
    sides.open(title, 10).check(some_rows(110, 3))
    counts = server.counts()
    assert (counts.served, counts.instances) == (11, 110)


def test_throughput_counts_as_the_server_does(sides: Sides, server: EndpointProcess) -> None:
    row = throughput(sides.open(OURS_JSON, 10), server, threads=2, seconds=0.01)
    # One bundle each, as a call takes longer than that. Those of the warm-up are not counted.
    assert (row.counts.served, row.counts.instances) == (20, 200)
    assert row.counts.in_flight_peak <= 20
    assert row.instances_per_s > 0


def test_the_cost_of_a_refusal_is_taken_from_calls_that_were_refused(
    sides: Sides, server: EndpointProcess
) -> None:
    row = cost_of_a_refusal(sides.open(OURS_JSON, 10), server, times=2)
    assert len(row.added_ms) == 2
    assert row.failed is None
    assert (server.counts().refused, server.counts().served) == (1, 1)


def test_a_side_that_does_not_retry_is_recorded(server: EndpointProcess) -> None:
    calls = []

    def fail_the_second_time(batch: list[Any]) -> list[Any]:
        calls.append(batch)
        if len(calls) == 3:  # after the check and the undisturbed call
            raise ValueError("Failed to make prediction request")
        return batch

    row = cost_of_a_refusal(echo(Echo(fail_the_second_time, size=10)), server, times=3)
    assert row == Refusal("echo", (), "ValueError: Failed to make prediction request")
    assert row.median_ms is None


def test_a_refusal_that_did_not_happen_is_no_measurement(server: EndpointProcess) -> None:
    with pytest.raises(RuntimeError, match="did not get to refuse"):
        cost_of_a_refusal(echo(Echo(size=10)), server, times=1)


def test_flags(tmp_path: Path) -> None:
    defaults = parse([])
    assert (defaults.out, defaults.tables) == (cli.FOLDER, TABLES)
    assert cli.FOLDER.is_dir()
    options = parse(
        [f"--out={tmp_path}", "--tables=refusal,cpu", "--seconds=0.5", "--rounds=1", "--batches=2"]
    )
    assert options.out == tmp_path
    assert (options.tables, options.seconds, options.rounds, options.batches) == (
        ("cpu", "refusal"),
        0.5,
        1,
        2,
    )


@pytest.mark.parametrize(
    "flag",
    [
        "--seconds=0",
        "--seconds=nan",
        "--seconds=inf",
        "--rounds=0",
        "--batches=0",
        "--tables=",
        "--tables=cpu,memory",
        "--out=/no/such/folder",
        "--round=3",
    ],
)
def test_wrong_flags_end_with_exit_code_2(flag: str, usage_error: UsageError) -> None:
    assert flag.split("=")[0] in usage_error(parse, flag)


@pytest.mark.slow
def test_a_short_run(tmp_path: Path) -> None:
    # A process of its own, because stock's SDK keeps its configuration for as long as the process lives.
    # Without the third table, in which stock waits for seconds.
    command = [sys.executable, "-m", "benchmarks.endpoint", f"--out={tmp_path}", "--tables=cpu,throughput"]
    run = subprocess.run(
        [*command, "--seconds=0.1", "--rounds=1", "--batches=1"],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert run.returncode == 0, run.stderr
    figures = orjson.loads((tmp_path / "endpoint.json").read_bytes())
    assert [row["title"] for row in figures["cpu"]] == [STOCK_SHARED, STOCK_DEDICATED, OURS_JSON, OURS_RAW]
    peaks = {(row["title"], row["threads"]): row["counts"] for row in figures["throughput"]}
    assert len(peaks) == 6
    for stock in (STOCK_SHARED, STOCK_DEDICATED):
        assert peaks[stock, 1]["in_flight_peak"] == 1
        assert 1 < peaks[stock, 12]["in_flight_peak"] <= 12
    assert 1 < peaks[OURS_JSON, 1]["in_flight_peak"] <= 10
    assert 12 < peaks[OURS_JSON, 12]["in_flight_peak"] <= 32
    # Calls of ten on all sides.
    assert all(counts["instances"] == 10 * counts["served"] for counts in peaks.values())
    text = (tmp_path / "endpoint.txt").read_text()
    assert "Throughput" in text
    assert "429" not in text
    assert str(tmp_path) not in text
    assert STOCK_SHARED in run.stdout
