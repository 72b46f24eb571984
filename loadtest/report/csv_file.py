"""The series of each second as comma-separated values."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence

from loadtest.analysis.analyse import Analysis
from loadtest.report.json_file import DIGITS


def to_csv(analyses: Sequence[Analysis]) -> str:
    """Return one row for each second of each run: rates, backlog, latency, stages and batch size.

    What is not known is empty. An id that a spreadsheet would take for a formula begins with an apostrophe.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    for number, analysis in enumerate(analyses):
        series = analysis.per_second
        columns = {
            "second": series.start, "offered_per_s": series.offered, "achieved_per_s": series.achieved,
            "answered_per_s": series.answered, "backlog": series.backlog,
            **{f"latency_{name}_ms": values for name, values in series.latency_ms.items()},
            **{f"stage_{name}_ms": values for name, values in series.stages_ms.items()},
            "batch_size": series.batch_size,
        }  # fmt: skip
        if not number:
            writer.writerow(["run", *columns])
        for row in zip(*(values.tolist() for values in columns.values()), strict=True):
            writer.writerow([_inert(analysis.facts.run), *map(_cell, row)])
    return lines.getvalue()


def _cell(value: float) -> str:
    return f"{value:.{DIGITS}g}" if math.isfinite(value) else ""


def _inert(text: str) -> str:
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
