"""GPU metrics by NVML: values in our units, and the reason for each that cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.metrics.nvml import Nvml, load
from tests.loadtest.metrics.fake_nvml import (
    DRIVER_NOT_LOADED,
    GPU_IS_LOST,
    NO_PERMISSION,
    NOT_SUPPORTED,
    UNSIGNED_INT,
    FakeNvml,
    Gpu,
)


def read(source: Nvml, at: float) -> dict[str, float]:
    samples = source.sample(at)
    assert all(sample.at == at for sample in samples)
    return {sample.series: sample.value for sample in samples}


def reasons(source: Nvml) -> dict[str, str]:
    assert all(series.source == "NVML" for series in source.series())
    return {series.name: series.unavailable for series in source.series()}


def test_all_of_a_gpu_in_our_units() -> None:
    gpu = Gpu()
    source = Nvml(lambda: FakeNvml(gpu))
    first = read(source, 10.0)
    assert first == {
        "gpu/0/utilization": 0.4, "gpu/0/memory_bytes": 3.0 * 2**30, "gpu/0/power_w": 250.5
    }  # fmt: skip
    gpu.pcie_bytes, gpu.pcie_at = {197: 4_000, 198: 9 * 2**32}, 2.0
    second = read(source, 11.0)
    assert second == first | {
        "gpu/0/pcie_tx_bytes_per_s": 2_000.0,
        # More than 4 GiB between two samples, as a busy bus moves.
        "gpu/0/pcie_rx_bytes_per_s": 4.5 * 2**32,
        "gpu/0/sm_activity": pytest.approx(0.55),
        "gpu/0/sm_occupancy": 0.25,
    }
    assert set(reasons(source).values()) == {""}
    units = {series.name.rsplit("/", 1)[1]: series.unit for series in source.series()}
    assert (units["power_w"], units["pcie_rx_bytes_per_s"], units["sm_activity"]) == ("W", "bytes/s", "1")


def test_each_gpu_has_series_of_its_own() -> None:
    lost = Gpu()
    lost.failing = dict.fromkeys(("utilization", "memory", "power", "fields", "throughput"), GPU_IS_LOST)
    source = Nvml(lambda: FakeNvml(Gpu(), lost))
    found = read(source, 10.0)
    assert "gpu/0/utilization" in found
    assert not any(name.startswith("gpu/1/") for name in found)
    assert reasons(source)["gpu/1/utilization"] == "not available: GPU is lost"


class TestNone:
    def test_not_installed(self) -> None:
        def missing() -> Any:
            raise ImportError("No module named 'pynvml'")

        source = Nvml(missing)
        assert source.sample(10.0) == []
        assert reasons(source)["gpu/sm_activity"] == (
            "not available: nvidia-ml-py is not installed: `pip install nvidia-ml-py`"
        )
        source.close()

    def test_no_driver(self) -> None:
        nvml = FakeNvml(failing=DRIVER_NOT_LOADED)
        source = Nvml(lambda: nvml)
        assert set(reasons(source).values()) == {"not available: NVML: Driver Not Loaded"}
        source.close()
        assert nvml.running == 0

    def test_no_gpu(self) -> None:
        nvml = FakeNvml()
        source = Nvml(lambda: nvml)
        assert set(reasons(source).values()) == {"not available: NVML knows no GPU here"}
        source.close()
        assert nvml.running == 0

    def test_here(self) -> None:
        # Whatever this machine has: the true module, if it is installed, or the reason.
        try:
            load()
        except ImportError:
            assert all("is not installed" in why for why in reasons(Nvml()).values())
        else:
            source = Nvml()
            source.sample(10.0)
            assert source.series()
            source.close()


class TestPcie:
    def test_a_counter_of_32_bits_is_not_trusted_and_a_snapshot_stands_in(self) -> None:
        gpu = Gpu()
        gpu.pcie_type = UNSIGNED_INT
        source = Nvml(lambda: FakeNvml(gpu))
        read(source, 10.0)
        # It wraps, once or twice: 2**32 + 100 and 100 look alike.
        gpu.pcie_bytes, gpu.pcie_at = {197: 2**32 + 100, 198: 100}, 1.0
        found = read(source, 11.0)
        assert "gpu/0/pcie_tx_bytes_per_s" not in found
        assert found["gpu/0/pcie_tx_snapshot_bytes_per_s"] == 7_000.0
        assert found["gpu/0/pcie_rx_snapshot_bytes_per_s"] == 9_000.0
        assert reasons(source)["gpu/0/pcie_tx_bytes_per_s"].startswith("not available: a counter of 32 bits")

    def test_a_counter_that_goes_backwards_is_no_rate(self) -> None:
        gpu = Gpu()
        source = Nvml(lambda: FakeNvml(gpu))
        found = []
        for at, count in ((0.0, 10**9), (1.0, 2 * 10**9), (2.0, 10**6), (3.0, 3 * 10**6)):
            gpu.pcie_bytes, gpu.pcie_at = {197: count, 198: count}, at
            found.append(read(source, at).get("gpu/0/pcie_tx_bytes_per_s"))
        assert found == [None, 1e9, None, 2e6]
        assert reasons(source)["gpu/0/pcie_tx_bytes_per_s"] == (
            "partly not available: 1 of 3 readings failed (the counter of PCIe bytes went backwards)"
        )

    def test_the_same_reading_again_is_no_rate(self) -> None:
        gpu = Gpu()
        source = Nvml(lambda: FakeNvml(gpu))
        read(source, 10.0)
        assert "gpu/0/pcie_tx_bytes_per_s" not in read(source, 11.0)

    def test_neither_counter_nor_snapshot(self) -> None:
        gpu = Gpu()
        gpu.pcie_status = NOT_SUPPORTED
        gpu.failing = {"throughput": NOT_SUPPORTED}
        source = Nvml(lambda: FakeNvml(gpu))
        assert not any("pcie" in name for name in read(source, 10.0))
        assert reasons(source)["gpu/0/pcie_rx_bytes_per_s"] == "not available: Not Supported"
        assert reasons(source)["gpu/0/pcie_rx_snapshot_bytes_per_s"] == "not available: Not Supported"


class TestGpm:
    def test_a_gpu_that_has_none(self) -> None:
        gpu = Gpu()
        gpu.gpm_supported = False
        source = Nvml(lambda: FakeNvml(gpu))
        read(source, 10.0)
        assert reasons(source)["gpu/0/sm_activity"] == (
            "not available: this GPU has no GPM (Hopper and newer have)"
        )

    def test_it_fails_in_mid_run_and_comes_back(self) -> None:
        gpu = Gpu()
        nvml = FakeNvml(gpu)
        source = Nvml(lambda: nvml)
        activity = []
        for second in range(6):
            gpu.failing = {"sample": NO_PERMISSION} if second in (2, 3) else {}
            found = read(source, float(second))
            activity.append("gpu/0/sm_activity" in found)
            assert "gpu/0/utilization" in found
        # After the failure it takes two samples again: one from before it would tell of all the time since.
        assert activity == [False, True, False, False, False, True]
        assert nvml.compared == [(1, 2), (5, 6)]
        assert reasons(source)["gpu/0/sm_activity"] == (
            "partly not available: 2 of 4 readings failed (Insufficient Permissions)"
        )

    def test_the_comparison_fails(self) -> None:
        gpu = Gpu()
        gpu.failing = {"metrics": NO_PERMISSION}
        source = Nvml(lambda: FakeNvml(gpu))
        read(source, 10.0)
        read(source, 11.0)
        assert reasons(source)["gpu/0/sm_occupancy"] == "not available: Insufficient Permissions"

    def test_one_metric_of_it_fails(self) -> None:
        gpu = Gpu()
        gpu.gpm_status = {3: NOT_SUPPORTED}
        source = Nvml(lambda: FakeNvml(gpu))
        read(source, 10.0)
        found = read(source, 11.0)
        assert found["gpu/0/sm_activity"] == pytest.approx(0.55)
        assert "gpu/0/sm_occupancy" not in found
        assert reasons(source)["gpu/0/sm_occupancy"] == "not available: Not Supported"

    def test_samples_are_50_ms_apart(self) -> None:
        nvml = FakeNvml(Gpu())
        source = Nvml(lambda: nvml)
        for at in (10.0, 10.02, 10.04, 10.06, 10.08, 10.12):
            read(source, at)
        assert len(nvml.compared) == 2

    def test_an_older_library_lacks_it(self) -> None:
        class Older(FakeNvml):
            def __getattribute__(self, name: str) -> Any:
                if name.startswith("nvmlGpm"):
                    raise AttributeError(f"module 'pynvml' has no attribute '{name}'")
                return super().__getattribute__(name)

        source = Nvml(lambda: Older(Gpu()))
        assert "gpu/0/utilization" in read(source, 10.0)
        assert "has no attribute 'nvmlGpmQueryDeviceSupport'" in reasons(source)["gpu/0/sm_activity"]


def test_closing_frees_what_was_taken() -> None:
    nvml = FakeNvml(Gpu(), Gpu())
    source = Nvml(lambda: nvml)
    read(source, 10.0)
    assert (nvml.running, len(nvml.allocated)) == (1, 4)
    source.close()
    source.close()
    assert (nvml.running, len(nvml.allocated)) == (0, 0)
