"""`python -m benchmarks.swap`: the latency of a live job while its model is swapped, and while it is not.

The job, the broker and the load driver of `./launch.sh local`, each a process. The pointer is written every
few seconds, to the other of two models whose answers differ; a swap lasts from then until the first result
of the new one is collected. Each result is held against what the model that it names must answer.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import orjson
from rich.console import Console

from benchmarks.harness import results
from benchmarks.harness.machine import versions
from benchmarks.harness.processes import running_job
from benchmarks.harness.verdict import Verdict
from benchmarks.local_engine.report import progress
from benchmarks.swap.models import RECORDS, Version, is_right, make_versions, point
from broker.testing import embedded_broker
from loadtest.display import Display, Progress
from loadtest.options import RunOptions
from loadtest.run import run
from local.run import PROJECT, Topics

REFRESH_S = 0.2
WARMUP_S = 5.0
GOAL = 2.0


@dataclass(frozen=True)
class Flags:
    """The command line: msg/s, and how often and how far apart (seconds) the model is swapped."""

    rate: float
    swaps: int
    every: float
    out: Path


@dataclass(frozen=True)
class Delivery:
    """One result: when it was due and collected (epoch seconds), its model, and whether that is right."""

    due: float
    collected: float
    model_id: str
    right: bool


@dataclass(frozen=True)
class Swap:
    """From writing the pointer to the first result of the model that it names: epoch seconds."""

    begun: float
    ended: float


@dataclass(frozen=True)
class Measured:
    """What a run has shown. Latencies in milliseconds, from when a request was due to its result."""

    rate: float
    sent: int
    lost: int
    dead_lettered: int
    wrong_model_id: int
    swaps: int
    swap_s: list[float]
    messages_between: int
    messages_during: int
    between_ms: dict[str, float]
    during_ms: dict[str, float]

    @property
    def ratio(self) -> float:
        return self.during_ms["p99"] / self.between_ms["p99"]

    @property
    def verdicts(self) -> list[Verdict]:
        return [
            Verdict("requests lost or refused", self.lost + self.dead_lettered, 0, above=False),
            Verdict("results with the wrong model_id", self.wrong_model_id, 0, above=False),
            Verdict("p99 during a swap / between", self.ratio, GOAL, above=False),
        ]


@dataclass
class Switch(Display):
    """Points to the other version whenever it is time."""

    pointer: Path
    versions: tuple[Version, Version]
    at_s: list[float]  # seconds into the run
    written: list[float] = field(default_factory=list)  # epoch seconds

    def update(self, progress: Progress) -> None:
        if progress.sent and len(self.written) < len(self.at_s):
            place = len(self.written)
            if progress.elapsed >= self.at_s[place]:
                self.written.append(time.time())
                point(self.pointer, self.versions[(place + 1) % 2])


def parse(arguments: Sequence[str] | None) -> Flags:
    """Flags from a command line; exits with code 2 for wrong ones."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.swap", description=__doc__.splitlines()[0], allow_abbrev=False
    )
    parser.add_argument("--rate", type=float, default=300.0, help="msg/s (default: %(default)g)")
    parser.add_argument("--swaps", type=int, default=8, help="how many (default: %(default)s)")
    parser.add_argument("--every", type=float, default=8.0, help="seconds apart (default: %(default)g)")
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        type=results.folder,
        default=results.FOLDER,
        help="gets swap.json and swap.txt",
    )
    flags = Flags(**vars(parser.parse_args(arguments)))
    if flags.rate <= 0 or flags.swaps < 1 or flags.every < 2:
        parser.error("--rate above 0, --swaps at least 1, --every at least 2")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 0 when it was measured, whether or not the goals are met; 1 when a swap did not happen."""
    flags = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="swap-") as folder:
        summary, deliveries, written = drive(flags, Path(folder))
    swaps = find_swaps(deliveries, written)
    if len(swaps) < flags.swaps:
        progress(f"{flags.swaps - len(swaps)} of {flags.swaps} swaps did not happen")
        return 1
    measured = measure(flags.rate, summary, deliveries, swaps)
    figures = {
        "cpus": os.cpu_count(),
        "versions": versions(),
        **asdict(measured),
        "ratio": measured.ratio,
        "verdicts": [{**asdict(verdict), "met": verdict.met} for verdict in measured.verdicts],
    }
    results.publish(flags.out, "swap", lambda console: show(console, measured), figures)
    return 0


def drive(flags: Flags, folder: Path) -> tuple[dict[str, int], list[Delivery], list[float]]:
    """Runs the job under load; its counts, what came back, and when the pointer was written."""
    versions = make_versions(folder)
    pointer = folder / "current"
    point(pointer, versions[0])
    # The first is given as long as those between, so that what is slow only at the start is not counted.
    switch = Switch(pointer, versions, [WARMUP_S + flags.every * (place + 1) for place in range(flags.swaps)])
    with embedded_broker() as broker:
        before = os.environ.get("PUBSUB_EMULATOR_HOST")
        os.environ["PUBSUB_EMULATOR_HOST"] = broker.address
        try:
            topics = Topics.fresh(secrets.token_hex(4))
            topics.create()
            command = [
                *(sys.executable, "-m", "pipeline"),
                *topics.job_arguments(),
                f"--model_pointer={pointer}",
                f"--model_refresh_s={REFRESH_S}",
            ]
            options = RunOptions(
                project=PROJECT,
                input_topic=topics.input_topic,
                output_subscription=topics.output_subscription,
                dead_letter_subscription=topics.dead_letter_subscription,
                rate=flags.rate,
                duration=flags.every * (flags.swaps + 1),
                warmup=WARMUP_S,
                input=RECORDS,
                out=folder / "driver",
            )
            progress(f"{flags.rate:g} msg/s, {flags.swaps} swaps, {flags.every:g} s apart")
            with running_job(command, folder / "job.log"):
                summary = run(options, display=switch)
        finally:
            if before is None:
                del os.environ["PUBSUB_EMULATOR_HOST"]
            else:
                os.environ["PUBSUB_EMULATOR_HOST"] = before
    counts = {"sent": summary.sent, "lost": summary.lost, "dead_lettered": summary.dead_lettered}
    return counts, read(folder / "driver" / "results.jsonl", versions), switch.written


def read(file: Path, versions: tuple[Version, ...]) -> list[Delivery]:
    """The driver's results, in the order in which they came."""
    deliveries = []
    for line in file.read_bytes().splitlines():
        row = orjson.loads(line)
        result = row["result"]
        due = row["collected"] - row["latency_ms"] / 1000
        right = is_right(result, row["sequence"], versions)
        deliveries.append(Delivery(due, row["collected"], result["model_id"], right))
    return deliveries


