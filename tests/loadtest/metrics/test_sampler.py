"""The sampler's thread: all sources at each time, and no mistake that is swallowed."""

from __future__ import annotations

import os
import time

import pytest

from loadtest.metrics.processes import Processes
from loadtest.metrics.sampler import Sampler
from loadtest.raw_log import Sample, Series
from tests.waiting import wait_until


class Counting:
    """A source whose value is how often it was asked."""

    def __init__(self, name: str, fails_at: int | None = None) -> None:
        self.name = name
        self.times: list[float] = []
        self._fails_at = fails_at

    def sample(self, at: float) -> list[Sample]:
        self.times.append(at)
        if len(self.times) == self._fails_at:
            raise ZeroDivisionError("a mistake")
        return [Sample(at, self.name, float(len(self.times)))]

    def series(self) -> list[Series]:
        return [Series(self.name, "1", "process")]


def test_all_sources_are_sampled_and_once_more_at_the_end() -> None:
    first, second = Counting("first"), Counting("second")
    with Sampler([first, second], time.time, every_s=0.001) as sampler:
        wait_until(lambda: len(second.times) >= 3)
    assert len(first.times) == len(second.times) >= 4
    assert len(sampler.samples) == 2 * len(first.times)
    assert [sample.at for sample in sampler.samples] == sorted(sample.at for sample in sampler.samples)
    assert [series.name for series in sampler.series()] == ["first", "second"]


def test_a_source_that_is_slower_than_the_rate_is_not_asked_for_what_it_missed() -> None:
    now = 100.0
    slow = Counting("slow")

    def clock() -> float:
        return now

    def sample(at: float) -> list[Sample]:
        nonlocal now
        now += 3500.0
        return Counting.sample(slow, at)

    slow.sample = sample  # type: ignore[method-assign]
    # Each takes 3,500 s of the clock: due at 100, and then at 4,100, which the clock has not reached.
    with Sampler([slow], clock, every_s=1000.0):
        wait_until(lambda: len(slow.times) >= 1)
    assert slow.times == [100.0, 3600.0]


def test_a_mistake_of_a_source_is_raised() -> None:
    source = Counting("failing", fails_at=2)
    with pytest.raises(ZeroDivisionError), Sampler([source], time.time, every_s=0.001):
        wait_until(lambda: len(source.times) >= 2)


def test_it_does_not_hide_what_went_wrong_meanwhile() -> None:
    source = Counting("failing", fails_at=1)

    def run() -> None:
        with Sampler([source], time.time, every_s=0.001):
            wait_until(lambda: source.times)
            raise KeyError("the run's own")

    with pytest.raises(KeyError, match="the run's own"):
        run()


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="there is no /proc here")
def test_processes_as_a_source() -> None:
    source = Processes(lambda: {"driver": os.getpid()})
    with Sampler([source], time.time, every_s=0.001) as sampler:
        pass
    assert {sample.series for sample in sampler.samples} == {"driver/cpu_s", "driver/rss_bytes"}
    assert {series.name for series in sampler.series()} == {"driver/cpu_s", "driver/rss_bytes"}
    assert all(sample.value > 0 for sample in sampler.samples)
