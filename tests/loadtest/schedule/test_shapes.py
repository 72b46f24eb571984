from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from loadtest.schedule.shapes import SHAPES, Schedule

OF_RATES = [shape for shape in SHAPES if shape != "trace"]


def schedule(shape: str, rate: float, duration: float, to_rate: float = 1.0, **others: float) -> Schedule:
    goes_to = {"to_rate": to_rate} if "to_rate" in SHAPES[shape] else {}
    made = Schedule(shape, rate, duration, **goes_to, **others)  # type: ignore[arg-type]
    assert made.problems() == []
    return made


def rates(offsets: NDArray[np.float64], edges: list[float]) -> list[float]:
    """Return the messages a second between each two edges."""
    counts, _ = np.histogram(offsets, edges)
    return list(counts / np.diff(edges))


def test_constant_is_evenly_spaced_from_zero() -> None:
    offsets = schedule("constant", 200, 15).offsets()
    assert offsets.dtype == np.float64
    assert len(offsets) == 3000
    assert offsets[0] == 0
    np.testing.assert_allclose(offsets, np.arange(3000) / 200, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("rate", "duration", "count"), [(0.1, 30, 3), (3, 0.5, 2), (49, 1, 49), (0.1, 1, 1)])
def test_constant_counts_at_awkward_fractions(rate: float, duration: float, count: int) -> None:
    assert len(schedule("constant", rate, duration).offsets()) == count


def test_poisson_gaps_are_exponential() -> None:
    """Kolmogorov-Smirnov against 1 - exp(-rate x gap), at 1 %: its critical value is 1.628 / sqrt(n)."""
    gaps = np.sort(np.diff(schedule("poisson", 500, 200, seed=7).offsets()))
    n = len(gaps)
    expected = 1 - np.exp(-500 * gaps)
    distance = max((np.arange(1, n + 1) / n - expected).max(), (expected - np.arange(n) / n).max())
    assert n > 99_000
    assert distance < 1.628 / np.sqrt(n)
    # The test is one that can fail: gaps that are 2 % too long do not pass it.
    wrong = 1 - np.exp(-500 * 0.98 * gaps)
    assert (np.arange(1, n + 1) / n - wrong).max() > 1.628 / np.sqrt(n)


def test_poisson_of_low_rate_may_draw_more_gaps_than_expected() -> None:
    counts = [len(schedule("poisson", 0.5, 2, seed=seed).offsets()) for seed in range(2000)]
    assert abs(np.mean(counts) - 1) < 5 / np.sqrt(2000)


def test_a_ramp_rises_evenly() -> None:
    ramp = schedule("ramp", 100, 10, to_rate=1900)
    offsets = ramp.offsets()
    assert len(offsets) == 10_000
    assert rates(offsets, [0, 2.5, 5, 7.5, 10]) == pytest.approx([325, 775, 1225, 1675], abs=1)
    # Message k is due where the integral of the rate, 100 t + 90 t^2, is k.
    np.testing.assert_allclose(100 * offsets + 90 * offsets**2, np.arange(10_000), rtol=0, atol=1e-4)


def test_steps_are_level() -> None:
    offsets = schedule("step", 100, 12, to_rate=400, steps=4).offsets()
    assert rates(offsets, [0, 3, 6, 9, 12]) == [100, 200, 300, 400]
    np.testing.assert_allclose(np.diff(offsets[:300]), 0.01, rtol=0, atol=1e-12)
    assert rates(schedule("step", 500, 10, to_rate=100).offsets(), [0, 2, 4, 6, 8, 10]) == [
        500, 400, 300, 200, 100,
    ]  # fmt: skip


def test_bursts_end_each_period() -> None:
    offsets = schedule("burst", 100, 20, to_rate=1000, period=5, width=1).offsets()
    assert rates(offsets, [0, 4, 5, 9, 10, 14, 15, 19, 20]) == [100, 1000] * 4


