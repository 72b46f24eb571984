"""The table of a run: plain text, 110 columns wide, from what gpu.json holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.harness.verdict import Verdict

_WIDTH = 110
_NVML = (
    "gpu_utilization_percent_mean",
    "sm_utilization_percent_mean",
    "tensor_core_percent_mean",
    "memory_used_mib_max",
    "power_w_mean",
    "pcie_to_device_gb_per_s",
)


def text(run: Mapping[str, Any], verdicts: Sequence[Verdict]) -> str:
    """Return the whole report."""
    lines = [*_wrapped(run["title"]), ""]
    for part in run["parts"].values():
        reason = f": {part['reason']}" if part["reason"] else ""
        lines += [*_wrapped(f"{part['title']}: {part['status']}, {part['seconds']:.0f} s{reason}"), ""]
        tests = Counter((row["outcome"], row["reason"]) for row in part["rows"] if "outcome" in row)
        for (outcome, reason), count in tests.items():
            lines += [*_wrapped(f"{count} {outcome}{': ' if reason else ''}{reason}"), ""]
        for group in _groups([row for row in part["rows"] if "outcome" not in row]):
            lines += [*_table(group), ""]
        gpu = ", ".join(f"{name} {_cell(part['nvml'][name])}" for name in _NVML if name in part["nvml"])
        if gpu:
            lines += [*_wrapped(f"NVML: {gpu}"), ""]
    if verdicts:
        lines += [*map(str, verdicts), ""]
    machine = ", ".join(f"{name} {value}" for name, value in run["machine"].items())
    return "\n".join([*lines, *_wrapped(machine)]) + "\n"


def _groups(rows: Sequence[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """Return the rows, those with the same columns that follow each other together."""
    groups: list[list[Mapping[str, Any]]] = []
    for row in rows:
        if groups and groups[-1][0].keys() == row.keys():
            groups[-1].append(row)
        else:
            groups.append([row])
    return groups


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of a table: columns as wide as they need, words to the left."""
    names = list(rows[0])
    if max(len(_cell(row[name])) for row in rows for name in names) > 60:
        return [
            line for row in rows for line in _wrapped("; ".join(f"{n}: {_cell(v)}" for n, v in row.items()))
        ]
    cells = [
        [name.replace("_", " ") for name in names],
        *([_cell(row[name]) for name in names] for row in rows),
    ]
    widths = [max(len(line[place]) for line in cells) for place in range(len(names))]
    left = [isinstance(rows[0][name], str) for name in names]
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if to_left else cell.rjust(width)
            for cell, width, to_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in cells
    ]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _wrapped(words: str) -> list[str]:
    lines = [""]
    for word in words.split():
        if lines[-1] and len(lines[-1]) + len(word) >= _WIDTH:
            lines.append("")
        lines[-1] += f" {word}" if lines[-1] else word
    return lines
