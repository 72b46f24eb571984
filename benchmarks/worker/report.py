"""What `benchmarks.worker` shows: its tables, what a side adds to the floor, the price, and the goals."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import numpy as np
from apache_beam.testing.load_tests.dataflow_cost_consts import VCPU_PER_HR_STREAMING
from apache_beam.version import __version__ as beam_version
from rich.console import Console
from rich.table import Table

from benchmarks.harness import results, verdict
from benchmarks.harness.machine import Machine, versions_line
from benchmarks.harness.verdict import Verdict
from benchmarks.worker.measures import Row
from benchmarks.worker.sides import FLOOR, HARNESS, OURS, STOCK, TITLES, TUNED, Traffic

NARROW, BINARY = "json30", "float32"

LARGE_BUNDLE_GOAL_US = 35.0  # of processor time a message
OF_TUNED_GOAL = 1 / 3
OF_FLOOR_GOAL = 1.6
BINARY_GOAL_US = 30.0
ADDED_MESSAGE_GOAL_US = 15.0
ADDED_BUNDLE_GOAL_US = 500.0
THROUGHPUT_GOAL = 2.0  # times tuned stock's
THROUGHPUT_THREADS = 12

PRICE = (
    f"Price: {VCPU_PER_HR_STREAMING} $ for a vCPU-hour of Dataflow streaming in us-central1, Google's list "
    f"as the load tests of Beam {beam_version} have it (2026). Of the SDK process's processor time alone: no "
    "memory, disk, Streaming Engine or Pub/Sub, nothing of the service's own process on a worker, no idle "
    "vCPU."
)
NOTES = (
    "µs: processor time of the whole SDK process, user and system, all threads, over all bundles; medians of "
    "rounds in which the sides take turns. The process has a core of its own; the runner, on loopback gRPC, "
    "asks for no progress and splits nothing. adds: what a side takes beyond the floor at that bundle size.\n"
    "msg a vCPU-s: 1 / processor time of a message, so what a vCPU would do that did nothing else. msg/s is "
    "measured, with the runner's time in it.\n"
    "The floor: one DoFn from protocol bytes to protocol bytes, orjson, one forward pass a bundle. The "
    "harness alone: bytes through the native steps. Stock, tuned: batches of 100, tensors made by numpy.\n"
    "On its one core torch has one thread, also in stock's processes. With two threads on two busy cores "
    "stock took 4 ms of processor time a message here (11 ms of time; 0.1 with OMP_NUM_THREADS=1): torch's "
    "threads wait for each other's core, and BatchElements, which goes by the time of a batch, stays at one "
    "to two."
)


@dataclass(frozen=True)
class Added:
    """What a side takes beyond the floor, as a line through its bundle sizes.

    Attributes:
        workload: The traffic's name.
        side: One of SIDES.
        threads: Bundles in flight at once.
        message_us: Microseconds of processor time for each message.
        bundle_us: For each bundle.
    """

    workload: str
    side: str
    threads: int
    message_us: float
    bundle_us: float


def added(rows: Sequence[Row]) -> list[Added]:
    """Return what each side adds to the floor, where there are at least two bundle sizes.

    A least-squares line through processor time a bundle less the floor's, over messages a bundle, each point
    weighted by the inverse of its processor time: as relative errors are alike for all sizes.
    """
    found = []
    for (workload, threads), cells in _tables(rows):
        for side in dict.fromkeys(row.side for row in cells):
            if side in (FLOOR, HARNESS):
                continue
            pairs = [(row, _floor(cells, row.bundle)) for row in cells if row.side == side]
            points = [(row.bundle, row.cpu_us - floor, row.cpu_us) for row, floor in pairs if floor]
            if len(points) < 2:
                continue
            sizes, beyond, all_ = (np.array(each, float) for each in zip(*points, strict=True))
            # A bundle's time is that of a message times the size, and so is its error.
            message, bundle = np.polyfit(sizes, beyond * sizes, 1, w=1 / (all_ * sizes))
            found.append(Added(workload, side, threads, float(message), float(bundle)))
    return found


def verdicts(rows: Sequence[Row]) -> list[Verdict]:
    """Return how ours stands to the goals: NaN where a cell was not measured."""
    cost = {(row.workload, row.side, row.bundle, row.threads): row.cpu_us for row in rows}
    rate = {(row.workload, row.side, row.bundle, row.threads): row.messages_per_s for row in rows}

    def us(workload: str, side: str, bundle: int) -> float:
        return cost.get((workload, side, bundle, 1), math.nan)

    found = [
        Verdict(
            "30 features, bundles of 1,000, a message",
            us(NARROW, OURS, 1000),
            LARGE_BUNDLE_GOAL_US,
            above=False,
            unit=" µs",
        ),
        Verdict(
            "30 features, bundles of 1,000, of tuned stock",
            us(NARROW, OURS, 1000) / us(NARROW, TUNED, 1000),
            OF_TUNED_GOAL,
            above=False,
        ),
        Verdict(
            "30 features, bundles of 1,000, times the floor",
            us(NARROW, OURS, 1000) / us(NARROW, FLOOR, 1000),
            OF_FLOOR_GOAL,
            above=False,
        ),
    ]
    for bundle in (100, 10):
        found.append(
            Verdict(
                f"30 features, bundles of {bundle}, added to the floor, a message and its share of a bundle",
                us(NARROW, OURS, bundle) - us(NARROW, FLOOR, bundle),
                ADDED_MESSAGE_GOAL_US + ADDED_BUNDLE_GOAL_US / bundle,
                above=False,
                unit=" µs",
            )
        )
    found.append(
        Verdict(
            "1,024 float32, bundles of 1,000, a message",
            us(BINARY, OURS, 1000),
            BINARY_GOAL_US,
            above=False,
            unit=" µs",
        )
    )
    ours, tuned = (rate.get((NARROW, side, 1, THROUGHPUT_THREADS), math.nan) for side in (OURS, TUNED))
    name = f"30 features, bundles of 1, {THROUGHPUT_THREADS} at once, throughput, times tuned stock's"
    found.append(Verdict(name, ours / tuned, THROUGHPUT_GOAL, above=True))
    return found


def show(console: Console, rows: Sequence[Row], traffics: Mapping[str, Traffic], machine: Machine) -> None:
    """Print a table for each workload and number of bundles at once, and the verdicts."""
    lines = {(each.workload, each.side, each.threads): each for each in added(rows)}
    for (workload, threads), cells in _tables(rows):
        at_once = "one bundle at a time" if threads == 1 else f"{threads} bundles at once"
        results.print_line(console, f"{traffics[workload].title}, {at_once}")
        console.print(_costs(cells))
        fits = [each for key, each in lines.items() if key[0] == workload and key[2] == threads]
        if fits:
            console.print(_added(fits))
        if traffics[workload].is_binary:
            results.print_line(console, "Stock has no side here: its job reads no binary bodies.\n")
    for each in verdicts(rows):
        results.print_line(console, str(each))
    results.print_line(console, f"\n{NOTES}\n{PRICE}\n{machine}\n{versions_line()}")


def figures(rows: Sequence[Row], machine: Machine) -> dict[str, object]:
    """Return everything that was measured, for JSON."""
    return {
        **machine.figures(),
        "price_vcpu_hour": VCPU_PER_HR_STREAMING,
        "rows": [{**asdict(row), "cpu_us": row.cpu_us, "messages_per_s": row.messages_per_s} for row in rows],
        "added": [asdict(each) for each in added(rows)],
        "verdicts": verdict.figures(verdicts(rows)),
    }


def _costs(cells: Sequence[Row]) -> Table:
    headings = ("µs\nmessage", "lowest", "highest", "floor", "adds", "msg/s", "msg a\nvCPU-s", "$ a\nmillion")
    table = results.table((*headings, "of\nstock", "of\ntuned"))
    for bundle, group in groupby(cells, key=lambda row: row.bundle):
        table.add_row(f"[bold]bundles of {bundle:,}[/]")
        in_bundle = list(group)
        of = {row.side: row.cpu_us for row in in_bundle}
        for row in in_bundle:
            turns = [turn.cpu_us for turn in row.turns]
            floor = None if row.side == HARNESS else _floor(cells, bundle)
            table.add_row(
                f"  {TITLES[row.side]}",
                *(f"{value:,.1f}" for value in (row.cpu_us, min(turns), max(turns))),
                *((f"{floor:,.1f}", f"{row.cpu_us - floor:,.1f}") if floor else ("", "")),
                f"{row.messages_per_s:,.0f}",
                f"{1e6 / row.cpu_us:,.0f}",
                f"{row.cpu_us / 3600 * VCPU_PER_HR_STREAMING:.5f}",
                *(f"{row.cpu_us / of[side]:.3f}" if side in of else "" for side in (STOCK, TUNED)),
            )
        table.add_section()
    return table


def _added(fits: Sequence[Added]) -> Table:
    table = results.table(("a message\nµs", "a bundle\nµs"), "What each adds to the floor, over all sizes")
    for each in fits:
        table.add_row(TITLES[each.side], f"{each.message_us:,.1f}", f"{each.bundle_us:,.0f}")
    return table


def _tables(rows: Sequence[Row]) -> Iterator[tuple[tuple[str, int], list[Row]]]:
    for key, group in groupby(rows, key=lambda row: (row.workload, row.threads)):
        yield key, list(group)


def _floor(cells: Sequence[Row], bundle: int) -> float | None:
    return next((row.cpu_us for row in cells if (row.side, row.bundle) == (FLOOR, bundle)), None)
