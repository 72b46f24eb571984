"""What a run leaves behind: each message's times and each sample, from which all figures are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from loadtest.run_folder import MESSAGES as MESSAGES
from loadtest.run_folder import RUN as RUN
from loadtest.run_folder import SAMPLES as SAMPLES
from loadtest.run_folder import replace_file

# Fields of a result's `latency_ms` that follow one another, in milliseconds.
STAGES = ("queue", "batch_wait", "inference")

# All fields that are kept. `server`, the endpoint's own time, lies inside `inference`: it is no stage more.
REPORTED = (*STAGES, "server")

Floats = NDArray[np.float64]

Source = Literal["driver", "process", "broker", "Cloud Monitoring", "NVML", "dcgm-exporter"]
"""Who measured a series."""


class RawLogError(Exception):
    """A folder holds no whole raw log; the message says which file, and what to do."""


@dataclass(frozen=True)
class Series:
    """One quantity over time.

    Attributes:
        name: Such as "job/cpu_s" or "workers"; a part before a slash names the process or the resource.
        unit: Such as "s", "bytes", "1", "1/s".
        source: Who measured it.
        unavailable: Why it could not be read; empty where it was.
    """

    name: str
    unit: str
    source: Source
    unavailable: str = ""


@dataclass(frozen=True)
class Sample:
    """One value of a series.

    Attributes:
        at: Epoch seconds.
        series: Its name.
        value: In its unit. A counter, such as processor time, is cumulative.
    """

    at: float
    series: str
    value: float


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run beside its messages and samples.

    Attributes:
        run: Its id.
        system: What was loaded, such as {"kind": "local job", "flags": "--max_batch_size=32"}.
        schedule: The shape and its parameters, as the flags say them, such as "ramp 100:2000".
        arrivals_seed: Of the schedule.
        payloads_seed: Of the order of the requests; None where they were sent in the order of the file.
        started: Epoch seconds of the schedule's zero.
        duration: Seconds that the schedule covers, warm-up included.
        warmup: Seconds at its start that the user has set aside; the analysis may cut more.
        ended_at: Epoch seconds when collection ended: a missing answer has been waited for until then.
        partial: What ended the run early; None for a whole run.
        drivers: Driver processes.
        publish_calls: Publish calls that the driver made.
        publish_errors: Messages whose publishing failed for good.
        foreign: Deliveries that were not of this run.
        unreadable_results: Results that are not a JSON object.
        unacknowledged: Deliveries that could not be acknowledged.
        dead_letter_reasons: Why requests became dead letters, the commonest first, with their counts.
        versions: Of Python and of the packages that matter; None for one that is not installed.
        cpus: Processors that the driver may run on.
    """

    run: str
    system: Mapping[str, str]
    schedule: str
    arrivals_seed: int
    payloads_seed: int | None
    started: float
    duration: float
    warmup: float
    ended_at: float
    partial: str | None
    drivers: int
    publish_calls: int
    publish_errors: int
    foreign: int
    unreadable_results: int
    unacknowledged: int
    dead_letter_reasons: Mapping[str, int]
    versions: Mapping[str, str | None]
    cpus: int


@dataclass(frozen=True)
class Messages:
    """Each message of the schedule, by sequence; times are epoch seconds, NaN where there is none.

    Attributes:
        intended: [n] when it was due.
        sent_at: [n] when the call that carries it was written to the socket.
        result_at: [n] when its first result was collected.
        dead_letter_at: [n] when its first dead letter was collected.
        stages_ms: [n, 4] `REPORTED` of its first result, milliseconds.
        batch_size: [n] requests that shared its model call, of its first result.
        deliveries: [n] how many answers of it came, int64.
    """

    intended: Floats
    sent_at: Floats
    result_at: Floats
    dead_letter_at: Floats
    stages_ms: Floats
    batch_size: Floats
    deliveries: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.intended)


@dataclass(frozen=True)
class RawLog:
    """All of a run.

    Attributes:
        facts: Of the run.
        messages: Of its schedule.
        series: By name; what could not be read is here, too, with the reason.
        samples: In the order of their times.
    """

    facts: RunFacts
    messages: Messages
    series: Mapping[str, Series] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()

    def values(self, name: str) -> tuple[Floats, Floats]:
        """Return [m] times (epoch seconds) and [m] values of a series; empty where it has no sample."""
        chosen = [(sample.at, sample.value) for sample in self.samples if sample.series == name]
        pairs = np.array(chosen, dtype=np.float64).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def write(self, folder: Path) -> None:
        """Write the three files; the facts last, so that a folder with them has the others."""
        replace_file(folder / MESSAGES, _packed(self.messages))
        replace_file(folder / SAMPLES, b"".join(_lines(self.samples)))
        facts = asdict(self.facts) | {"series": [asdict(series) for series in self.series.values()]}
        replace_file(
            folder / RUN, orjson.dumps(facts, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        )

    @classmethod
    def read(cls, folder: Path) -> RawLog:
        """Read what `write` wrote.

        Raises:
            RawLogError: A file is missing, or is not one of ours.
        """
        try:
            facts = orjson.loads((folder / RUN).read_bytes())
            series = [Series(**one) for one in facts.pop("series")]
            samples = tuple(
                Sample(**orjson.loads(line)) for line in (folder / SAMPLES).read_bytes().splitlines()
            )
            with np.load(folder / MESSAGES, allow_pickle=False) as arrays:
                messages = Messages(**{name.name: arrays[name.name] for name in fields(Messages)})
            if not _fits(messages):
                raise ValueError("its arrays differ in length")
            return cls(RunFacts(**facts), messages, {one.name: one for one in series}, samples)
        except FileNotFoundError as error:
            raise RawLogError(
                f"{error.filename} is missing: give the folder of a run that has ended"
            ) from error
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise RawLogError(
                f"{folder} holds no raw log of this version ({error}): repeat the run"
            ) from error


def _packed(messages: Messages) -> bytes:
    packed = BytesIO()
    np.savez(packed, **asdict(messages))
    return packed.getvalue()


def _lines(samples: Iterable[Sample]) -> Iterable[bytes]:
    for sample in samples:
        yield orjson.dumps(asdict(sample), option=orjson.OPT_APPEND_NEWLINE)


def _fits(messages: Messages) -> bool:
    n = len(messages)
    one_dimensional = (
        messages.intended, messages.sent_at, messages.result_at, messages.dead_letter_at,
        messages.batch_size, messages.deliveries,
    )  # fmt: skip
    return all(array.shape == (n,) for array in one_dimensional) and messages.stages_ms.shape == (
        n,
        len(REPORTED),
    )
