"""What came back: the first answer of each request, and a line on disk for each delivery.

An answer is a result or a dead letter. A delivery is one arrival of an answer; Pub/Sub may deliver one again.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from loadtest.auc import Scores
from loadtest.json_fields import result_fields
from loadtest.raw_log import REPORTED
from loadtest.reasons import Reasons
from loadtest.run_folder import DEAD_LETTERS, RESULTS, new_file
from pipeline.request.errors import DecodeError

AnswerKind = Literal["result", "dead_letter"]

_FILE_BUFFER_BYTES = 1 << 18


class Answers:
    """The account of every delivery of a run. One thread calls `add`; any thread may read the counts.

    Attributes:
        intended: [n] epoch seconds at which each request was due, by sequence.
        result_at: [n] epoch seconds at which the first result of each request was collected; NaN without one.
        dead_letter_at: [n] the same for its first dead letter.
        stages_ms: [n, 4] stage times of each request's first result in milliseconds, columns as in REPORTED;
            NaN where null or absent.
        batch_size: [n] the same for how many requests shared its model call.
        delivered: [n] deliveries of each request, int64.
        received: Distinct requests with a result.
        dead_lettered: Distinct requests with a dead letter.
        answered: Distinct requests with either.
        deliveries: Of this run; the probe's are not counted.
        foreign: Deliveries of other runs, or without a request id that any run could have given.
        unreadable: Results that are not a JSON object, or nested deeper than any that the job writes.
        reasons: Of the first dead letter of each request.
        probe_answered: Set when the probe has a result or a dead letter.
    """

    def __init__(self, run_id: str, intended: NDArray[np.float64], scores: Scores, out: Path) -> None:
        """Open the two files.

        Args:
            run_id: Prefix of this run's request ids (RUN-sequence, and RUN-probe).
            intended: See the attribute.
            scores: Receives prediction, label and identity of each result.
            out: Existing folder for results.jsonl and dead_letters.jsonl, both overwritten.
        """
        self._prefix = f"{run_id}-"
        self._probe_id = f"{run_id}-probe"
        self.intended = intended
        self._scores = scores
        self._files = {
            "result": new_file(out / RESULTS, _FILE_BUFFER_BYTES),
            "dead_letter": new_file(out / DEAD_LETTERS, _FILE_BUFFER_BYTES),
        }
        self.result_at = np.full(len(intended), np.nan)
        self.dead_letter_at = np.full(len(intended), np.nan)
        self.stages_ms = np.full((len(intended), len(REPORTED)), np.nan)
        self.batch_size = np.full(len(intended), np.nan)
        self.delivered = np.zeros(len(intended), dtype=np.int64)
        self.received = self.dead_lettered = self.answered = 0
        self.deliveries = 0
        self.foreign = 0
        self.unreadable = 0
        self.reasons = Reasons()
        self.probe_answered = threading.Event()

    def __enter__(self) -> Answers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files.values():
            file.close()

    @property
    def duplicates(self) -> int:
        """Deliveries beyond the first of each request; a dead letter after a result is one, too."""
        return self.deliveries - self.answered

    def add(self, kind: AnswerKind, collected: float, deliveries: Sequence[Any]) -> list[str]:
        """Account for raw ReceivedMessages that arrived at `collected`; return the ack ids of this run's."""
        own = []
        for delivery in deliveries:
            message = delivery.message
            # .get: indexing a protobuf map creates the key.
            request_id = message.attributes.get("request_id", "")
            if not request_id.startswith(self._prefix):
                self.foreign += 1
            elif request_id == self._probe_id:
                self.probe_answered.set()
                own.append(delivery.ack_id)
            else:
                sequence = self._sequence(request_id)
                if sequence is None:
                    self.foreign += 1
                    continue
                own.append(delivery.ack_id)
                self._add_own(kind, sequence, collected, message)
        return own

    def _sequence(self, request_id: str) -> int | None:
        text = request_id[len(self._prefix) :]
        if not (text.isascii() and text.isdecimal()) or len(text) > 12:
            return None
        sequence = int(text)
        return sequence if sequence < len(self.intended) else None

    def _add_own(self, kind: AnswerKind, sequence: int, collected: float, message: Any) -> None:
        has_result = self.result_at[sequence] == self.result_at[sequence]  # NaN is unequal to itself
        has_dead_letter = self.dead_letter_at[sequence] == self.dead_letter_at[sequence]
        duplicate = bool(has_result or has_dead_letter)
        self.deliveries += 1
        self.delivered[sequence] += 1
        if kind == "result":
            line = self._result(sequence, collected, duplicate, message.data, first=not has_result)
            if not has_result:
                self.result_at[sequence] = collected
                self.received += 1
        else:
            line = _dead_letter(sequence, collected, duplicate, message)
            if not has_dead_letter:
                self.dead_letter_at[sequence] = collected
                self.dead_lettered += 1
                self.reasons.add(message.attributes)
        self._files[kind].write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        if not duplicate:
            self.answered += 1

    def _result(
        self, sequence: int, collected: float, duplicate: bool, data: bytes, *, first: bool
    ) -> dict[str, object]:
        try:
            result = result_fields(data)
        except DecodeError:
            self.unreadable += 1
            text = None
        else:
            # As it came, on one line: a line end within JSON is a space.
            text = orjson.Fragment(data.replace(b"\n", b" ").replace(b"\r", b" "))
            self._scores.add(sequence, result)
            if first:
                self._keep(sequence, result)
        return {
            "sequence": sequence,
            "collected": collected,
            "latency_ms": (collected - float(self.intended[sequence])) * 1e3,
            "duplicate": duplicate,
            "result": text,
        }

    def _keep(self, sequence: int, result: dict[str, object]) -> None:
        latency = result.get("latency_ms")
        if isinstance(latency, dict):
            for column, stage in enumerate(REPORTED):
                value = latency.get(stage)
                if isinstance(value, int | float):
                    self.stages_ms[sequence, column] = value
        batch_size = result.get("batch_size")
        if isinstance(batch_size, int | float):
            self.batch_size[sequence] = batch_size

    def flush(self) -> None:
        """Write what is buffered to the files, so that they can be followed during the run."""
        for file in self._files.values():
            file.flush()


def _dead_letter(sequence: int, collected: float, duplicate: bool, message: Any) -> dict[str, object]:
    try:
        text = message.data.decode()
    except UnicodeDecodeError:
        text = None
    return {
        "sequence": sequence,
        "collected": collected,
        "duplicate": duplicate,
        "attributes": dict(message.attributes),
        "data": text,
        "data_base64": base64.b64encode(message.data).decode("ascii"),
    }
