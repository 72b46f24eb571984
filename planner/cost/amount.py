"""Amounts of money that carry the prices they were made of, so that none is shown without a date."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from planner.cost.prices import Price


@dataclass(frozen=True)
class Quantity:
    """So much of something, or a range where it is not known.

    Attributes:
        likely: The central value.
        low: At least.
        high: At most.
    """

    likely: float
    low: float
    high: float

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.likely <= self.high:
            raise ValueError(f"{self.likely:g} is no quantity from {self.low:g} to {self.high:g}")

    def times(self, factor: float) -> Quantity:
        """Return it so many times."""
        return Quantity(self.likely * factor, self.low * factor, self.high * factor)


def exactly(quantity: float) -> Quantity:
    """Return a quantity that is known."""
    return Quantity(quantity, quantity, quantity)


@dataclass(frozen=True)
class Item:
    """A quantity of one thing, at its price.

    Attributes:
        what: A few words, such as "workers: vCPUs".
        quantity: In the price's unit.
        price: What a unit costs.
        terms: Discounts and surcharges, which are prices with a date, too, by their factors: 0.8 for one of
            20 %.
        note: What else is to be known, such as that it is an estimate.
    """

    what: str
    quantity: Quantity
    price: Price
    terms: tuple[tuple[Price, float], ...] = ()
    note: str = ""

    @property
    def factor(self) -> float:
        """By which discounts and surcharges change its price."""
        factor = 1.0
        for _, part in self.terms:
            factor *= part
        return factor

    @property
    def prices(self) -> tuple[Price, ...]:
        """All that it was made of."""
        return (self.price, *(price for price, _ in self.terms))


@dataclass(frozen=True)
class Amount:
    """A sum of items in US dollars.

    There is no way to a bare number but `as_json`, which has the dates beside it, and `compare`, of two
    amounts: a text of it names them.

    Attributes:
        items: What it is the sum of; at least one, so that there is a price with a date.
        per: What it is for, such as "an hour" or "a million messages".
    """

    items: tuple[Item, ...]
    per: str

    def __post_init__(self) -> None:
        if not self.items:
            raise ValueError("an amount needs at least one item: without, it would have no price and no date")

    @classmethod
    def of(cls, items: Iterable[Item], per: str) -> Amount:
        """Return the sum of items."""
        return cls(tuple(items), per)

    def __add__(self, other: Amount) -> Amount:
        if other.per != self.per:
            raise ValueError(f"an amount for {self.per} and one for {other.per} have no sum")
        return replace(self, items=self.items + other.items)

    def times(self, factor: float, per: str) -> Amount:
        """Return it for so many times as much, named anew: an hour's amount x 730 is that of a month."""
        scaled = tuple(replace(each, quantity=each.quantity.times(factor)) for each in self.items)
        return Amount(scaled, per)

    def with_term(self, price: Price, factor: float, names: Sequence[str]) -> Amount:
        """Return it with a discount or surcharge on the items of these prices."""
        changed = tuple(
            replace(each, terms=(*each.terms, (price, factor))) if each.price.name in names else each
            for each in self.items
        )
        return replace(self, items=changed)

    def compare(self, other: Amount) -> float:
        """Return how many times as much this is as another amount.

        Raises:
            ValueError: They are for different things, or the other one is nothing.
        """
        if other.per != self.per:
            raise ValueError(f"an amount for {self.per} and one for {other.per} do not compare")
        if not other._sum("likely"):
            raise ValueError("nothing compares with an amount of nothing")
        return self._sum("likely") / other._sum("likely")

    def __lt__(self, other: Amount) -> bool:
        return self._sum("likely") < other._sum("likely")

    def __str__(self) -> str:
        low, middle, high = (self._sum(name) for name in ("low", "likely", "high"))
        between = f" ({_dollars(low)} to {_dollars(high)})" if _dollars(low) != _dollars(high) else ""
        return f"{_dollars(middle)}{between} for {self.per}, {self.dates}"

    def __format__(self, spec: str) -> str:
        # A format of its own would be a number without its dates.
        return format(str(self), spec)

    @property
    def prices(self) -> tuple[Price, ...]:
        """All that it was made of, each once, by name."""
        found = {price.name: price for each in self.items for price in each.prices}
        return tuple(found[name] for name in sorted(found))

    @property
    def dates(self) -> str:
        """Of which dates its prices are, and which of them nobody has verified."""
        days = sorted({price.date for price in self.prices})
        when = f"{days[0]}" if len(days) == 1 else f"{days[0]} to {days[-1]}"
        doubtful = [price.name for price in self.prices if not price.verified]
        regions = ", ".join(sorted({price.region for price in self.prices}))
        return f"prices of {when}, {regions}" + (f"; not verified: {', '.join(doubtful)}" if doubtful else "")

    def as_json(self) -> dict[str, Any]:
        """Return it for a report: the sum with its range, each item, and each price with source and date."""
        return {
            "per": self.per,
            "usd": round(self._sum("likely"), 6),
            "usd_low": round(self._sum("low"), 6),
            "usd_high": round(self._sum("high"), 6),
            "dates": self.dates,
            "items": [
                {
                    "what": each.what,
                    "quantity": round(each.quantity.likely, 6),
                    "unit": each.price.unit,
                    "usd": round(each.quantity.likely * each.price.value * each.factor, 6),
                    "prices": [price.name for price in each.prices],
                    "note": each.note,
                }
                for each in self.items
            ],
            "prices": [
                {
                    "name": price.name,
                    "value": price.value,
                    "unit": price.unit,
                    "region": price.region,
                    "source": price.source,
                    "date": price.date.isoformat(),
                    "verified": price.verified,
                }
                for price in self.prices
            ],
        }

    def _sum(self, which: str) -> float:
        return sum(
            float(getattr(each.quantity, which)) * each.price.value * each.factor for each in self.items
        )


def _dollars(usd: float) -> str:
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"
