"""profile.json: what it holds, written and read."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import msgspec
import orjson

from loadtest.run_folder import replace_file

PROFILE = "profile.json"
FORMAT = "streaming inference profile"
# Changes whenever a field changes its meaning, goes, or is added without a default.
VERSION = 1

Basis = Literal["measured", "assumed"]


class ProfileError(Exception):
    """A file is no profile; the message says which, why, and what to do."""


@dataclass(frozen=True)
class Quantity:
    """One figure.

    Attributes:
        value: In the unit.
        unit: Such as "ms".
        low: Lower end of its 95 % interval; None where there are too few samples for one.
        high: Upper end.
        n: Samples that it was made from.
    """

    value: float
    unit: str
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Point:
    """What was measured at one size.

    Attributes:
        size: Requests in a batch, or rows in a call; the mean where neighbouring sizes were taken together.
        ms: Median time, milliseconds.
        n: Samples.
    """

    size: float
    ms: float
    n: int


@dataclass(frozen=True)
class Law:
    """time = a + b x size.

    Attributes:
        a: Fixed part, milliseconds.
        b: Of each request or row, milliseconds.
        smallest: Size that was seen; below, the law is extrapolated.
        largest: Likewise; above.
        worst_residual: Largest (measured - law) / measured over the points, with its sign.
        ratio: Measured time over that of the law, at every sample: its "mean", "p50", "p90" and "p99".
        points: That the law was fitted to.
    """

    a: Quantity
    b: Quantity
    smallest: float
    largest: float
    worst_residual: float
    ratio: dict[str, float]
    points: list[Point]

    @property
    def not_told(self) -> list[str]:
        """Those of "a" and "b" that cannot be told from 0: their intervals hold it, or there is none."""
        return [name for name, one in (("a", self.a), ("b", self.b)) if one.low is None or one.low <= 0]

    def ms(self, size: float) -> float:
        """Return the time of a size, milliseconds."""
        return self.a.value + self.b.value * size


@dataclass(frozen=True)
class Level:
    """One rate at which the job was run.

    Attributes:
        offered: Messages a second.
        answered: Messages a second, up to the last answer: what it carries where it does not keep up.
        kept_up: Whether 99 % of what was offered was answered in its time.
        valid: Whether the driver kept its schedule: otherwise the latencies are its own in part.
        batch_size: Requests in a batch, mean over batches.
        latency_ms: Its "p50" and "p99", from when a message was due.
        stages_ms: Mean of "queue", "batch_wait", "inference" and "rest".
        processor_ms: Processor time of a message in each process, milliseconds: "job", "broker", "driver"
            and, in endpoint mode, "container".
        service_ratio: Time of a call over that of the service law, median: above 1 where calls have pauses
            between them. None where no call is known.
    """

    offered: float
    answered: float
    kept_up: bool
    valid: bool
    batch_size: float
    latency_ms: dict[str, float]
    stages_ms: dict[str, float]
    processor_ms: dict[str, float]
    service_ratio: float | None = None


@dataclass(frozen=True)
class JobProfile:
    """Of a job, one process of it.

    Attributes:
        mode: "local" (the model is in the job) or "endpoint".
        flags: Of the job, as one could type them.
        service: Time of a call of the model, or of the endpoint as the job sees it, by batch size. The sizes
            are set by flags, each in a job of its own that goes through a backlog, one call at a time; where
            that could not be done, they are those of the rates, and `notes` says why.
        decode: Time between the beginning of decoding and the call, by (batch size + 1) / 2: `b` is what the
            decoding of a request takes, `a` what a batch is handed over in. None in endpoint mode, where
            waiting for a place among the calls is in it.
        rest: Time of the bundle thread between a call's end and the next batch's decoding, by batch size:
            encoding, publishing, committing, reading. From calls that follow one another without a pause, as
            means over up to ten; None where there were too few, or in endpoint mode.
        processor: Processor time of the job by batch size: `a` of each batch, `b` of each request, without
            what it uses while nothing comes.
        idle_cores: Processor time of the job while nothing comes, in cores.
        levels: Each rate, ascending.
        notes: By the name of a figure: why it is None, or what to doubt of it.
    """

    mode: Literal["local", "endpoint"]
    flags: str
    service: Law
    decode: Law | None
    rest: Law | None
    processor: Law | None
    idle_cores: Quantity | None
    levels: list[Level]
    notes: dict[str, str]


@dataclass(frozen=True)
class CallsAtOnce:
    """What an endpoint does with so many callers, each with its next call after its last (a closed loop).

    Attributes:
        at_once: Calls.
        rows: Of each.
        rate: Calls a second.
        p50_ms: Median time of a call.
        processor_ms: Processor time of the container for a call; None where it is not on this machine.
        driver_limited: Whether the driver had its core full, so that the endpoint may take more.
    """

    at_once: int
    rows: int
    rate: float
    p50_ms: float
    processor_ms: float | None
    driver_limited: bool


@dataclass(frozen=True)
class EndpointProfile:
    """Of an endpoint, one replica of it.

    Attributes:
        url: That was called; of a container that was started for this, "container".
        protocol: Of the calls.
        flags: Of the container, as one could type them; empty for an endpoint that was there.
        service: Time of a call to an idle endpoint, one at a time, by its rows; the way there is in it.
        connect_ms: A new connection.
        overhead_ms: Of a call of the fewest rows, what lies outside the server's own time (`server_ms`); None
            where it reports none.
        processor: Processor time of the container by rows, from full load; None where it is not on this
            machine.
        at_once: Contention: how time and rate go with calls at once.
        notes: By the name of a figure: why it is None, or what to doubt of it.
    """

    url: str
    protocol: str
    flags: str
    service: Law
    connect_ms: Quantity | None
    overhead_ms: Quantity | None
    processor: Law | None
    at_once: list[CallsAtOnce]
    notes: dict[str, str]


@dataclass(frozen=True)
class Machine:
    """Where it was measured.

    Attributes:
        cpu: Model of the processor.
        cores: That all processes shared: job, broker, container and driver.
        versions: Of Python and of the packages that matter; None for one that is not installed.
    """

    cpu: str
    cores: int
    versions: dict[str, str | None]


@dataclass(frozen=True)
class Profile:
    """All of it.

    Attributes:
        format: `FORMAT`.
        version: `VERSION`.
        basis: "measured"; "assumed" of one that was written by hand.
        measured_at: Date and time, ISO 8601, UTC.
        machine: Where.
        job: None where only an endpoint was measured.
        endpoint: None where the model is in the job.
        partial: What ended the measurement early; None of a whole one. What had not come to its end by then
            is left out.
    """

    format: str
    version: int
    basis: Basis
    measured_at: str
    machine: Machine
    job: JobProfile | None
    endpoint: EndpointProfile | None
    partial: str | None = None


def write(path: Path, profile: Profile) -> None:
    """Write a profile, whole or not at all."""
    replace_file(path, orjson.dumps(asdict(profile), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def read(path: Path) -> Profile:
    """Read a profile.

    Raises:
        ProfileError: There is none, or it is not one of this version.
    """
    again = "make one with ./launch.sh loadtest profile"
    try:
        content = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ProfileError(f"{path} cannot be read ({error.strerror}): {again}") from error
    except orjson.JSONDecodeError as error:
        raise ProfileError(f"{path} is not JSON ({error}): {again}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ProfileError(f"{path} is no profile (its format is not {FORMAT!r}): {again}")
    if content.get("version") != VERSION:
        raise ProfileError(
            f"{path} is a profile of version {content.get('version')}, this program reads {VERSION}: {again}"
        )
    try:
        profile = msgspec.convert(content, Profile)
    except msgspec.ValidationError as error:
        raise ProfileError(f"{path}: {error}: {again}") from error
    if profile.job is None and profile.endpoint is None:
        raise ProfileError(f"{path} has neither a job nor an endpoint: {again}")
    return profile
