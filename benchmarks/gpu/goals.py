"""What the figures must come to, and what they came to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.gpu.parts.copies import whole_batches
from benchmarks.gpu.sides import CONCURRENT_BATCHES, OURS, STOCK
from benchmarks.gpu.workload import FULL
from benchmarks.harness.verdict import Verdict

_THREADS = 48
_STOCK_TIMES = 5.0
_BEST_SHARE = 0.8
# Of the longest of putting together, copying and computing: what is hidden adds nothing to it.
_HIDDEN = 1.15


def verdicts(parts: Mapping[str, Mapping[str, Any]]) -> list[Verdict]:
    """Return a verdict for each goal of the parts that were run, also where they left no figure for it."""
    rows = {name: part["rows"] for name, part in parts.items()}
    found: list[Verdict] = []
    if "against_stock" in rows:
        found += _against_stock(rows["against_stock"], rows.get("plain", []))
    if "copies" in rows:
        # As many batches at once as a job has.
        step = whole_batches(CONCURRENT_BATCHES)
        times = [row["of_longest"] for row in rows["copies"] if row["step"] == step]
        name = f"copies and computing hidden behind the longest step: {step} / that step alone"
        found.append(Verdict(name, times[0] if times else math.nan, _HIDDEN, above=False))
    return found


def _against_stock(
    rows: Sequence[Mapping[str, Any]], plain: Sequence[Mapping[str, Any]]
) -> Iterator[Verdict]:
    rates = {
        (row["precision"], row["bundle"], row["threads"], row["side"]): row["requests_per_s"]
        for row in rows
        if "requests_per_s" in row
    }
    for precision in FULL.precisions:
        best = max((row["rate"] for row in plain if row["precision"] == precision), default=math.nan)
        for bundle in FULL.bundles:
            ours, stock = (rates.get((precision, bundle, _THREADS, side), math.nan) for side in (OURS, STOCK))
            where = f"rate, {precision}, {_THREADS} threads, bundles of {bundle}, ours"
            yield Verdict(f"{where} / stock", ours / stock, _STOCK_TIMES, above=True)
            yield Verdict(f"{where} / best plain passes", ours / best, _BEST_SHARE, above=True)
