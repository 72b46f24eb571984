"""What each page holds in itself, so that it needs no network: scripts, styles and the data of its charts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from loadtest.report.chart import Chart
from loadtest.report.rounding import rounded

_PAGE = Path(__file__).parent / "page"
_VENDOR = Path(__file__).parent / "vendor"

# Of a value in a chart: a pixel is a thousandth of its height.
_DIGITS = 4


class NumberedCharts:
    """All charts of a page; each has a number, by which the script finds its place."""

    def __init__(self) -> None:
        self.all: list[Chart] = []

    def add(self, found: list[Chart]) -> list[tuple[int, Chart]]:
        """Add charts, and return them with their numbers."""
        numbered = list(enumerate(found, start=len(self.all)))
        self.all += found
        return numbered


def templates(*folders: Path) -> Environment:
    """Return the templates of these folders, then our own; whatever is put in them is escaped."""
    return Environment(
        loader=FileSystemLoader([*folders, _PAGE]), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip


def embedded(drawn: NumberedCharts) -> Mapping[str, Any]:
    """Return what a template needs for its charts.

    The page's own scripts are the only ones that a browser may run: their hashes stand in its content
    security policy.
    """
    scripts = [(_VENDOR / "uPlot.iife.min.js").read_text(), (_PAGE / "charts.js").read_text()]
    styles = [(_VENDOR / "uPlot.min.css").read_text(), (_PAGE / "style.css").read_text()]
    return {
        "scripts": [Markup(script) for script in scripts],
        "styles": [Markup(style) for style in styles],
        "script_hashes": [_hash(script) for script in scripts],
        "charts": Markup(_in_script(drawn.all)),
        "licence": (_VENDOR / "LICENSE-uPlot.txt").read_text(),
    }


def _in_script(found: list[Chart]) -> str:
    """Return JSON that no text in it can end the script element, or begin a comment, with."""
    text = orjson.dumps(rounded(found, _DIGITS)).decode()
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
