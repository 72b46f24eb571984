from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression

from loadtest.statistics.isotonic import fit

points = st.lists(st.tuples(st.integers(0, 8), st.floats(-5, 5), st.floats(0.1, 3)), min_size=1, max_size=20)


@given(points)
def test_equals_scikit_learn(drawn: list[tuple[int, float, float]]) -> None:
    x, y, weights = (np.array(column, dtype=float) for column in zip(*drawn, strict=True))
    theirs = IsotonicRegression().fit(x, y, sample_weight=weights)
    np.testing.assert_allclose(y - fit(x, y, weights).residuals, theirs.predict(x), atol=1e-9)


def test_the_root_is_linear_between_points() -> None:
    found = fit([1, 2, 4], [-3, -1, 3])
    assert found.root() == pytest.approx(2.5)
    assert found.root(level=1) == pytest.approx(3)
    assert found.at(3) == pytest.approx(1)


def test_points_at_one_place_are_averaged_by_weight() -> None:
    found = fit([1, 2, 2], [-1, 0, 3], weights=[1, 2, 1])
    assert found.y.tolist() == [-1, 1]
    assert found.residuals.tolist() == [0, -1, 2]


def test_where_all_is_above_or_below_there_is_no_root() -> None:
    assert fit([1, 2], [1, 2]).root() is None
    assert fit([1, 2], [-2, -1]).root() is None


def test_no_points_are_refused() -> None:
    with pytest.raises(ValueError, match="no points"):
        fit([], [])
