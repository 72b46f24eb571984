"""What an hour of a job costs: its workers, Streaming Engine, the endpoint's replicas and Pub/Sub."""

from __future__ import annotations

from dataclasses import dataclass

from launch.settings.machines import Gpu, built_in_gpu
from planner.cost.amount import Amount, Item, item
from planner.cost.machines import machine
from planner.cost.prices import PriceBook

HOUR = "an hour"
MONTH = "a month of 730 h"
MILLION = "a million messages"
MONTH_H = 730.0

# Google's own run of 10^6 messages a second needed 16 % fewer workers in the at-least-once mode.
AT_LEAST_ONCE_SAVES = 0.16

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


def workers_cost(count: float, shape: WorkerShape, prices: PriceBook) -> Amount:
    """Return what an hour of so many workers costs, without Streaming Engine.

    Raises:
        PriceError: A price is missing.
        ValueError: The machine type is not known.
    """
    made = machine(shape.machine_type)
    items = [
        item("workers: vCPUs", count * made.vcpus, prices["dataflow_vcpu"]),
        item("workers: memory", count * made.memory_gb, prices["dataflow_memory"]),
        item("workers: disks", count * shape.disk_gb, prices["dataflow_disk_pd"]),
    ]
    gpu = shape.gpu or built_in_gpu(shape.machine_type)
    if gpu:
        items.append(item("workers: GPUs", count * gpu.count, prices[f"dataflow_gpu_{gpu.type}"]))
    return Amount.of(items, HOUR)


def engine_cost(
    messages: Messages, prices: PriceBook, *, units_per_hour: float | None = None, share_low: float = 0.0
) -> Amount:
    """Return what Streaming Engine costs an hour.

    Google publishes no formula for its compute units. Where the job's metric of them is not known, the legacy
    price by data stands in, with a range down to a share of it.

    Args:
        messages: What goes through: each byte read and written is counted.
        prices: The file.
        units_per_hour: Compute units, as the job's metric has them; None where there is no job yet.
        share_low: Of the legacy price: the least.
    """
    if units_per_hour is not None:
        return Amount.of(
            [item("Streaming Engine: units", units_per_hour, prices["dataflow_engine_unit"])], HOUR
        )
    gigabytes = messages.per_s * (messages.in_bytes + messages.out_bytes) * 3_600 / _GB
    note = "assumed: the units are not published, the legacy price by data stands in for them"
    price = prices["dataflow_engine_data"]
    return Amount.of(
        [item("Streaming Engine", gigabytes, price, low=gigabytes * share_low, high=gigabytes, note=note)],
        HOUR,
    )


def replicas_cost(count: float, shape: ReplicaShape, prices: PriceBook) -> Amount:
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
        items.append(item("replicas", count, prices[own]))
    elif made.family == "n1":
        items.append(item("replicas: vCPUs", count * made.vcpus, prices["vertex_n1_vcpu"]))
        items.append(item("replicas: memory", count * made.memory_gb, prices["vertex_n1_memory"]))
    else:
        surcharge = prices["vertex_surcharge"]
        estimate = item(
            "replicas", count, prices[compute], note="an estimate: Compute Engine and a surcharge"
        )
        total = Amount.of([estimate], HOUR).with_term(surcharge, 1 + surcharge.value, [compute])
        items += total.items
    if shape.gpu and not built_in_gpu(name):
        items.append(item("replicas: GPUs", count * shape.gpu.count, prices[f"vertex_gpu_{shape.gpu.type}"]))
    return Amount.of(items, HOUR)


def pubsub_cost(messages: Messages, prices: PriceBook) -> Amount:
    """Return what Pub/Sub costs an hour: request and result are published and delivered once each."""
    counted = max(messages.in_bytes, _LEAST_MESSAGE_BYTES) + max(messages.out_bytes, _LEAST_MESSAGE_BYTES)
    tebibytes = 2 * messages.per_s * counted * 3_600 / _TIB
    note = "without the 10 GiB a month that are free"
    return Amount.of([item("Pub/Sub: throughput", tebibytes, prices["pubsub_throughput"], note=note)], HOUR)


def exactly_once_workers(workers: float) -> float:
    """Return how many workers the exactly-once mode needs for what so many do at least once.

    By Google's own run, of one pipeline: 16 % fewer workers at least once. It is no law.
    """
    return workers / (1 - AT_LEAST_ONCE_SAVES)


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
