"""What a predicted run costs: an hour of it, a month of such hours, a million of its messages."""

from __future__ import annotations

from dataclasses import dataclass

from launch.rules.endpoint import machine_of
from launch.settings.job import EXACTLY_ONCE
from planner.cost.amount import Amount
from planner.cost.prices import PriceBook, read_prices
from planner.cost.run_cost import (
    DEFAULT_DISK_GB,
    Messages,
    ReplicaShape,
    WorkerShape,
    committed,
    engine_cost,
    exactly_once,
    mean_count,
    per_million,
    per_month,
    pubsub_cost,
    replicas_cost,
    workers_cost,
)
from planner.prediction import Prediction

# As `launch` asks for where --gpu is given, and --disk-gb is not.
_GPU_DISK_GB = 50


@dataclass(frozen=True)
class Bill:
    """What it costs.

    Attributes:
        hour: Mean of the run.
        month: Of 730 such hours.
        million: Of the messages that come.
    """

    hour: Amount
    month: Amount
    million: Amount


def bill(prediction: Prediction, prices: PriceBook | None = None) -> Bill:
    """Return what a prediction costs.

    Raises:
        PriceError: A price is missing.
    """
    book = prices or read_prices()
    question = prediction.question
    run, endpoint = question.configuration.run, question.configuration.endpoint
    workload = question.workload
    rate = float(prediction.timeline.arrived[-1, 0].sum()) / workload.duration_s
    messages = Messages(rate, question.request_bytes, question.result_bytes)
    disk_gb = run.disk_gb or (_GPU_DISK_GB if run.gpu else DEFAULT_DISK_GB)
    shape = WorkerShape(prediction.shape.machine_type, run.gpu, disk_gb)
    workers = workers_cost(mean_count(prediction.timeline, "wanted_workers"), shape, book)
    once = run.delivery == EXACTLY_ONCE
    if once:
        workers = exactly_once(workers, book)
    hour = workers + engine_cost(messages, book, at_least_once=not once) + pubsub_cost(messages, book)
    if endpoint:
        replica = ReplicaShape(machine_of(endpoint), endpoint.endpoint_gpu)
        hour = hour + replicas_cost(mean_count(prediction.timeline, "wanted_replicas"), replica, book)
    if question.committed_years:
        hour = committed(hour, question.committed_years, book)
    return Bill(hour, per_month(hour), per_million(hour, messages))
