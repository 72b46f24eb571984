"""What is told of a GPU, whoever reads it, and how readings that fail are told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from loadtest.raw_log import Sample, Series

# Utilisation is the share of time in which a kernel ran; activity that of the multiprocessors that were busy.
UTILIZATION = "utilization"
MEMORY = "memory_bytes"
POWER = "power_w"
PCIE_TX = "pcie_tx_bytes_per_s"
PCIE_RX = "pcie_rx_bytes_per_s"
# Of 20 ms, where there is no counter.
PCIE_TX_SNAPSHOT = "pcie_tx_snapshot_bytes_per_s"
PCIE_RX_SNAPSHOT = "pcie_rx_snapshot_bytes_per_s"
SM_ACTIVITY = "sm_activity"
SM_OCCUPANCY = "sm_occupancy"

UNITS: Mapping[str, str] = {
    UTILIZATION: "1",
    MEMORY: "bytes",
    POWER: "W",
    PCIE_TX: "bytes/s",
    PCIE_RX: "bytes/s",
    PCIE_TX_SNAPSHOT: "bytes/s",
    PCIE_RX_SNAPSHOT: "bytes/s",
    SM_ACTIVITY: "1",
    SM_OCCUPANCY: "1",
}


class GpuReadings:
    """The values and the failures of one reader, by series: gpu/INDEX/QUANTITY."""

    def __init__(self, source: Literal["NVML", "dcgm-exporter"]) -> None:
        self._source: Literal["NVML", "dcgm-exporter"] = source
        self._succeeded: dict[str, int] = {}
        self._failed: dict[str, int] = {}
        self._reason: dict[str, str] = {}

    def value(self, at: float, gpu: str, quantity: str, value: float) -> Sample:
        """Count a reading and return its sample."""
        name = f"gpu/{gpu}/{quantity}"
        self._succeeded[name] = self._succeeded.get(name, 0) + 1
        return Sample(at, name, value)

    def failure(self, gpu: str, quantity: str, why: str) -> None:
        """Count a reading that gave nothing."""
        name = f"gpu/{gpu}/{quantity}"
        self._failed[name] = self._failed.get(name, 0) + 1
        self._reason[name] = why

    def series(self) -> list[Series]:
        """Return the series of all that was tried, with the last reason where a reading failed."""
        names: Iterable[str] = sorted(self._succeeded.keys() | self._failed.keys())
        return [
            Series(name, UNITS[name.rsplit("/", 1)[1]], self._source, self._unavailable(name))
            for name in names
        ]

    def _unavailable(self, name: str) -> str:
        failed, succeeded = self._failed.get(name, 0), self._succeeded.get(name, 0)
        if not failed:
            return ""
        if not succeeded:
            return f"not available: {self._reason[name]}"
        return (
            f"partly not available: {failed} of {failed + succeeded} readings failed ({self._reason[name]})"
        )


def nothing(source: Literal["NVML", "dcgm-exporter"], why: str) -> list[Series]:
    """Return the series where no GPU is known at all, with the reason."""
    return [
        Series(f"gpu/{quantity}", unit, source, f"not available: {why}")
        for quantity, unit in UNITS.items()
        if quantity not in (PCIE_TX_SNAPSHOT, PCIE_RX_SNAPSHOT)
    ]
