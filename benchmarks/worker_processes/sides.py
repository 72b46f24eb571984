"""The two sides of `benchmarks.worker_processes`: how a worker's vCPUs are shared."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.options.job_options import PER_CPU, SINGLE


@dataclass(frozen=True)
class Arrangement:
    """How a worker's vCPUs are shared.

    Attributes:
        worker_processes: The flag's value.
        threads: Bundle threads of each process.
    """

    worker_processes: str
    processes: int
    threads: int

    @property
    def title(self) -> str:
        """The flag."""
        return f"--worker_processes={self.worker_processes}"


def arrangements(cores: int, threads: int) -> tuple[Arrangement, Arrangement]:
    """Return a process for each core, and one for all. Both have the same number of bundle threads a core."""
    return Arrangement(PER_CPU, cores, threads), Arrangement(SINGLE, 1, cores * threads)
