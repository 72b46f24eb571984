"""What an hour of a job costs: its workers, Streaming Engine, the endpoint's replicas and Pub/Sub."""

from __future__ import annotations

from dataclasses import dataclass

from launch.settings.machines import Gpu, built_in_gpu
from planner.cost.amount import Amount, Item, Quantity, exactly
from planner.cost.machines import machine
from planner.cost.prices import PriceBook
from planner.timeline import Timeline, bands
from planner.unknowns import UNKNOWNS

HOUR = "an hour"
MONTH = "a month of 730 h"
MILLION = "a million messages"
MONTH_H = 730.0

# Boot disk of a worker with Streaming Engine where --disk_gb gives none: pipeline options page of Dataflow.
DEFAULT_DISK_GB = 30
_GB = 1e9
_TIB = 2.0**40
# Pub/Sub counts at least so much of each message: https://cloud.google.com/pubsub/pricing
_LEAST_MESSAGE_BYTES = 1_000

_COMMITTED = ("dataflow_vcpu", "dataflow_memory", "dataflow_engine_unit", "dataflow_engine_data")


@dataclass(frozen=True)
class WorkerShape:
    """What a worker is made of.

    Attributes:
        machine_type: Compute Engine's name.
        gpu: Its GPUs; those built into the machine are found without.
        disk_gb: Boot disk.
    """

    machine_type: str
    gpu: Gpu | None = None
    disk_gb: int = DEFAULT_DISK_GB


@dataclass(frozen=True)
class ReplicaShape:
    """What a replica of the endpoint is made of.

    Attributes:
        machine_type: Compute Engine's name.
        gpu: Its GPUs.
    """

    machine_type: str
    gpu: Gpu | None = None


@dataclass(frozen=True)
class Messages:
    """What goes through.

    Attributes:
        per_s: Messages a second, on average.
        in_bytes: Of a request.
        out_bytes: Of a result.
    """

    per_s: float
    in_bytes: float
    out_bytes: float


def mean_count(timeline: Timeline, name: str) -> Quantity:
    """Return the mean of a count over a run, with its band over the draws.

    Args:
        timeline: The run.
        name: Of the count: "wanted_workers" or "wanted_replicas" for what is billed.
    """
    low, central, high = bands(timeline[name].mean(axis=0))
    return Quantity(float(central), float(low), float(high))


def workers_cost(count: Quantity, shape: WorkerShape, prices: PriceBook) -> Amount:
    """Return what an hour of so many workers costs, without Streaming Engine.

    A machine is billed from its start, before its worker does anything: count what was asked for.

    Raises:
        PriceError: A price is missing.
        ValueError: The machine type is not known.
    """
    made = machine(shape.machine_type)
    items = [
        Item("workers: vCPUs", count.times(made.vcpus), prices["dataflow_vcpu"]),
        Item("workers: memory", count.times(made.memory_gb), prices["dataflow_memory"]),
        Item("workers: disks", count.times(shape.disk_gb), prices["dataflow_disk_pd"]),
    ]
    gpu = shape.gpu or built_in_gpu(shape.machine_type)
    if gpu:
        items.append(Item("workers: GPUs", count.times(gpu.count), prices[f"dataflow_gpu_{gpu.type}"]))
    return Amount.of(items, HOUR)


def engine_cost(
    messages: Messages, prices: PriceBook, *, units_per_hour: float | None = None, at_least_once: bool = True
) -> Amount:
    """Return what Streaming Engine costs an hour.

    Google publishes no formula for its compute units. Where the job's metric of them is not known, the legacy
    price by data stands in; at least once, with the range of `engine_units_share`.

    Args:
        messages: What goes through: each byte read and written is counted.
        prices: The file.
        units_per_hour: Compute units, as the job's metric has them; None where there is no job yet.
        at_least_once: The job's streaming mode.
    """
    if units_per_hour is not None:
        units = Item("Streaming Engine: units", exactly(units_per_hour), prices["dataflow_engine_unit"])
        return Amount.of([units], HOUR)
    share = UNKNOWNS["engine_units_share"]
    gigabytes = messages.per_s * (messages.in_bytes + messages.out_bytes) * 3_600 / _GB
    billed = Quantity(share.default, share.low, share.high) if at_least_once else exactly(1.0)
    note = "assumed: the units are not published, the legacy price by data stands in for them"
    stand_in = Item("Streaming Engine", billed.times(gigabytes), prices["dataflow_engine_data"], note=note)
    return Amount.of([stand_in], HOUR)


def replicas_cost(count: Quantity, shape: ReplicaShape, prices: PriceBook) -> Amount:
    """Return what an hour of so many replicas costs.

    A machine without a price of its own is one of N1, by vCPU and GB, or what Compute Engine asks and a
    surcharge, which is an estimate.

    Raises:
        PriceError: A price is missing.
        ValueError: The machine type is not known.
    """
    name = shape.machine_type
    made = machine(name)
    own, compute = f"vertex_machine_{name}", f"gce_machine_{name}"
    items: list[Item] = []
    if own in prices:
        items.append(Item("replicas", count, prices[own]))
    elif made.family == "n1":
        items.append(Item("replicas: vCPUs", count.times(made.vcpus), prices["vertex_n1_vcpu"]))
        items.append(Item("replicas: memory", count.times(made.memory_gb), prices["vertex_n1_memory"]))
    else:
        surcharge = prices["vertex_surcharge"]
        estimate = Item(
            "replicas", count, prices[compute], note="an estimate: Compute Engine and a surcharge"
        )
        total = Amount.of([estimate], HOUR).with_term(surcharge, 1 + surcharge.value, [compute])
        items += total.items
    if shape.gpu and not built_in_gpu(name):
        items.append(
            Item("replicas: GPUs", count.times(shape.gpu.count), prices[f"vertex_gpu_{shape.gpu.type}"])
        )
    return Amount.of(items, HOUR)


def pubsub_cost(messages: Messages, prices: PriceBook) -> Amount:
    """Return what Pub/Sub costs an hour: request and result are published and delivered once each."""
    counted = max(messages.in_bytes, _LEAST_MESSAGE_BYTES) + max(messages.out_bytes, _LEAST_MESSAGE_BYTES)
    tebibytes = 2 * messages.per_s * counted * 3_600 / _TIB
    note = "without the 10 GiB a month that are free"
    return Amount.of(
        [Item("Pub/Sub: throughput", exactly(tebibytes), prices["pubsub_throughput"], note=note)], HOUR
    )


def exactly_once(workers: Amount, prices: PriceBook) -> Amount:
    """Return what the workers cost in the exactly-once mode, which needs more of them for the same messages.

    How many more is Google's own figure, of one pipeline; it stands among the prices, with its source.
    """
    price = prices["dataflow_at_least_once"]
    return workers.with_term(price, 1 / (1 - price.value), [each.name for each in workers.prices])


def committed(amount: Amount, years: int, prices: PriceBook) -> Amount:
    """Return an amount with the discount of committed use of Dataflow for 1 or 3 years.

    Raises:
        PriceError: There is no such commitment in the file.
    """
    price = prices[f"dataflow_committed_{years}y"]
    return amount.with_term(price, 1 - price.value, _COMMITTED)


def per_month(hour: Amount) -> Amount:
    """Return an hour's amount for a month of 730 hours."""
    return hour.times(MONTH_H, MONTH)


def per_million(hour: Amount, messages: Messages) -> Amount:
    """Return an hour's amount for a million of the messages that it answers."""
    return hour.times(1e6 / (messages.per_s * 3_600), MILLION)
