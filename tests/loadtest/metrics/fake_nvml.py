"""A stand-in for the module pynvml of nvidia-ml-py 13, with its names, structures and errors.

Only the calls into libnvidia-ml are made up: what each returns is set by the test.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

NOT_SUPPORTED, NO_PERMISSION, DRIVER_NOT_LOADED, GPU_IS_LOST = 3, 4, 9, 15
_WORDS = {
    NOT_SUPPORTED: "Not Supported",
    NO_PERMISSION: "Insufficient Permissions",
    DRIVER_NOT_LOADED: "Driver Not Loaded",
    GPU_IS_LOST: "GPU is lost",
}
UNSIGNED_INT, UNSIGNED_LONG_LONG = 1, 3


class NVMLError(Exception):
    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return _WORDS[self.value]


class Gpu:
    """One GPU: what its calls return, or the status that they fail with."""

    def __init__(self) -> None:
        self.failing: dict[str, int] = {}
        self.utilization = 40
        self.memory_used = 3 * 2**30
        self.milliwatts = 250_500
        # Of each field: bytes, and the time in seconds.
        self.pcie_bytes = {197: 0, 198: 0}
        self.pcie_at = 0.0
        self.pcie_status = 0
        self.pcie_type = UNSIGNED_LONG_LONG
        self.snapshot_kb_per_s = {0: 7, 1: 9}
        self.gpm_supported = True
        self.gpm = {2: 55.0, 3: 25.0}
        self.gpm_status: dict[int, int] = {}
        self.gpm_samples = 0


class FakeNvml:
    """Has what the code takes of pynvml. Handles are the GPUs themselves, samples of GPM their numbers."""

    NVML_SUCCESS = 0
    NVML_VALUE_TYPE_UNSIGNED_LONG_LONG = UNSIGNED_LONG_LONG
    NVML_GPM_METRICS_GET_VERSION = 1
    NVMLError = NVMLError

    def __init__(self, *gpus: Gpu, failing: int | None = None) -> None:
        self.gpus = gpus
        self.failing = failing
        self.running = 0
        self.allocated: list[SimpleNamespace] = []
        self.compared: list[tuple[int, int]] = []

    def nvmlInit(self) -> None:
        if self.failing is not None:
            raise NVMLError(self.failing)
        self.running += 1

    def nvmlShutdown(self) -> None:
        self.running -= 1

    def nvmlDeviceGetCount(self) -> int:
        return len(self.gpus)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Gpu:
        return self.gpus[index]

    def nvmlDeviceGetUtilizationRates(self, gpu: Gpu) -> Any:
        return self._told(gpu, "utilization", lambda: SimpleNamespace(gpu=gpu.utilization, memory=5))

    def nvmlDeviceGetMemoryInfo(self, gpu: Gpu) -> Any:
        return self._told(gpu, "memory", lambda: SimpleNamespace(used=gpu.memory_used))

    def nvmlDeviceGetPowerUsage(self, gpu: Gpu) -> Any:
        return self._told(gpu, "power", lambda: gpu.milliwatts)

    def nvmlDeviceGetFieldValues(self, gpu: Gpu, fields: list[int]) -> Any:
        return self._told(gpu, "fields", lambda: [self._field(gpu, field) for field in fields])

    def nvmlDeviceGetPcieThroughput(self, gpu: Gpu, counter: int) -> Any:
        return self._told(gpu, "throughput", lambda: gpu.snapshot_kb_per_s[counter])

    def nvmlGpmQueryDeviceSupport(self, gpu: Gpu) -> Any:
        return self._told(gpu, "support", lambda: SimpleNamespace(isSupportedDevice=int(gpu.gpm_supported)))

    def nvmlGpmSampleAlloc(self) -> SimpleNamespace:
        self.allocated.append(SimpleNamespace(number=None))
        return self.allocated[-1]

    def nvmlGpmSampleFree(self, sample: SimpleNamespace) -> None:
        self.allocated.remove(sample)

    def nvmlGpmSampleGet(self, gpu: Gpu, sample: SimpleNamespace) -> Any:
        gpu.gpm_samples += 1
        sample.number, sample.gpu = gpu.gpm_samples, gpu
        return self._told(gpu, "sample", lambda: sample)

    def c_nvmlGpmMetricsGet_t(self) -> SimpleNamespace:
        metrics = [SimpleNamespace(metricId=0, nvmlReturn=0, value=0.0) for _ in range(8)]
        return SimpleNamespace(version=0, numMetrics=0, sample1=None, sample2=None, metrics=metrics)

    def nvmlGpmMetricsGet(self, wanted: SimpleNamespace) -> SimpleNamespace:
        assert wanted.version == self.NVML_GPM_METRICS_GET_VERSION
        gpu = wanted.sample2.gpu
        self._told(gpu, "metrics", lambda: None)
        self.compared.append((wanted.sample1.number, wanted.sample2.number))
        for metric in wanted.metrics[: wanted.numMetrics]:
            metric.nvmlReturn = gpu.gpm_status.get(metric.metricId, self.NVML_SUCCESS)
            metric.value = gpu.gpm[metric.metricId]
        return wanted

    def _told(self, gpu: Gpu, what: str, value: Callable[[], Any]) -> Any:
        if what in gpu.failing:
            raise NVMLError(gpu.failing[what])
        return value()

    def _field(self, gpu: Gpu, field: int) -> SimpleNamespace:
        count = gpu.pcie_bytes[field]
        if gpu.pcie_type == UNSIGNED_INT:
            count %= 2**32
        return SimpleNamespace(
            fieldId=field,
            timestamp=int(gpu.pcie_at * 1e6),
            valueType=gpu.pcie_type,
            nvmlReturn=gpu.pcie_status,
            # A union: all of its members show the same bytes.
            value=SimpleNamespace(ullVal=count, uiVal=count % 2**32),
        )
