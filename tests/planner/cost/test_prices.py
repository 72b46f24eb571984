from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from planner.cost.prices import PriceError, read_prices

GOOD = 'value = 1.0\nunit = "hour"\nregion = "here"\nsource = "a page"\ndate = 2026-01-31\nverified = true\n'


def test_each_of_our_prices_has_a_source_and_a_date() -> None:
    for price in read_prices().prices.values():
        assert price.source
        assert isinstance(price.date, datetime.date)
        assert price.region == "us-central1"


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(f"[mine]\n{GOOD}")
    assert read_prices(path)["mine"].date == datetime.date(2026, 1, 31)
    assert "mine" in read_prices(path)
    with pytest.raises(PriceError, match=r"has no price yours: add \[yours\] with value, unit"):
        read_prices(path)["yours"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD.replace("date = 2026-01-31\n", ""), r"\[mine\] has no date"),
        (GOOD.replace("2026-01-31", '"lately"'), r"\[mine\] has date = 'lately', which is no date"),
        (GOOD.replace('"a page"', '" "'), r"\[mine\] needs a value from 0 and a source"),
        (GOOD + "colour = 3\n", r"\[mine\] has colour, which no price has"),
        ("value = ", "cannot read prices from"),
    ],
)
def test_a_price_that_lacks_something_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(f"[mine]\n{text}")
    with pytest.raises(PriceError, match=said):
        read_prices(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PriceError, match="cannot read prices from"):
        read_prices(tmp_path / "none.toml")
