"""A recorded trace: when the requests of a real system came, to be sent again at the same distances.

The file has a line for each request, in any order: a number of seconds, or a JSON object with the time in a
field. Seconds may count from anywhere; the earliest request is sent first, at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import orjson

from loadtest.schedule.curve import Floats

# Fields of a JSON line, the first that is there counts, and their unit in seconds. Cloud Logging exports have
# `timestamp` as RFC 3339 text; traces of inference servers often have milliseconds.
FIELDS = (("timestamp", 1.0), ("time", 1.0), ("timestamp_ms", 1e-3))

MAX_LISTED = 5  # bad lines named one by one; the rest are counted


class TraceError(Exception):
    """The file cannot be replayed.

    Attributes:
        problems: One sentence for each reason.
    """

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, eq=False)
class Trace:
    """When requests came.

    Attributes:
        offsets: [n] seconds after the earliest, ascending from 0.
    """

    offsets: Floats = field(default_factory=lambda: np.empty(0))

    @property
    def duration(self) -> float:
        """Seconds that it covers: to its last request, and a mean gap more; 1 where there is no gap."""
        last = float(self.offsets[-1]) if len(self.offsets) else 0.0
        return last * len(self.offsets) / (len(self.offsets) - 1) if last else 1.0

    @property
    def rate(self) -> float:
        """Its mean, in requests a second."""
        return len(self.offsets) / self.duration


NO_TRACE = Trace()


def read_trace(path: Path) -> Trace:
    """Read the times of a trace; blank lines are skipped.

    Raises:
        TraceError: The file is unreadable or empty, or a line holds no time.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TraceError(
            [f"cannot read {path} ({error.strerror}); give a file with a time on each line"]
        ) from error
    times, problems = [], []
    for number, line in enumerate(content.split(b"\n"), start=1):
        text = line.strip()
        if not text:
            continue
        try:
            times.append(_seconds(text))
        except ValueError as error:
            problems.append(f"line {number} of {path}: {error}")
    if len(problems) > MAX_LISTED:
        problems[MAX_LISTED:] = [f"{len(problems) - MAX_LISTED:,} more lines of {path} hold no time either"]
    if not problems and not times:
        problems.append(f"{path} holds no time; put one on each line")
    if problems:
        raise TraceError(problems)
    ascending = np.sort(np.array(times, dtype=np.float64))
    return Trace(ascending - ascending[0])


def _seconds(text: bytes) -> float:
    """Return the time on a line.

    Raises:
        ValueError: It holds none.
    """
    wanted = "write a number of seconds, or a JSON object with timestamp, time or timestamp_ms"
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError(f"it is neither a number nor JSON; {wanted}") from None
    unit = 1.0
    if isinstance(value, dict):
        name, unit = next((each for each in FIELDS if each[0] in value), ("", 1.0))
        value = value.get(name)
        if isinstance(value, str):
            return _epoch_seconds(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"it holds no time; {wanted}")
    return value * unit


def _epoch_seconds(text: str) -> float:
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise ValueError(
            f"{text[:40]!r} is no time; write it as 2026-01-31T12:00:00.5Z, or a number of seconds"
        ) from None
