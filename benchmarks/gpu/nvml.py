"""What the GPU itself tells while a part runs: NVML's counters, sampled twice a second.

Every field is optional: where a driver, a container or a GPU does not tell it, the reason takes its place.
The fields and their numbers are those of nvidia-ml-py 13.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from loadtest.metrics.gpm import Gpm, errors

_EVERY_S = 0.5

# NVML_FI_DEV_PCIE_COUNT_TX_BYTES and _RX_BYTES; from the GPU's side, so that RX is what the host sends.
_PCIE_COUNTERS = {"pcie_to_host_gb_per_s": 197, "pcie_to_device_gb_per_s": 198}

# GPM metrics (Hopper and newer), each between two samples.
_GPM_METRICS = {
    "sm_utilization_percent": 2,
    "sm_occupancy_percent": 3,
    "tensor_core_percent": 5,
    "memory_bandwidth_percent": 10,
    "pcie_tx_mib_per_s": 20,
    "pcie_rx_mib_per_s": 21,
}

Reading = dict[str, float | str]


def open_nvml() -> tuple[ModuleType | None, str]:
    """Return the library, started, or None and why there is none."""
    try:
        import pynvml
    except ImportError:
        return None, "not available: nvidia-ml-py is not installed"
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return None, f"not available: {error}"
    return pynvml, ""


class Sampler:
    """Samples one GPU's counters on a thread of its own.

    Args:
        uuid: As NVML has it: NVML counts GPUs in another order than CUDA, and also those that
            CUDA_VISIBLE_DEVICES hides. None where no GPU computes.
    """

    def __init__(self, uuid: str | None) -> None:
        self._nvml, self._why_not = open_nvml()
        self._device: Any = None
        if self._nvml is None:
            return
        self._why_not = "not available: nothing is computed on a GPU"
        if uuid is not None:
            try:
                self._device = self._nvml.nvmlDeviceGetHandleByUUID(uuid)
            except errors(self._nvml) as error:
                self._why_not = f"not available: {uuid}: {error}"

    def driver(self) -> str:
        """Return the driver's version, or why it is not known."""
        if self._nvml is None:
            return self._why_not
        try:
            return str(self._nvml.nvmlSystemGetDriverVersion())
        except errors(self._nvml) as error:
            return f"not available: {error}"

    @contextmanager
    def sampling(self) -> Iterator[Callable[[], Reading]]:
        """Sample meanwhile; yields what gives the mean and the highest value of each field, at the end."""
        if self._nvml is None or self._device is None:
            yield lambda: {"nvml": self._why_not}
            return
        series: dict[str, list[float]] = {}
        reasons: dict[str, str] = {}
        ended = threading.Event()
        first = self._counters(reasons)
        gpm = Gpm(self._nvml, self._device, _GPM_METRICS)
        gpm.read(time.monotonic())

        def sample() -> None:
            while not ended.wait(_EVERY_S):
                for name, read in self._fields().items():
                    self._note(series, reasons, name, read)
                for name, value in gpm.read(time.monotonic()).items():
                    if isinstance(value, str):
                        reasons[name] = f"not available: {value}"
                    else:
                        series.setdefault(name, []).append(value)

        thread = threading.Thread(target=sample, daemon=True)
        thread.start()

        def result() -> Reading:
            found: Reading = dict(reasons)
            for name, values in list(series.items()):
                found[f"{name}_mean"] = sum(values) / len(values)
                found[f"{name}_max"] = max(values)
            found |= _rates(first, self._counters({}))
            return found

        try:
            yield result
        finally:
            ended.set()
            thread.join()
            gpm.close()

    def _fields(self) -> dict[str, Callable[[], float]]:
        nvml, device = self._nvml, self._device
        assert nvml is not None
        return {
            "gpu_utilization_percent": lambda: nvml.nvmlDeviceGetUtilizationRates(device).gpu,
            "memory_utilization_percent": lambda: nvml.nvmlDeviceGetUtilizationRates(device).memory,
            "memory_used_mib": lambda: nvml.nvmlDeviceGetMemoryInfo(device).used / 2**20,
            "power_w": lambda: nvml.nvmlDeviceGetPowerUsage(device) / 1e3,
            "sm_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": lambda: nvml.nvmlDeviceGetClockInfo(device, nvml.NVML_CLOCK_MEM),
            "temperature_c": lambda: nvml.nvmlDeviceGetTemperature(device, nvml.NVML_TEMPERATURE_GPU),
        }

    def _note(
        self,
        series: dict[str, list[float]],
        reasons: dict[str, str],
        name: str,
        read: Callable[[], float],
    ) -> None:
        assert self._nvml is not None
        try:
            value = float(read())
        except errors(self._nvml) as error:
            series.pop(name, None)
            reasons[name] = f"not available: {error}"
        else:
            series.setdefault(name, []).append(value)

    def _counters(self, reasons: dict[str, str]) -> dict[str, tuple[float, float]]:
        """Return each PCIe counter in bytes, and its own time in seconds."""
        assert self._nvml is not None
        found = {}
        for name, field in _PCIE_COUNTERS.items():
            try:
                (value,) = self._nvml.nvmlDeviceGetFieldValues(self._device, [field])
            except errors(self._nvml) as error:
                reasons[name] = f"not available: {error}"
                continue
            if value.nvmlReturn != self._nvml.NVML_SUCCESS:
                reasons[name] = f"not available: {self._nvml.NVMLError(value.nvmlReturn)}"
            elif value.valueType == self._nvml.NVML_VALUE_TYPE_UNSIGNED_INT:
                # Of 4 GiB, which a busy bus moves in a tenth of a second.
                reasons[name] = "not available: a counter of 32 bits, which wraps between two readings"
            else:
                found[name] = (float(value.value.ullVal), value.timestamp / 1e6)
        return found


def _rates(first: dict[str, tuple[float, float]], last: dict[str, tuple[float, float]]) -> Reading:
    found: Reading = {}
    for name, (count, at) in last.items():
        if name in first and at > first[name][1] and count < first[name][0]:
            found[name] = "not available: the counter wrapped between two readings"
        elif name in first and at > first[name][1]:
            found[name] = (count - first[name][0]) / (at - first[name][1]) / 1e9
    return found
