"""The parts of a run, in the order of what is riskiest, and how much of the time each may take."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.gpu.context import Measure
from benchmarks.gpu.parts import (
    against_stock,
    compiled,
    copies,
    cores,
    cuda_tests,
    memory,
    plain,
    processes,
    swap,
    waiting,
)


@dataclass(frozen=True)
class Part:
    """One part.

    Attributes:
        title: What the tables call it.
        measure: Yields its rows.
        weight: Of the whole time, in proportion to the other parts.
    """

    title: str
    measure: Measure
    weight: float


PARTS = {
    "tests": Part("CUDA tests", cuda_tests.measure, 80),
    "against_stock": Part("Stock's way and ours", against_stock.measure, 130),
    "plain": Part("Plain forward passes", plain.measure, 25),
    "copies": Part("Copies beside computing", copies.measure, 20),
    "memory": Part("Out of memory on purpose", memory.measure, 15),
    "swap": Part("A swap under load", swap.measure, 55),
    "processes": Part("Processes on one GPU", processes.measure, 50),
    "cores": Part("Ours on fewer cores", cores.measure, 30),
    "waiting": Part("Waiting for the GPU", waiting.measure, 10),
    "compiled": Part("--compile", compiled.measure, 50),
}
