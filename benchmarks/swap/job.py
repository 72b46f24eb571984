"""The live job of `benchmarks.swap` under load, while its pointer is written again and again."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.harness import cli
from benchmarks.harness.jobs import our_job, pubsub, running_job
from benchmarks.swap.measures import WARMUP_S, Counts, Delivery, read
from benchmarks.swap.models import RECORDS, Version, make_versions, point
from loadtest.display import Display, Progress
from loadtest.driver.run import run
from loadtest.records import read_records
from local.container import Container
from local.topics import Topics
from pipeline.options.job_options import LOCAL

REFRESH_S = 0.2  # between two looks of the job at its pointer


@dataclass(frozen=True)
class Drive:
    """What came back from a job under load.

    Attributes:
        deliveries: In the order in which they came.
        written: When the pointer was written, epoch seconds.
    """

    counts: Counts
    deliveries: list[Delivery]
    written: list[float]


@dataclass
class Switch(Display):
    """Points to the other version whenever it is time. The first version is in use at the start.

    Attributes:
        at_s: Seconds into the run.
        written: When the pointer was written, epoch seconds.
    """

    pointer: Path
    versions: tuple[Version, Version]
    at_s: list[float]
    written: list[float] = field(default_factory=list)

    def update(self, progress: Progress) -> None:
        """Write the pointer if the time for the next swap has come."""
        if progress.sent and len(self.written) < len(self.at_s):
            place = len(self.written)
            if progress.elapsed >= self.at_s[place]:
                self.written.append(time.time())
                point(self.pointer, self.versions[(place + 1) % 2])


@contextmanager
def _model(mode: str, follow: list[str], log: Path) -> Iterator[list[str]]:
    """Yield the flags by which a job has its model: in itself, or in a container that runs meanwhile."""
    if mode == LOCAL:
        yield follow
        return
    ended = threading.Event()
    container = Container("", follow, log, on_failure=lambda reason: ended.set())
    try:
        yield [f"--inference_mode={mode}", f"--endpoint_url={container.predict_url(ended)}"]
    finally:
        container.stop()


def drive(mode: str, rate: float, swaps: int, every_s: float, folder: Path) -> Drive:
    """Run the job at `rate` msg/s, and swap its model `swaps` times, `every_s` seconds apart.

    Args:
        mode: Where the model is: local, in the job; endpoint, in the container.
        rate: In msg/s.
        swaps: How many.
        every_s: The first swap comes so long after the warm-up.
        folder: For models and for files of the job and of the driver.
    """
    versions = make_versions(folder)
    pointer = folder / "current"
    point(pointer, versions[0])
    # The first version is in use for as long as those between, so that what is slow only at the start is
    # not counted.
    switch = Switch(pointer, versions, [WARMUP_S + every_s * (place + 1) for place in range(swaps)])
    with pubsub():
        topics = Topics.fresh(secrets.token_hex(4))
        topics.create()
        options = topics.run_options(rate, every_s * (swaps + 1), read_records(RECORDS), folder / "driver")
        options = replace(options, warmup=WARMUP_S)
        cli.progress(f"{mode} mode, {rate:g} msg/s, {swaps} swaps, {every_s:g} s apart")
        follow = [f"--model_pointer={pointer}", f"--model_refresh_s={REFRESH_S}"]
        with (
            _model(mode, follow, folder / "container.log") as flags,
            running_job(our_job(topics, *flags), folder / "job.log"),
        ):
            summary = run(options, display=switch)
    return Drive(
        Counts(summary.sent, summary.lost, summary.dead_lettered),
        read(folder / "driver" / "results.jsonl", versions),
        switch.written,
    )