def find_swaps(deliveries: Sequence[Delivery], written: Sequence[float]) -> list[Swap]:
    """Each write of the pointer with the first result after it whose model is another than before."""
    swaps = []
    for begun in written:
        earlier = [one.model_id for one in deliveries if one.collected <= begun]
        later = [one.collected for one in deliveries if one.collected > begun and one.model_id != earlier[-1]]
        if later:
            swaps.append(Swap(begun, later[0]))
    return swaps


def measure(
    rate: float, counts: dict[str, int], deliveries: Sequence[Delivery], swaps: Sequence[Swap]
) -> Measured:
    """Splits the latencies: requests due or answered within a swap, and all others after the warm-up."""
    first_due = min(one.due for one in deliveries)
    during, between = [], []
    for one in deliveries:
        latency_ms = 1000 * (one.collected - one.due)
        if any(one.due <= swap.ended and one.collected >= swap.begun for swap in swaps):
            during.append(latency_ms)
        elif one.due >= first_due + WARMUP_S:
            between.append(latency_ms)
    return Measured(
        rate=rate,
        wrong_model_id=sum(not one.right for one in deliveries),
        swaps=len(swaps),
        swap_s=[round(swap.ended - swap.begun, 3) for swap in swaps],
        messages_between=len(between),
        messages_during=len(during),
        between_ms=_percentiles(between),
        during_ms=_percentiles(during),
        **counts,
    )


def show(console: Console, measured: Measured) -> None:
    """The table and the verdict."""
    console.print(f"Latency while the model is swapped, at {measured.rate:g} msg/s", highlight=False)
    table = results.table(("messages", "p50 ms", "p95 ms", "p99 ms", "max ms"))
    for title, count, latency in (
        ("between swaps", measured.messages_between, measured.between_ms),
        ("during a swap", measured.messages_during, measured.during_ms),
    ):
        table.add_row(title, f"{count:,}", *(f"{value:.1f}" for value in latency.values()))
    console.print(table)
    console.print(
        f"swaps: {measured.swaps}, each {min(measured.swap_s):.2f} to {max(measured.swap_s):.2f} s from "
        f"writing the pointer to the first result of the new model (looked at every {REFRESH_S:g} s)",
        highlight=False,
        soft_wrap=True,
    )
    console.print(f"sent: {measured.sent:,}", highlight=False)
    for verdict in measured.verdicts:
        console.print(str(verdict), highlight=False, soft_wrap=True)
    used = ", ".join(f"{name} {number}" for name, number in versions().items())
    console.print(
        f"\n{os.cpu_count()} cores for job, broker and load driver\n{used}", highlight=False, soft_wrap=True
    )


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    p50, p95, p99 = (float(value) for value in np.percentile(values, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99, "max": max(values)}


if __name__ == "__main__":
    sys.exit(main())
