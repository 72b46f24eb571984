from __future__ import annotations

import numpy as np
import pytest

from loadtest.endpoint.service_law import fit_law


def test_the_law_is_found_again() -> None:
    law = fit_law([1, 8, 32, 128], [2.0 + 0.5 * rows for rows in (1, 8, 32, 128)])
    assert law is not None
    assert (law.a_ms, law.b_ms) == pytest.approx((2.0, 0.5))
    assert law.r_squared == pytest.approx(1.0)
    assert law.worst_residual == pytest.approx(0.0, abs=1e-9)
    assert law.time_ms(64) == pytest.approx(34.0)


def test_noise_of_5_percent_moves_it_little() -> None:
    rows = [1, 2, 4, 8, 16, 32, 64, 128]
    noise = np.random.default_rng(1).normal(1.0, 0.05, len(rows))
    law = fit_law(rows, [(4.0 + 0.25 * each) * factor for each, factor in zip(rows, noise, strict=True)])
    assert law is not None
    assert law.a_ms == pytest.approx(4.0, rel=0.1)
    assert law.b_ms == pytest.approx(0.25, rel=0.1)


def test_the_size_that_is_furthest_off_is_named() -> None:
    times = [2.0 + 0.5 * rows for rows in (1, 8, 32, 128)]
    times[2] *= 1.5
    law = fit_law([1, 8, 32, 128], times)
    assert law is not None
    assert law.worst_rows == 32
    assert law.worst_residual is not None
    assert law.worst_residual > 0.1


def test_a_small_size_counts_as_much_as_a_large_one() -> None:
    """By absolute squares, 1 % of the largest time would outweigh the whole smallest one."""
    times = [2.0 + 0.5 * rows for rows in (1, 8, 32, 1024)]
    times[3] *= 1.01
    law = fit_law([1, 8, 32, 1024], times)
    assert law is not None
    assert law.a_ms == pytest.approx(2.0, rel=0.02)


def test_two_sizes_leave_nothing_to_doubt_by() -> None:
    law = fit_law([1, 8], [2.5, 6.0])
    assert law is not None
    assert (law.r_squared, law.worst_residual, law.worst_rows) == (None, None, None)
    assert fit_law([8], [6.0]) is None


def test_a_time_that_rows_do_not_change() -> None:
    law = fit_law([1, 8, 32], [3.0, 3.0, 3.0])
    assert law is not None
    assert law.r_squared is None
    assert law.b_ms == pytest.approx(0.0, abs=1e-9)