def test_a_spike_is_in_the_middle() -> None:
    offsets = schedule("spike", 100, 10, to_rate=1000, width=2).offsets()
    assert rates(offsets, [0, 4, 6, 10]) == [100, 1000, 100]


def test_a_sine_swings_from_one_rate_to_the_other() -> None:
    offsets = schedule("sine", 100, 20, to_rate=1100, period=10).offsets()
    assert len(offsets) == 12_000
    # Means over a quarter around trough and peak: mean -+ amplitude x sin(pi/4) / (pi/4).
    swing = 500 * np.sin(np.pi / 4) / (np.pi / 4)
    found = rates(offsets, [3.75, 6.25, 8.75, 11.25, 13.75])
    assert found == pytest.approx([600 + swing, 600, 600 - swing, 600], abs=1)


@pytest.mark.parametrize("shape", OF_RATES)
def test_counts_are_the_integral_of_the_rate(shape: str) -> None:
    made = schedule(shape, 300, 200, to_rate=2000, warmup=10)
    integral = {
        "constant": 63_000, "poisson": 63_000, "ramp": 233_000, "step": 233_000, "burst": 97_000,
        "spike": 97_000, "sine": 233_000,
    }[shape]  # fmt: skip
    count = len(made.offsets())
    assert made.due() == pytest.approx(integral)
    # The count of a Poisson process has a standard deviation of its root.
    assert abs(count - integral) <= (5 * np.sqrt(integral) if shape == "poisson" else 1)


@pytest.mark.parametrize("shape", OF_RATES)
def test_the_warm_up_is_at_the_first_rate(shape: str) -> None:
    offsets = schedule(shape, 100, 100, to_rate=1000, warmup=50).offsets()
    expected = 5000 if shape != "poisson" else pytest.approx(5000, abs=5 * np.sqrt(5000))
    assert (offsets < 50).sum() == expected


@pytest.mark.parametrize("shape", OF_RATES)
def test_same_arguments_give_the_same_schedule(shape: str) -> None:
    one, two = (schedule(shape, 300, 3, to_rate=600, seed=5).offsets() for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_seeds_differ() -> None:
    one, two = (schedule("poisson", 300, 3, seed=seed).offsets() for seed in (1, 2))
    assert one[0] != two[0]


@given(
    st.sampled_from(OF_RATES), st.floats(0.01, 2000), st.floats(0.01, 5), st.floats(0.01, 2000),
    st.floats(0, 2), st.integers(0, 2**32),
)  # fmt: skip
def test_offsets_ascend_within_the_duration(
    shape: str, rate: float, duration: float, to_rate: float, warmup: float, seed: int
) -> None:
    made = schedule(shape, rate, duration, to_rate=to_rate, warmup=warmup, seed=seed)
    offsets = made.offsets()
    assert (np.diff(offsets) >= 0).all()
    assert ((offsets >= 0) & (offsets < made.seconds)).all()


def test_its_words_are_its_flags() -> None:
    assert str(schedule("constant", 200, 15)) == "constant --rate=200"
    assert str(schedule("burst", 10, 50, to_rate=99)) == "burst --rate=10 --to_rate=99 --period=10 --width=1"


@pytest.mark.parametrize("shape", OF_RATES)
def test_messages_due_until_a_time_are_those_sent_by_then(shape: str) -> None:
    made = schedule(shape, 30, 20, to_rate=200, warmup=5)
    times = np.array([0.0, 2.5, 5.0, 7.7, 13.0, 21.3, 25.0, 40.0])
    if shape == "poisson":  # it expects the mean
        np.testing.assert_allclose(made.due_at(times), 30 * np.minimum(times, 25))
        return
    sent = np.searchsorted(made.offsets(), times)
    assert np.abs(made.due_at(times) - sent).max() <= 1 + 1e-6
    assert made.due_at(times)[-1] == pytest.approx(made.due())
