"""GPU metrics by NVML, in this process; nvidia-ml-py is optional.

Names and numbers are those of nvidia-ml-py 13. Unprivileged containers get utilisation, memory, power and
PCIe; what tells of the multiprocessors, GPM, may be refused.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

from loadtest.metrics.gpm import Gpm, errors
from loadtest.metrics.gpu import (
    MEMORY,
    PCIE_RX,
    PCIE_RX_SNAPSHOT,
    PCIE_TX,
    PCIE_TX_SNAPSHOT,
    POWER,
    SM_ACTIVITY,
    SM_OCCUPANCY,
    UTILIZATION,
    GpuReadings,
    nothing,
)
from loadtest.raw_log import Sample, Series

# NVML_FI_DEV_PCIE_COUNT_TX_BYTES and _RX_BYTES, from the GPU's side: RX is what the host sends.
_PCIE_FIELDS: Mapping[str, int] = {PCIE_TX: 197, PCIE_RX: 198}
# NVML_PCIE_UTIL_TX_BYTES and _RX_BYTES.
_SNAPSHOTS: Mapping[str, tuple[str, int]] = {
    PCIE_TX: (PCIE_TX_SNAPSHOT, 0),
    PCIE_RX: (PCIE_RX_SNAPSHOT, 1),
}
# NVML_GPM_METRIC_SM_UTIL and _SM_OCCUPANCY, in percent.
_GPM_METRICS: Mapping[str, int] = {SM_ACTIVITY: 2, SM_OCCUPANCY: 3}


def load() -> Any:
    """Return the module pynvml.

    Raises:
        ImportError: nvidia-ml-py is not installed.
    """
    return importlib.import_module("pynvml")


class Nvml:
    """A source of the metrics of all GPUs of this machine, for the sampler."""

    def __init__(self, load: Callable[[], Any] = load) -> None:
        self._readings = GpuReadings("NVML")
        self._devices: list[_Device] = []
        self._why_not = ""
        self._nvml: Any = None
        try:
            nvml = load()
        except ImportError:
            self._why_not = "nvidia-ml-py is not installed: `pip install nvidia-ml-py`"
            return
        try:
            nvml.nvmlInit()
            self._nvml = nvml
            for index in range(nvml.nvmlDeviceGetCount()):
                device = nvml.nvmlDeviceGetHandleByIndex(index)
                self._devices.append(_Device(nvml, device, str(index), self._readings))
        except _errors(nvml) as error:
            self._why_not = f"NVML: {error}"
            return
        if not self._devices:
            self._why_not = "NVML knows no GPU here"

    @property
    def has_gpus(self) -> bool:
        """Whether there is one to read."""
        return bool(self._devices)

    def sample(self, at: float) -> list[Sample]:
        """Return what each GPU tells now; PCIe and GPM tell of the time since the last call."""
        return [sample for device in self._devices for sample in device.sample(at)]

    def series(self) -> list[Series]:
        """Return what is sampled, with the reason where something could not be read."""
        return nothing("NVML", self._why_not) if self._why_not else self._readings.series()

    def close(self) -> None:
        """Release what NVML holds for us."""
        if self._nvml is not None:
            for device in self._devices:
                device.close()
            self._nvml.nvmlShutdown()
            self._nvml = None


class _Device:
    """One GPU."""

    def __init__(self, nvml: Any, device: Any, index: str, readings: GpuReadings) -> None:
        self._nvml = nvml
        self._device = device
        self._index = index
        self._readings = readings
        self._counters: dict[str, tuple[int, float]] = {}
        self._gpm = Gpm(nvml, device, _GPM_METRICS)

    def sample(self, at: float) -> list[Sample]:
        nvml, device = self._nvml, self._device
        fields: Mapping[str, Callable[[], float]] = {
            UTILIZATION: lambda: nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100,
            MEMORY: lambda: nvml.nvmlDeviceGetMemoryInfo(device).used,
            POWER: lambda: nvml.nvmlDeviceGetPowerUsage(device) / 1e3,
            PCIE_TX: lambda: self._pcie(PCIE_TX),
            PCIE_RX: lambda: self._pcie(PCIE_RX),
        }
        samples = []
        for quantity, read in fields.items():
            try:
                value = float(read())
            except _NotYetError:
                continue
            except _errors(nvml) as error:
                self._readings.failure(self._index, quantity, str(error))
                samples += self._snapshot(at, quantity)
            else:
                samples.append(self._readings.value(at, self._index, quantity, value))
        for quantity, found in self._gpm.read(at).items():
            if isinstance(found, str):
                self._readings.failure(self._index, quantity, found)
            else:
                samples.append(self._readings.value(at, self._index, quantity, found / 100))
        return samples

    def close(self) -> None:
        self._gpm.close()

    def _pcie(self, quantity: str) -> float:
        """Return bytes a second since the last call, by the counter.

        Raises:
            _NotYetError: There is one value of the counter only.
            _UnreadableError: The counter is of 32 bits, or went backwards.
            NVMLError: The GPU does not tell.
        """
        nvml = self._nvml
        (field,) = nvml.nvmlDeviceGetFieldValues(self._device, [_PCIE_FIELDS[quantity]])
        if field.nvmlReturn != nvml.NVML_SUCCESS:
            raise nvml.NVMLError(field.nvmlReturn)
        if field.valueType != nvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG:
            # How often it has wrapped between two samples cannot be told.
            raise _UnreadableError("a counter of 32 bits, which a bus of 64 GB/s wraps every 67 ms")
        count, at = int(field.value.ullVal), field.timestamp / 1e6
        before = self._counters.get(quantity)
        self._counters[quantity] = count, at
        if before is None or at <= before[1]:
            raise _NotYetError
        if count < before[0]:
            raise _UnreadableError("the counter of PCIe bytes went backwards")
        return (count - before[0]) / (at - before[1])

    def _snapshot(self, at: float, quantity: str) -> list[Sample]:
        """Return what stands in for a PCIe counter: the throughput of the last 20 ms, which is noisy."""
        if quantity not in _SNAPSHOTS:
            return []
        name, counter = _SNAPSHOTS[quantity]
        try:
            # In KB/s.
            value = self._nvml.nvmlDeviceGetPcieThroughput(self._device, counter) * 1e3
        except _errors(self._nvml) as error:
            self._readings.failure(self._index, name, str(error))
            return []
        return [self._readings.value(at, self._index, name, value)]


class _NotYetError(Exception):
    """There is one reading, and it takes two."""


class _UnreadableError(Exception):
    """A reading that makes no sense; the message says why."""


def _errors(nvml: Any) -> tuple[type[Exception], ...]:
    """Return what a reading raises."""
    return (*errors(nvml), _UnreadableError)
