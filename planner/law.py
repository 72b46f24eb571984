"""Service laws, each figure with its range and with what it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from loadtest.profile import profile
from planner.kernel.worker import CallTime

Basis = Literal["measured", "published", "assumed", "estimated"]


@dataclass(frozen=True)
class Figure:
    """One figure.

    Attributes:
        value: In the unit.
        low: Lower end of its range.
        high: Upper end.
        unit: Such as "ms"; empty for a ratio.
        basis: measured, here or by the user; published by others; estimated out of either by a model; or
            assumed.
        source: In words: where it is from, or why it is assumed.
    """

    value: float
    low: float
    high: float
    unit: str
    basis: Basis
    source: str

    def __post_init__(self) -> None:
        """Check the range.

        Raises:
            ValueError: The value is not in it.
        """
        if not self.low <= self.value <= self.high:
            raise ValueError(f"{self.value:g} {self.unit} is not in its range, {self.low:g} to {self.high:g}")

    def times(self, factor: float, why: str) -> Figure:
        """Return the figure as it is on another machine, which makes it an estimate."""
        source = f"{self.source}; x {factor:g}: {why}"
        return Figure(
            self.value * factor, self.low * factor, self.high * factor, self.unit, "estimated", source
        )

    def draw(self, random: np.random.Generator) -> float:
        """Return a value of the range: its likeliest is the figure's own, its ends have probability 0."""
        if self.low == self.high:
            return self.value
        return float(random.triangular(self.low, self.value, self.high))

    def __str__(self) -> str:
        spread = "" if self.low == self.high else f" ({self.low:.3g} to {self.high:.3g})"
        return f"{self.value:.3g}{spread} {self.unit}".rstrip() + f", {self.basis}: {self.source}"


@dataclass(frozen=True)
class ServiceLaw:
    """Time of a call of the model, or of an endpoint: fixed + each x rows.

    Attributes:
        fixed: Of each call, milliseconds.
        each: Of each row, milliseconds.
        variation: Coefficient of variation of a call's time about the law.
        smallest: Rows that were seen in a call; below, the law is extrapolated.
        largest: Likewise; above.
        slow_down: Pairs of (messages a second of a process, factor): see `CallTime`.
    """

    fixed: Figure
    each: Figure
    variation: float = 0.0
    smallest: float = 1.0
    largest: float = np.inf
    slow_down: tuple[tuple[float, float], ...] = ()

    @property
    def likeliest(self) -> CallTime:
        """The law at its figures' own values."""
        return self._call_time(self.fixed.value, self.each.value)

    def draw(self, random: np.random.Generator) -> CallTime:
        """Return a law out of its figures' ranges."""
        return self._call_time(self.fixed.draw(random), self.each.draw(random))

    def extrapolated(self, rows: float) -> bool:
        """Return whether nobody has seen a call of so many rows."""
        return not self.smallest <= rows <= self.largest

    def times(self, factor: float, why: str) -> ServiceLaw:
        """Return the law as it is on another machine."""
        return ServiceLaw(
            self.fixed.times(factor, why),
            self.each.times(factor, why),
            self.variation,
            self.smallest,
            self.largest,
            self.slow_down,
        )

    def _call_time(self, fixed_ms: float, each_ms: float) -> CallTime:
        return CallTime(fixed_ms / 1e3, each_ms / 1e3, self.variation, self.slow_down)


def by_hand(fixed_ms: float, each_ms: float, source: str, spread: float = 0.0) -> ServiceLaw:
    """Return a law that somebody stated.

    Args:
        fixed_ms: Of each call.
        each_ms: Of each row.
        source: Who, or why.
        spread: Of both figures, up and down, as a share.
    """

    def figure(value: float) -> Figure:
        return Figure(value, value * (1 - spread), value * (1 + spread), "ms", "assumed", source)

    return ServiceLaw(figure(fixed_ms), figure(each_ms))


def of_profile(
    law: profile.Law, basis: profile.Basis, source: str, levels: list[profile.Level] | None = None
) -> ServiceLaw:
    """Return the law of a profile.json.

    Args:
        law: Such as the service law of its job.
        basis: Of the profile.
        source: Its path, and when and where it was measured.
        levels: Of its job: how much longer calls take at rates that leave pauses between them. Rates at which
            the driver, or the job, did not keep up say nothing of pauses, and are left out.
    """
    # Ratios of p90 to p50 of single calls; of a normal distribution they are 1.28 standard deviations apart.
    variation = max(0.0, (law.ratio["p90"] - law.ratio["p50"]) / 1.2816)
    pauses = tuple(
        (level.offered, level.service_ratio)
        for level in levels or []
        if level.service_ratio is not None and level.kept_up and level.valid
    )
    return ServiceLaw(
        _figure(law.a, basis, source),
        _figure(law.b, basis, source),
        variation,
        law.smallest,
        law.largest,
        pauses,
    )


def _figure(quantity: profile.Quantity, basis: profile.Basis, source: str) -> Figure:
    """Return a profile's figure; what cannot be told from 0 is 0 at least, as time does not run back."""
    value = max(0.0, quantity.value)
    low = value if quantity.low is None else max(0.0, min(quantity.low, value))
    high = value if quantity.high is None else max(quantity.high, value)
    return Figure(value, low, high, quantity.unit, basis, source)
