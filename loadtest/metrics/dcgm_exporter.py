"""GPU metrics of a dcgm-exporter, which tells them as Prometheus text.

Fields: https://docs.nvidia.com/datacenter/dcgm/latest/dcgm-api/dcgm-api-field-ids.html
Format: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping

import requests

from loadtest.metrics.gpu import (
    MEMORY,
    PCIE_RX,
    PCIE_TX,
    POWER,
    SM_ACTIVITY,
    SM_OCCUPANCY,
    UTILIZATION,
    GpuReadings,
    nothing,
)
from loadtest.raw_log import Sample, Series
from pipeline.options.address import is_loopback, parse_url

# Each with its factor to our unit: percent, MiB, W, bytes/s (a rate, though older exporters call it a
# counter), and shares of cycles.
_FIELDS: Mapping[str, tuple[str, float]] = {
    UTILIZATION: ("DCGM_FI_DEV_GPU_UTIL", 0.01),
    MEMORY: ("DCGM_FI_DEV_FB_USED", 2.0**20),
    POWER: ("DCGM_FI_DEV_POWER_USAGE", 1.0),
    PCIE_TX: ("DCGM_FI_PROF_PCIE_TX_BYTES", 1.0),
    PCIE_RX: ("DCGM_FI_PROF_PCIE_RX_BYTES", 1.0),
    SM_ACTIVITY: ("DCGM_FI_PROF_SM_ACTIVE", 1.0),
    SM_OCCUPANCY: ("DCGM_FI_PROF_SM_OCCUPANCY", 1.0),
}
_TIMEOUT_S = 5.0
# A node of 8 GPUs with all fields has 0.1 MB.
_MOST_BYTES = 4 * 2**20

_LINE = re.compile(r"([A-Za-z_:][A-Za-z0-9_:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?[0-9]+)?\s*")
_LABEL = re.compile(r'([A-Za-z_][A-Za-z0-9_]*)="((?:[^"\\]|\\.)*)"')


class DcgmExporter:
    """A source of the metrics of all GPUs of one exporter, for the sampler."""

    def __init__(self, url: str) -> None:
        """Start; nothing is asked yet.

        Args:
            url: Such as http://127.0.0.1:9400/metrics. No token is sent there.

        Raises:
            ValueError: It is none.
        """
        self._url = parse_url(url)
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(url)
        self._readings = GpuReadings("dcgm-exporter")
        self._gpus: set[str] = set()
        self._why_not = f"{url} was not asked"

    def sample(self, at: float) -> list[Sample]:
        """Return what the exporter has now, whose own sampling may be slower."""
        try:
            found = self._fields()
        except _ScrapeError as error:
            self._why_not = str(error)
            for gpu in self._gpus:
                for quantity in _FIELDS:
                    self._readings.failure(gpu, quantity, self._why_not)
            return []
        self._gpus |= {gpu for gpu, _ in found}
        if not self._gpus:
            self._why_not = f"{self._url} tells of no GPU"
        samples = []
        for gpu in sorted(self._gpus):
            for quantity, (name, scale) in _FIELDS.items():
                if (gpu, name) in found:
                    value = found[gpu, name] * scale
                    samples.append(self._readings.value(at, gpu, quantity, value))
                else:
                    self._readings.failure(gpu, quantity, f"{self._url} has no {name} of this GPU")
        return samples

    def series(self) -> list[Series]:
        """Return what is sampled, with the reason where something could not be read."""
        return self._readings.series() or nothing("dcgm-exporter", self._why_not)

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _fields(self) -> dict[tuple[str, str], float]:
        """Return the fields that are wanted, by GPU and field.

        One GPU that several containers share is listed once for each, and slices of one (MIG) are, too: the
        highest value counts.
        """
        wanted = {name for name, _ in _FIELDS.values()}
        found: dict[tuple[str, str], float] = {}
        for name, labels, value in _parsed(self._text()):
            if name in wanted and "gpu" in labels and math.isfinite(value):
                key = labels["gpu"], name
                found[key] = max(value, found.get(key, value))
        return found

    def _text(self) -> str:
        try:
            with self._session.get(
                self._url, timeout=_TIMEOUT_S, allow_redirects=False, stream=True
            ) as response:
                if response.status_code != 200:
                    raise _ScrapeError(f"{self._url} answered {response.status_code} {response.reason}")
                body = b""
                for part in response.iter_content(65536):
                    body += part
                    if len(body) > _MOST_BYTES:
                        raise _ScrapeError(f"{self._url} answered more than {_MOST_BYTES} bytes")
        except requests.exceptions.RequestException as error:
            raise _ScrapeError(f"no answer of {self._url}: {error}") from error
        return body.decode(errors="replace")


class _ScrapeError(Exception):
    """The exporter gave nothing; the message says why."""


def _parsed(text: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """Yield name, labels and value of each sample; lines that are none are left out."""
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        yield match[1], dict(_LABEL.findall(match[2] or "")), value
