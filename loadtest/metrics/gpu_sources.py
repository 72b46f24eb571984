"""Which GPUs a run samples: those of this machine, by NVML, or those of a dcgm-exporter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from loadtest.metrics.dcgm_exporter import DcgmExporter
from loadtest.metrics.nvml import Nvml
from loadtest.metrics.sampler import Source

# It is there wherever NVIDIA's driver is loaded, in containers, too.
_DRIVER = Path("/proc/driver/nvidia/version")


@contextmanager
def gpu_sources(dcgm_exporter: str, *, expected: bool, driver: Path = _DRIVER) -> Iterator[Sequence[Source]]:
    """Open the sources of GPU metrics for one run; none on a machine without a GPU.

    Args:
        dcgm_exporter: URL of an exporter, which takes NVML's place; empty for none.
        expected: Whether the user counts on a GPU here, and so wants to know why there is none.
        driver: A file that is there wherever the driver is.
    """
    if dcgm_exporter:
        with closing(DcgmExporter(dcgm_exporter)) as exporter:
            yield [exporter]
        return
    with closing(Nvml()) as nvml:
        yield [nvml] if nvml.has_gpus or expected or driver.exists() else []
