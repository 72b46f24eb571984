"""What the figures must come to, and what they came to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.gpu.sides import OURS, STOCK
from benchmarks.harness.verdict import Verdict

_THREADS = 48
_STOCK_TIMES = 5.0
_BEST_SHARE = 0.8
# Of the longest of putting together, copying and computing: what is hidden adds nothing to it.
_HIDDEN = 1.15


def verdicts(parts: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """Return a verdict for each goal whose figures were measured."""
    rows = {name: part["rows"] for name, part in parts.items()}
    found = list(_against_stock(rows.get("against_stock", []), rows.get("plain", [])))
    whole = [row["of_longest"] for row in rows.get("copies", []) if "of_longest" in row]
    if whole:
        name = "copies: time of a batch / longest of putting together, copying and computing"
        found.append(Verdict(name, min(whole), _HIDDEN, above=False))
    return found


def _against_stock(rows: Sequence[Any], plain: Sequence[Any]) -> Iterator[Verdict]:
    by_side = {(row["precision"], row["bundle"], row["threads"], row["side"]): row for row in rows}
    for (precision, bundle, threads, side), ours in by_side.items():
        stock = by_side.get((precision, bundle, threads, STOCK))
        if side != OURS or threads != _THREADS or stock is None:
            continue
        where = f"{precision}, {threads} threads, bundles of {bundle}"
        ratio = ours["requests_per_s"] / stock["requests_per_s"]
        yield Verdict(f"rate, {where}, ours / stock", ratio, _STOCK_TIMES, above=True)
        rates = [row["rate"] for row in plain if row["precision"] == precision]
        if rates:
            share = ours["requests_per_s"] / max(rates)
            yield Verdict(f"rate, {where}, ours / best plain passes", share, _BEST_SHARE, above=True)
