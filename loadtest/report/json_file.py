"""report.json: every figure of a run, for programs."""

from __future__ import annotations

import orjson

from loadtest.analysis.analyse import Analysis
from loadtest.report.rounding import rounded

NAME = "report.json"

FORMAT = 1
DIGITS = 6


def to_json(analysis: Analysis) -> bytes:
    """Return report.json: sorted keys, floats of six significant digits, and nothing of when it was made.

    The epoch seconds of the run's facts keep all their digits.
    """
    content = {
        "format": FORMAT,
        "precision": f"{DIGITS} significant digits",
        **rounded(analysis, DIGITS),
        "facts": rounded(analysis.facts, 17),
        "events": rounded(analysis.events, 17),
    }
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return orjson.dumps(content, option=options)
