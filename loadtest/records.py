"""The input file: one JSON object a line, sent as it stands, over and over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest.json_fields import record_fields
from pipeline.pubsub.limits import MAX_PUBLISH_BYTES
from pipeline.request.errors import DecodeError
from pipeline.request.json_text import NotAnObjectError

MAX_LISTED = 5  # bad lines named one by one; the rest are counted
MAX_BODY_BYTES = MAX_PUBLISH_BYTES - 500_000  # for attributes and framing


class RecordsError(Exception):
    """The input file cannot be used.

    Attributes:
        problems: One sentence for each reason.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True)
class Records:
    """The records of an input file, in file order; the lists are parallel.

    Attributes:
        bodies: Each line as it stands in the file, without its line end.
        ids: Its `record_id`; None where it has none.
        labels: Its `label`; None where it has none.
    """

    bodies: list[bytes]
    ids: list[object]
    labels: list[object]

    def __len__(self) -> int:
        return len(self.bodies)

    def shuffled(self, seed: int) -> Records:
        """Return them in an order drawn from NumPy's default generator."""
        order = np.random.default_rng(seed).permutation(len(self))
        return Records(*([column[i] for i in order] for column in (self.bodies, self.ids, self.labels)))


def read_records(path: Path) -> Records:
    """Read a JSON Lines file; blank lines are skipped.

    Raises:
        RecordsError: The file is unreadable or empty, or a line is not a JSON object or too large.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordsError([f"cannot read {path} ({error.strerror}); give a JSON Lines file"]) from error
    records, problems = Records([], [], []), []
    for number, line in enumerate(content.split(b"\n"), start=1):
        body = line.strip()
        if not body:
            continue
        try:
            record = record_fields(body)
        except NotAnObjectError:
            problems.append(f"line {number} of {path} is not a JSON object; write {{...}} on each line")
            continue
        except DecodeError as error:
            problems.append(f"line {number} of {path}: {error}; mend or remove it")
            continue
        if len(body) > MAX_BODY_BYTES:
            problems.append(
                f"line {number} of {path} has {len(body):,} bytes; Pub/Sub takes {MAX_BODY_BYTES:,}"
            )
        else:
            records.bodies.append(body)
            records.ids.append(record.get("record_id"))
            records.labels.append(record.get("label"))
    if len(problems) > MAX_LISTED:
        problems[MAX_LISTED:] = [f"{len(problems) - MAX_LISTED:,} more lines of {path} are unusable as well"]
    if not problems and not records.bodies:
        problems.append(f"{path} holds no record; put one JSON object on each line")
    if problems:
        raise RecordsError(problems)
    return records
