"""How the time of a call grows with its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ServiceLaw:
    """time = a + b x rows, of a call that meets an idle endpoint.

    Attributes:
        a_ms: What a call costs whatever it holds, milliseconds.
        b_ms: What a row adds, milliseconds.
        r_squared: Share of the times' variance that it explains; None for two sizes, which any line fits.
        worst_residual: Largest (measured - law) / measured, with its sign; None for two sizes.
        worst_rows: The size of it.
    """

    a_ms: float
    b_ms: float
    r_squared: float | None
    worst_residual: float | None
    worst_rows: int | None

    def time_ms(self, rows: float) -> float:
        """Return the milliseconds of a call of so many rows."""
        return self.a_ms + self.b_ms * rows


def fit_law(rows: Sequence[int], times_ms: Sequence[float]) -> ServiceLaw | None:
    """Fit by least squares of the relative residuals, or return None for fewer than two sizes.

    Noise grows with the time, so that each size weighs 1 / time^2; otherwise the largest would decide alone.

    Args:
        rows: Of each size, distinct.
        times_ms: Median time of a call of each size, above 0.
    """
    if len(rows) < 2:
        return None
    sizes, times = np.asarray(rows, dtype=np.float64), np.asarray(times_ms, dtype=np.float64)
    columns = np.stack([1 / times, sizes / times], axis=1)
    (a, b), *_ = np.linalg.lstsq(columns, np.ones(len(times)), rcond=None)
    if len(rows) == 2:
        return ServiceLaw(float(a), float(b), None, None, None)
    residuals = (times - (a + b * sizes)) / times
    spread = float(np.sum((times - times.mean()) ** 2))
    explained = 1 - float(np.sum((residuals * times) ** 2)) / spread if spread else None
    worst = int(np.argmax(np.abs(residuals)))
    return ServiceLaw(float(a), float(b), explained, float(residuals[worst]), int(rows[worst]))
