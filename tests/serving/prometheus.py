"""A strict reader of Prometheus's text format 0.0.4, for what the container writes of it."""

from __future__ import annotations

import re
from itertools import pairwise

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = rf'({_NAME})="((?:[^"\\\n]|\\["\\n])*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{{_LABEL}\}})? (\S+)")
_OF_A_HISTOGRAM = ("_bucket", "_sum", "_count")


def samples(text: str) -> dict[str, float]:
    """Return the value of each sample, by its name with labels as written; fail on what Prometheus refuses.

    A family is HELP, TYPE, and its samples, together and once; counters end in _total; buckets are cumulative
    and the last one is the count.
    """
    assert text.endswith("\n")
    found: dict[str, float] = {}
    families: dict[str, str] = {}
    lines = text.splitlines()
    for number, line in enumerate(lines):
        if help_line := re.fullmatch(rf"# HELP ({_NAME}) [^\\]+", line):
            family = help_line[1]
            assert family not in families
            type_line = re.fullmatch(r"# TYPE (\S+) (counter|gauge|histogram)", lines[number + 1])
            assert type_line is not None
            assert type_line[1] == family
            families[family] = type_line[2]
            assert family.endswith("_total") == (type_line[2] == "counter")
        elif not line.startswith("# TYPE "):
            sample = _SAMPLE.fullmatch(line)
            assert sample is not None, line
            name, key = sample[1], line.rpartition(" ")[0]
            base = next((name.removesuffix(end) for end in _OF_A_HISTOGRAM if name.endswith(end)), name)
            assert family == (base if families[family] == "histogram" else name)
            assert key not in found
            found[key] = float(sample[4])
    for family, kind in families.items():
        if kind == "histogram":
            _check_histogram(family, found)
    return found


def _check_histogram(family: str, found: dict[str, float]) -> None:
    buckets = {key: value for key, value in found.items() if key.startswith(f"{family}_bucket")}
    bounds = [float(key.split('"')[1]) for key in buckets]
    assert all(low < high for low, high in pairwise(bounds))
    assert all(low <= high for low, high in pairwise(buckets.values()))
    assert bounds[-1] == float("inf")
    assert list(buckets.values())[-1] == found[f"{family}_count"]
    assert f"{family}_sum" in found
