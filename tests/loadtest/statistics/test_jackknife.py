from __future__ import annotations

import numpy as np
import pytest

from loadtest.statistics.jackknife import BLOCKS, blocks_of, interval, ratio_of_sums


def test_blocks_are_even_and_in_order() -> None:
    assert blocks_of(25).tolist() == sorted(blocks_of(25).tolist())
    assert np.bincount(blocks_of(100)).tolist() == [10] * BLOCKS
    assert len(blocks_of(0)) == 0


def test_of_a_mean_it_is_students_interval() -> None:
    """The jackknife of a mean is exact: t times the standard error of the blocks' means."""
    values = np.random.default_rng(1).normal(10, 2, 10 * BLOCKS)
    block = blocks_of(len(values))
    found = interval(float(values.mean()), [float(values[block != k].mean()) for k in range(BLOCKS)])
    assert found is not None
    error = float(np.std(values.reshape(BLOCKS, -1).mean(axis=1), ddof=1)) / np.sqrt(BLOCKS)
    assert found == pytest.approx((values.mean() - 2.2622 * error, values.mean() + 2.2622 * error))


def test_a_ratio_is_held() -> None:
    held = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        below = random.poisson(100, 60).astype(np.float64)
        found = ratio_of_sums(below * random.normal(3, 0.3, 60), below)
        assert found is not None
        assert found[1] is not None
        held += found[1][0] <= 3 <= found[1][1]
    assert 180 <= held <= 199  # 95 % of 200 is 190, with a standard deviation of 3


def test_what_cannot_be_told() -> None:
    assert ratio_of_sums(np.ones(5), np.zeros(5)) is None
    assert ratio_of_sums(np.ones(4), np.ones(4)) == (1.0, None)
