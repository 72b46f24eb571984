"""NVML's performance monitor of Hopper and newer GPUs: metrics between two samples.

Names and numbers are those of nvidia-ml-py 13. It may be refused, also in mid-run (status 4, no permission).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What NVIDIA asks for between two samples.
_APART_S = 0.05


def errors(nvml: Any) -> tuple[type[Exception], ...]:
    """Return what a call of NVML raises. An older nvidia-ml-py lacks some of the functions and names."""
    return (nvml.NVMLError, AttributeError)


class Gpm:
    """Reads some metrics of one GPU."""

    def __init__(self, nvml: Any, device: Any, metrics: Mapping[str, int]) -> None:
        """Prepare to read; where that is refused, each reading tells why.

        Args:
            nvml: The module pynvml, started.
            device: Handle of the GPU.
            metrics: Numbers (NVML_GPM_METRIC_…) by a name of the caller's.
        """
        self._nvml = nvml
        self._device = device
        self._metrics = metrics
        self._why_not = ""
        self._samples: list[Any] = []
        self._taken_at: float | None = None
        try:
            if nvml.nvmlGpmQueryDeviceSupport(device).isSupportedDevice:
                self._samples = [nvml.nvmlGpmSampleAlloc(), nvml.nvmlGpmSampleAlloc()]
            else:
                self._why_not = "this GPU has no GPM (Hopper and newer have)"
        except errors(nvml) as error:
            self._why_not = str(error)

    def read(self, at: float) -> Mapping[str, float | str]:
        """Return each metric since the last call, in NVML's unit, or why there is none.

        The first call returns nothing, nor does one that follows the last too soon.

        Args:
            at: Seconds now, of any clock.
        """
        if self._why_not:
            return dict.fromkeys(self._metrics, self._why_not)
        if self._taken_at is not None and at - self._taken_at < _APART_S:
            return {}
        before, after = self._samples
        nvml = self._nvml
        try:
            nvml.nvmlGpmSampleGet(self._device, after)
        except errors(nvml) as error:
            # What comes next is compared with a new first sample: the old one may be of long ago.
            self._taken_at = None
            return dict.fromkeys(self._metrics, str(error))
        first, self._taken_at = self._taken_at is None, at
        self._samples = [after, before]
        return {} if first else self._between(before, after)

    def close(self) -> None:
        """Free the samples."""
        for sample in self._samples:
            self._nvml.nvmlGpmSampleFree(sample)
        self._samples = []

    def _between(self, before: Any, after: Any) -> Mapping[str, float | str]:
        nvml = self._nvml
        wanted = nvml.c_nvmlGpmMetricsGet_t()
        wanted.version = nvml.NVML_GPM_METRICS_GET_VERSION
        wanted.numMetrics = len(self._metrics)
        wanted.sample1, wanted.sample2 = before, after
        for place, number in enumerate(self._metrics.values()):
            wanted.metrics[place].metricId = number
        try:
            nvml.nvmlGpmMetricsGet(wanted)
        except errors(nvml) as error:
            return dict.fromkeys(self._metrics, str(error))
        found: dict[str, float | str] = {}
        for place, name in enumerate(self._metrics):
            metric = wanted.metrics[place]
            succeeded = metric.nvmlReturn == nvml.NVML_SUCCESS
            found[name] = float(metric.value) if succeeded else str(nvml.NVMLError(metric.nvmlReturn))
        return found
