"""Results as rows of a BigQuery table. On Dataflow only: the inserts shuffle, which ends a fused stage."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.io.gcp.bigquery import BigQueryDisposition, WriteToBigQuery
from apache_beam.io.gcp.bigquery_tools import RetryStrategy

from pipeline import metrics
from pipeline.io.connectors import Packer
from pipeline.pubsub.protos import PubsubMessage
from pipeline.request import wire_format
from pipeline.request.errors import WriteError
from pipeline.request.json_text import MAX_WRITTEN_DEPTH, raw_fields
from pipeline.request.messages import DeadLetter


def row(data: bytes) -> dict[str, Any]:
    """Return the row of a result's data, with the columns of bigquery_schema.json.

    They are the result's own fields, but for `emitted`, which is beside `timing` because tables can be
    partitioned by outer columns only. Columns of type JSON take their values as JSON text.
    """
    columns: dict[str, Any] = {}
    for name, value in raw_fields(data, MAX_WRITTEN_DEPTH).items():
        text = bytes(value)
        # As text they stay what they cost, however many lists they hold.
        columns[name] = text.decode() if name in ("prediction", "passthrough") else orjson.loads(text)
    columns["emitted"] = columns["timing"].pop("emitted")
    return columns


def row_of_message(serialized: bytes) -> dict[str, Any]:
    """Return the row of a result's serialized PubsubMessage."""
    return row(PubsubMessage.FromString(serialized).data)


class WriteToTable(beam.PTransform):
    """Inserts serialized result messages as rows; what comes out are dead letters of the refused ones.

    Inserts that fail by transient errors are tried again, with pauses, before the bundle ends.
    """

    def __init__(
        self,
        table: str,
        pack: Packer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._table = table
        self._pack = pack
        self._clock = clock

    def expand(self, results: beam.PCollection[bytes]) -> beam.PCollection[Any]:
        """Insert `results`, and return the dead letters of the refused ones."""
        written = (
            results
            | "Row" >> beam.Map(row_of_message)
            | "Insert"
            >> WriteToBigQuery(
                self._table,
                method=WriteToBigQuery.Method.STREAMING_INSERTS,
                insert_retry_strategy=RetryStrategy.RETRY_ON_TRANSIENT_ERROR,
                # A table that the job created would not be partitioned, might have a misspelt name, and would
                # take inserts only minutes later. The job's account also needs fewer permissions.
                create_disposition=BigQueryDisposition.CREATE_NEVER,
            )
        )
        return written.failed_rows_with_errors | "Refuse" >> beam.ParDo(_Refuse(self._pack, self._clock))


class _Refuse(beam.DoFn):
    """What WriteToBigQuery reports of a refused row, to the dead letter that holds the row as JSON."""

    def __init__(self, pack: Packer, clock: Callable[[], float]) -> None:
        self._pack = pack
        self._clock = clock

    def process(self, element: tuple[str, dict[str, Any], Any]) -> Sequence[Any]:
        table, refused, errors = element
        metrics.count_dead_letter(WriteError.stage)
        error = WriteError(f"{table} refused the row: {_reason(errors)}", refused["request_id"])
        letter = DeadLetter.of(error, orjson.dumps(refused), {}, self._clock())
        return self._pack([wire_format.encode_dead_letter(letter)])


def _reason(errors: str | list[dict[str, str]]) -> str:
    # A text where Beam itself finds the row too large; else BigQuery's own list, with a column in `location`.
    if isinstance(errors, str):
        return errors
    return "; ".join(
        ": ".join(text for text in (error.get("location"), error["message"]) if text) for error in errors
    )
