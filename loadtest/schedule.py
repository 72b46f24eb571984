"""When each message should be sent, computed before the first one is.

An open loop: the offsets depend on the arguments only, never on how the system under test responds.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHAPES = ("constant", "poisson")


def send_offsets(shape: str, rate: float, duration: float, seed: int) -> NDArray[np.float64]:
    """Return the intended send times, [n] seconds after the start, ascending, all in [0, duration).

    Args:
        shape: "constant" sends message k at k/rate; "poisson" sums exponential gaps of mean 1/rate, drawn
            from NumPy's default generator (a Poisson process).
        rate: Messages a second, above 0.
        duration: Seconds, above 0.
        seed: Of the generator; without effect on "constant".

    Raises:
        ValueError: The shape is unknown.
    """
    if shape == "constant":
        offsets = np.arange(int(np.ceil(rate * duration)) + 1, dtype=np.float64) / rate
    elif shape == "poisson":
        offsets = _poisson(rate, duration, seed)
    else:
        raise ValueError(f"unknown schedule {shape!r}: choose one of {', '.join(SHAPES)}")
    # The tolerance keeps rate x duration messages where k/rate rounds to just under the duration.
    return offsets[offsets < duration * (1 - 1e-12)]


def _poisson(rate: float, duration: float, seed: int) -> NDArray[np.float64]:
    generator = np.random.default_rng(seed)
    expected = rate * duration
    chunk = int(expected + 5 * np.sqrt(expected)) + 10
    offsets = np.cumsum(generator.exponential(1 / rate, chunk))
    while offsets[-1] < duration:
        more = offsets[-1] + np.cumsum(generator.exponential(1 / rate, chunk))
        offsets = np.concatenate([offsets, more])
    return offsets
