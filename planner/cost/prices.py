"""The dated file of prices: each with its unit, region, source and date."""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

OUR_PRICES = Path(__file__).parent / "prices.toml"


class PriceError(Exception):
    """A price is missing, or the file of prices is not as it should be."""


@dataclass(frozen=True)
class Price:
    """One price.

    Attributes:
        name: As in the file, such as dataflow_vcpu.
        value: US dollars for a unit; of a discount or a surcharge, the share.
        unit: What it is for, such as vCPU-hour.
        region: Where it holds.
        source: Where it was read.
        date: When.
        verified: Whether it stands in the source itself; else it is derived, or somebody else's reading.
    """

    name: str
    value: float
    unit: str
    region: str
    source: str
    date: datetime.date
    verified: bool


@dataclass(frozen=True)
class PriceBook:
    """All prices of a file.

    Attributes:
        path: The file.
        prices: By name.
    """

    path: Path
    prices: Mapping[str, Price]

    def __getitem__(self, name: str) -> Price:
        """Return a price.

        Raises:
            PriceError: The file has none of that name.
        """
        if name not in self.prices:
            raise PriceError(
                f"{self.path} has no price {name}: add [{name}] with value, unit, region, source, date "
                "and verified"
            )
        return self.prices[name]

    def __contains__(self, name: str) -> bool:
        return name in self.prices


@cache
def read_prices(path: Path = OUR_PRICES) -> PriceBook:
    """Read a file of prices.

    Raises:
        PriceError: It is unreadable, or a line of it lacks a field; all such lines are named.
    """
    try:
        tables = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise PriceError(f"cannot read prices from {path}: {error}") from error
    problems = [problem for name, table in tables.items() for problem in _problems(name, table)]
    if problems:
        raise PriceError(f"{path}: " + "; ".join(problems))
    return PriceBook(path, {name: Price(name, **table) for name, table in tables.items()})


_FIELDS: Mapping[str, tuple[type, ...]] = {
    "value": (float, int),
    "unit": (str,),
    "region": (str,),
    "source": (str,),
    "date": (datetime.date,),
    "verified": (bool,),
}


def _problems(name: str, table: Any) -> list[str]:
    if not isinstance(table, dict):
        return [f"{name} is no table: write [{name}] and its fields below"]
    found = [f"[{name}] has no {field}" for field in _FIELDS if field not in table]
    found += [f"[{name}] has {field}, which no price has" for field in table if field not in _FIELDS]
    found += [
        f"[{name}] has {field} = {table[field]!r}, which is no {kinds[0].__name__}"
        for field, kinds in _FIELDS.items()
        if field in table and not isinstance(table[field], kinds)
    ]
    if not found and (table["value"] < 0 or not table["source"].strip()):
        found.append(f"[{name}] needs a value from 0 and a source")
    return found
