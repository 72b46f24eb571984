"""Seeded draws of what is not published, for predictions with bands."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.unknowns import UNKNOWNS, Distribution, Unknown

Floats = NDArray[np.float64]

DEFAULT_DRAWS = 50


@dataclass(frozen=True, eq=False)
class Draws:
    """Values of all unknowns.

    Attributes:
        count: How many draws; draw 0 has the defaults: it is the central prediction.
        values: By name, [count] each.
        fixed: Names of those that were given and not drawn.
    """

    count: int
    values: Mapping[str, Floats]
    fixed: frozenset[str] = frozenset()

    def __getitem__(self, name: str) -> Floats:
        return self.values[name]

    def chosen(self, which: Sequence[int]) -> Draws:
        """Return some of the draws, in the order given."""
        values = {name: drawn[list(which)] for name, drawn in self.values.items()}
        return Draws(len(which), values, self.fixed)

    def with_values(self, values: Mapping[str, Floats]) -> Draws:
        """Return them with other values of some unknowns, [count] each."""
        return Draws(self.count, {**self.values, **values}, self.fixed)


def draw(count: int = DEFAULT_DRAWS, seed: int = 1, fixed: Mapping[str, float] | None = None) -> Draws:
    """Draw all unknowns.

    Each has a generator of its own, by seed and name: one more unknown leaves the values of the others.

    Args:
        count: How many draws, from 1. The first has the defaults.
        seed: Of NumPy's default generator; the same seed gives the same values.
        fixed: Values that are known, by name: measured, or given by the user. They need not lie in the range.

    Raises:
        ValueError: The count is below 1, or `fixed` names no unknown.
    """
    if count < 1:
        raise ValueError(f"{count} draws are none: take at least 1")
    known = dict(fixed or {})
    if strangers := sorted(known.keys() - UNKNOWNS.keys()):
        raise ValueError(f"{', '.join(strangers)} is no unknown: choose of {', '.join(UNKNOWNS)}")
    values = {}
    for name, unknown in UNKNOWNS.items():
        if name in known:
            values[name] = np.full(count, known[name])
            continue
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        values[name] = _sample(unknown, generator, count)
        values[name][0] = unknown.default
    return Draws(count, values, frozenset(known))


def _sample(unknown: Unknown, generator: np.random.Generator, count: int) -> Floats:
    low, high = unknown.low, unknown.high
    if low == high:
        return np.full(count, low)
    match unknown.distribution:
        case Distribution.UNIFORM:
            return generator.uniform(low, high, count)
        case Distribution.TRIANGULAR:
            return generator.triangular(low, unknown.default, high, count)
        case Distribution.LOGNORMAL:
            return (unknown.default * generator.lognormal(0.0, unknown.sigma, count)).clip(low, high)
