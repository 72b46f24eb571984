from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.schedule import SHAPES, send_offsets


def test_constant_is_evenly_spaced_from_zero() -> None:
    offsets = send_offsets("constant", rate=200, duration=15, seed=1)
    assert offsets.dtype == np.float64
    assert len(offsets) == 3000
    assert offsets[0] == 0
    np.testing.assert_allclose(offsets, np.arange(3000) / 200, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("rate", "duration", "count"), [(0.1, 30, 3), (3, 0.5, 2), (49, 1, 49), (0.1, 1, 1)])
def test_constant_counts_at_awkward_fractions(rate: float, duration: float, count: int) -> None:
    assert len(send_offsets("constant", rate, duration, seed=0)) == count


def test_poisson_has_exponential_gaps_of_the_right_mean() -> None:
    offsets = send_offsets("poisson", rate=500, duration=200, seed=7)
    gaps = np.diff(offsets)
    # 100,000 draws: five standard errors of the mean, and of the deviation (an exponential has both equal).
    assert abs(gaps.mean() * 500 - 1) < 5 / np.sqrt(len(gaps))
    assert abs(gaps.std() * 500 - 1) < 5 * np.sqrt(2 / len(gaps))


def test_poisson_of_low_rate_may_draw_more_gaps_than_expected() -> None:
    counts = [len(send_offsets("poisson", rate=0.5, duration=2, seed=seed)) for seed in range(2000)]
    assert abs(np.mean(counts) - 1) < 5 / np.sqrt(2000)


@pytest.mark.parametrize("shape", SHAPES)
def test_same_arguments_give_the_same_schedule(shape: str) -> None:
    one, two = (send_offsets(shape, rate=300, duration=3, seed=5) for _ in range(2))
    np.testing.assert_array_equal(one, two)


def test_seeds_differ() -> None:
    one, two = (send_offsets("poisson", rate=300, duration=3, seed=seed) for seed in (1, 2))
    assert one[0] != two[0]


@given(st.sampled_from(SHAPES), st.floats(0.01, 2000), st.floats(0.01, 5), st.integers(0, 2**32))
def test_offsets_ascend_within_the_duration(shape: str, rate: float, duration: float, seed: int) -> None:
    offsets = send_offsets(shape, rate, duration, seed)
    assert (np.diff(offsets) >= 0).all()
    assert ((offsets >= 0) & (offsets < duration)).all()


def test_an_unknown_shape_is_named() -> None:
    with pytest.raises(ValueError, match="unknown schedule 'sine'"):
        send_offsets("sine", 1, 1, 1)
