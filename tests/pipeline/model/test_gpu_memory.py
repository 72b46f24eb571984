"""A GPU's memory among processes: torch's functions answer as on an L4 of 24 GiB."""

from __future__ import annotations

import pytest
import torch

from pipeline.model.gpu_memory import Watch, limit_to_share

MIB = 2**20
GIB = 2**30
TOTAL = 24 * GIB


class Device:
    """A GPU, as torch's functions show it to one of the processes that share it.

    Attributes:
        fraction: What torch lets the process have.
        free: Bytes that nobody has.
        reserved: Bytes that the process has.
        peak: The most that the process's tensors took.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fraction = 1.0
        self.free = 0
        self.reserved = 0
        self.peak = 0
        fakes = {
            "is_initialized": lambda: True,
            "get_device_properties": lambda device: self,
            "set_per_process_memory_fraction": self._limit,
            "get_per_process_memory_fraction": lambda device: self.fraction,
            "mem_get_info": lambda device: (self.free, TOTAL),
            "memory_reserved": lambda device: self.reserved,
            "max_memory_allocated": lambda device: self.peak,
            "reset_peak_memory_stats": self._reset,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)

    @property
    def total_memory(self) -> int:
        return TOTAL

    def _limit(self, fraction: float, device: int) -> None:
        self.fraction = fraction

    def _reset(self, device: int) -> None:
        self.peak = 0


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Device:
    return Device(monkeypatch)


def no_room(wanted: str) -> torch.OutOfMemoryError:
    return torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {wanted}. GPU 0 has a total …")


@pytest.mark.parametrize(("processes", "share"), [(4, 6 * GIB - 512 * MIB), (96, 128 * MIB)])
def test_each_process_has_its_share(device: Device, processes: int, share: int) -> None:
    limit_to_share(processes)
    assert device.fraction * TOTAL == pytest.approx(share)
    # With their contexts all of them fit.
    assert processes * share <= TOTAL


def test_a_process_alone_has_all(device: Device) -> None:
    limit_to_share(1)
    assert device.fraction == 1.0


def others_took_it(device: Device, wanted: str, *, peak: int, reserved: int, free: int) -> bool:
    """Ask of a call that failed with so much in use."""
    device.free, device.reserved = free, reserved
    watch = Watch()
    device.peak = peak
    return watch.others_took_it(no_room(wanted))


class TestWhoIsToBlame:
    def test_others_have_what_the_row_needs(self, device: Device) -> None:
        """Two other processes have 20 GiB; the row needs 8 of 24."""
        assert others_took_it(device, "6.00 GiB", peak=2 * GIB, reserved=2 * GIB, free=1 * GIB)

    def test_a_row_that_the_whole_gpu_would_not_hold(self, device: Device) -> None:
        assert not others_took_it(device, "22.50 GiB", peak=2 * GIB, reserved=2 * GIB, free=1 * GIB)

    def test_a_row_that_its_share_would_not_hold(self, device: Device) -> None:
        """It would be tried again for ever: no process may have so much."""
        limit_to_share(4)
        assert not others_took_it(device, "5.00 GiB", peak=1 * GIB, reserved=1 * GIB, free=2 * GIB)

    def test_its_share_would_hold_it(self, device: Device) -> None:
        limit_to_share(4)
        assert others_took_it(device, "800.00 MiB", peak=1 * GIB, reserved=1 * GIB, free=500 * MIB)

    def test_a_process_alone_with_the_gpu(self, device: Device) -> None:
        """What is not there is its own context."""
        assert not others_took_it(
            device, "3.00 GiB", peak=21 * GIB, reserved=21 * GIB, free=3 * GIB - 400 * MIB
        )

    def test_others_have_just_given_it_back(self, device: Device) -> None:
        device.free, device.reserved = 1 * GIB, 2 * GIB
        watch = Watch()
        device.peak, device.free = 2 * GIB, 21 * GIB
        assert watch.others_took_it(no_room("6.00 GiB"))

    def test_what_was_wanted_is_not_told(self, device: Device) -> None:
        """CUDA's libraries do not say; what they want is small."""
        device.free, device.reserved = 0, 2 * GIB
        assert Watch().others_took_it(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"))


def test_without_a_gpu_nobody_took_it() -> None:
    assert not Watch().others_took_it(MemoryError())
