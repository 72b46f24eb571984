from __future__ import annotations

import dataclasses
import datetime

import pytest

from planner.cost.amount import Amount, Item, Quantity, exactly
from planner.cost.prices import Price

CPU = Price("cpu", 0.5, "hour", "here", "a page", datetime.date(2026, 3, 1), verified=True)
DISK = Price("disk", 0.1, "hour", "here", "somebody", datetime.date(2026, 9, 20), verified=False)
LESS = Price("less", 0.2, "discount", "here", "a page", datetime.date(2026, 5, 5), verified=True)

HOUR = Amount.of([Item("CPUs", exactly(4), CPU), Item("disks", Quantity(10, 0, 20), DISK)], "an hour")


def test_a_text_of_it_has_its_range_and_dates() -> None:
    assert str(HOUR) == (
        "$3.00 ($2.00 to $4.00) for an hour, prices of 2026-03-01 to 2026-09-20, here; not verified: disk"
    )
    assert (
        str(Amount.of([Item("CPUs", exactly(1), CPU)], "an hour"))
        == "$0.5000 for an hour, prices of 2026-03-01, here"
    )


def test_no_way_of_writing_it_loses_the_date() -> None:
    for text in (str(HOUR), f"{HOUR}", f"{HOUR:>200}", f"{HOUR}", "%s" % HOUR, repr(HOUR)):  # noqa: UP031
        assert "2026" in text
    with pytest.raises(ValueError, match="no price and no date"):
        Amount.of([], "an hour")
    with pytest.raises(ValueError, match="Invalid format specifier|Unknown format code"):
        f"{HOUR:.2f}"
    with pytest.raises(TypeError):
        float(HOUR)  # type: ignore[arg-type]
    # Nor is a number among its fields.
    assert not [field for field in dataclasses.fields(Amount) if field.type in ("float", "int")]


def test_its_json_has_each_price_with_source_and_date() -> None:
    written = HOUR.as_json()
    assert written["usd"] == 3
    assert (written["usd_low"], written["usd_high"]) == (2, 4)
    assert [(price["name"], price["date"], price["verified"]) for price in written["prices"]] == [
        ("cpu", "2026-03-01", True), ("disk", "2026-09-20", False),
    ]  # fmt: skip
    assert written["items"][0] == {
        "what": "CPUs", "quantity": 4, "unit": "hour", "usd": 2.0, "prices": ["cpu"], "note": "",
    }  # fmt: skip


def test_sums_and_multiples() -> None:
    twice = HOUR + HOUR
    assert twice.as_json()["usd"] == 6
    month = HOUR.times(730, "a month")
    assert month.as_json()["usd_high"] == 4 * 730
    assert month.per == "a month"
    assert twice.compare(HOUR) == 2
    assert twice > HOUR
    with pytest.raises(ValueError, match="have no sum"):
        HOUR + month
    with pytest.raises(ValueError, match="do not compare"):
        HOUR.compare(month)
    with pytest.raises(ValueError, match="nothing compares"):
        HOUR.compare(Amount.of([Item("none", exactly(0), CPU)], "an hour"))


def test_a_discount_is_a_price_with_a_date() -> None:
    cheaper = HOUR.with_term(LESS, 0.8, ["cpu"])
    assert cheaper.as_json()["usd"] == pytest.approx(2.6)
    assert "less" in {price.name for price in cheaper.prices}


def test_a_quantity_lies_in_its_range() -> None:
    assert exactly(3).times(2) == Quantity(6, 6, 6)
    for wrong in ((1, 2, 3), (4, 2, 3), (-1, -1, 3)):
        with pytest.raises(ValueError, match="is no quantity from"):
            Quantity(*wrong)
