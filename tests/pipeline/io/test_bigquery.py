"""Results as rows: against the committed schema, through Beam's own inserts, and in the staged graph."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator, Mapping
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from apache_beam.testing.util import assert_that

import pipeline.io.bigquery
from benchmarks.harness.staging import staged
from pipeline.engine.runner import StreamingRunner
from pipeline.io.bigquery import WriteToTable, row
from pipeline.io.native import Serialize
from pipeline.pubsub.protos import PubsubMessage
from pipeline.request.messages import Request, Result, Timeline
from pipeline.request.wire_format import WireMessage, encode
from tests.integration.google_token import TokenServer
from tests.loopback import QuietHandler, serving
from tests.pipeline.job.test_command_line import ENDPOINT, line

TABLE = "my-project:predictions.results"
SCHEMA = json.loads((Path(pipeline.io.bigquery.__file__).parent / "bigquery_schema.json").read_text())
# What insertAll takes for a column of a type: JSON as text, timestamps as epoch seconds.
TYPES: Mapping[str, Any] = {
    "STRING": str,
    "JSON": str,
    "INTEGER": int,
    "FLOAT": (int, float),
    "TIMESTAMP": (int, float),
    "RECORD": dict,
}


def message(request_id: str = "r1", **times: float) -> WireMessage:
    request = Request(request_id, {}, b"{}", {}, b'{"customer": "acme"}', Timeline(received=1.5, **times))
    return encode(Result(request, {"score": np.float32(0.25)}, "model.pt2@1", 8), 2.5)


def check(values: Mapping[str, Any], columns: list[dict[str, Any]]) -> None:
    """Apply the rules of BigQuery: no unknown column, none missing that is required, each of its type."""
    assert set(values) == {column["name"] for column in columns}
    for column in columns:
        value = values[column["name"]]
        if value is None:
            assert column["mode"] == "NULLABLE", column["name"]
            continue
        assert isinstance(value, TYPES[column["type"]]), column["name"]
        if column["type"] == "JSON":
            json.loads(value)
        if column["type"] == "RECORD":
            check(value, column["fields"])


@pytest.mark.parametrize(
    "times",
    [
        {},
        {"published": 1.0, "batched": 1.6, "inference_start": 1.6, "inference_end": 2.0, "server_ms": 3.0},
    ],
    ids=["nothing known", "all known"],
)
def test_row_and_schema(times: dict[str, float]) -> None:
    check(row(message("r1", **times).data), SCHEMA)


def test_a_row_is_the_result() -> None:
    result = json.loads(message().data)
    values = row(message().data)
    assert values["emitted"] == result["timing"].pop("emitted") == 2.5
    for name in ("prediction", "passthrough"):
        values[name] = json.loads(values[name])
    assert values == {**result, "emitted": 2.5}


def test_a_row_costs_what_its_result_does() -> None:
    nested = b'{"x": [%s0], "y": %s}' % (b"[]," * 300_000, b"[" * 98 + b"]" * 98)
    request = Request("r1", {}, b"{}", {}, nested, Timeline(received=1.5))
    wire = encode(Result(request, json.loads("[" * 250 + "]" * 250), "model.pt2@1", 8), 2.5)
    tracemalloc.start()
    values = row(wire.data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * len(nested)
    assert values["passthrough"] == nested.decode()
    assert values["prediction"] == "[" * 250 + "]" * 250


class Table:
    """BigQuery's insertAll for one table on loopback. Rows whose id is in `refused` are, with its reason."""

    def __init__(self) -> None:
        self.refused: dict[str, str] = {}
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((path, body))
        errors = []
        for index, entry in enumerate(body["rows"]):
            reason = self.refused.get(entry["json"]["request_id"])
            if reason == "backendError":
                # Trouble that passes.
                del self.refused[entry["json"]["request_id"]]
            if reason is not None:
                error = {"reason": reason, "location": "batch_size", "message": "no such field"}
                errors.append({"index": index, "errors": [error]})
        return {"insertErrors": errors}

    def inserted(self) -> list[str]:
        return [entry["json"]["request_id"] for _, body in self.calls for entry in body["rows"]]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    table = Table()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps(table.answer(self.path, body)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with TokenServer() as tokens, serving(server):
        tokens.write_key(tmp_path / "key.json")
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{server.server_address[1]}")
        yield table


def test_refused_rows_become_dead_letters(table: Table) -> None:
    table.refused = {"r1": "invalid", "r3": "backendError"}

    def is_the_letter(letters: list[bytes]) -> None:
        (letter,) = map(PubsubMessage.FromString, letters)
        assert json.loads(letter.data) == row(message("r1").data)
        assert letter.attributes == {
            "error_stage": "write",
            "error_type": "WriteError",
            "error_message": f"{TABLE} refused the row: batch_size: no such field",
            "request_id": "r1",
            "failed_at": "7.000000",
        }

    pack = Serialize("projects/my-project/topics/dead-letters")
    with beam.Pipeline(runner=StreamingRunner()) as job:
        results = job | beam.Create(pack([message("r1"), message("r2"), message("r3")]))
        assert_that(results | WriteToTable(TABLE, pack, clock=lambda: 7.0), is_the_letter)

    assert {path.partition("?")[0] for path, _ in table.calls} == {
        "/bigquery/v2/projects/my-project/datasets/predictions/tables/results/insertAll"
    }
    inserted = table.inserted()
    # What passes is tried again, what does not is not worth it. (A retry sends all refused rows of a call.)
    assert inserted.count("r2") == 1
    assert inserted.count("r3") == 2
    rows = [entry["json"] for _, body in table.calls for entry in body["rows"]]
    assert row(message("r2").data) in rows


def test_the_staged_graph(tmp_path: Path) -> None:
    without = staged(tmp_path / "without", line(**ENDPOINT)).leaves
    job = staged(tmp_path / "with", line(**ENDPOINT, output_table=TABLE))
    added = set(job.leaves) - set(without)
    assert set(without) <= set(job.leaves)
    assert {name for name in added if not name.startswith("Write rows/Insert/")} == {
        "Write rows/Row",
        "Write rows/Refuse",
        "Write refused rows/ParDo(_PubSubWriteDoFn)",
    }
    # Still one environment, without hints: two would be two images, or two kinds of workers.
    (environment_id,) = set(job.leaves.values())
    assert not job.proto.components.environments[environment_id].resource_hints
