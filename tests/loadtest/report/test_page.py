"""The page as a file: complete, inert towards hostile text, readable."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest

from loadtest.analysis.analyse import Analysis, analyse
from loadtest.analysis.settings import Event, Settings
from loadtest.raw_log import RawLog, Sample, Series
from loadtest.report import page
from loadtest.report.page import to_html
from tests.loadtest.made_log import STARTED, Faults, Load, System, made_log

HOSTILE = "</script><img src=x onerror=alert(1)>\"'`{{7*7}}<!--\u2028\u202e"
STYLE = (Path(page.__file__).parent / "page" / "style.css").read_text()


class Elements(HTMLParser):
    """All elements of a page with their attributes, and the text of its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.scripts: list[tuple[str, str]] = []
        self.ids: set[str] = set()
        self.text = ""
        self._script: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids |= {value or "" for name, value in attrs if name == "id"}
        if tag == "script":
            self._script = dict(attrs).get("type") or ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts.append((self._script, data))
        else:
            self.text += data


def analysed(log: RawLog) -> Analysis:
    return analyse(log, Settings())


def hostile_log() -> RawLog:
    """Return a run in which every text is hostile."""
    log = made_log(Load(rate=100, seconds=30, system_flags=HOSTILE), faults=Faults(dead=[5]))
    facts = replace(
        log.facts, run=HOSTILE, partial=HOSTILE, schedule=f"constant {HOSTILE}", system={HOSTILE: HOSTILE},
        dead_letter_reasons={HOSTILE: 1}, versions={HOSTILE: HOSTILE},
    )  # fmt: skip
    series = {
        f"{HOSTILE}/cpu_s": Series(f"{HOSTILE}/cpu_s", "s", "process"),
        HOSTILE: Series(HOSTILE, HOSTILE, "NVML", HOSTILE),
    }
    samples = tuple(Sample(STARTED + at, name, float(at)) for at in range(30) for name in series)
    return replace(log, facts=facts, series=series, samples=samples)


@cache
def one_page() -> str:
    log = made_log(Load(rate=300), System(stalls=((40.0, 2.0),)), Faults(missing=[9_000]))
    return to_html([analyse(log, Settings(events=(Event(STARTED + 50, "workers 1 → 2"),)))], ["runs/one"])


@cache
def hostile_page() -> str:
    analysis = analyse(hostile_log(), Settings(events=(Event(STARTED + 20, HOSTILE),)))
    return to_html([analysis, analysis], [HOSTILE, HOSTILE])


def test_the_verdict_comes_first_then_figures_then_charts() -> None:
    html = one_page()
    text = Elements(html).text
    marks = ("not sustained</span>", "<h1", 'aria-label="Key figures"', "<h2>Latency", "<h2>Over time")
    places = [html.index(mark) for mark in marks]
    assert places == sorted(places)
    for expected in (
        "At 300 messages a second it left 1 of 18,000 messages", "measured", "corrected", "uncorrected",
        "Little's law", "workers 1 → 2", "not available: no NVIDIA driver here", "p99.9 is diagnostic",
    ):  # fmt: skip
        assert expected in text, expected


def test_a_hostile_text_makes_no_element_and_no_script() -> None:
    plain, hostile = Elements(one_page()), Elements(hostile_page())
    assert set(hostile.tags) <= set(plain.tags) | {"ol", "small", "a"}
    assert "img" not in hostile.tags
    assert not [each for each in hostile.attributes if each[1].startswith("on")]
    # As many scripts as there are without it: the text has ended none.
    assert [kind for kind, _ in hostile.scripts] == [kind for kind, _ in plain.scripts]
    charts = orjson.loads(next(text for kind, text in hostile.scripts if kind == "application/json"))
    assert any(HOSTILE in line["label"] for chart in charts for line in chart["lines"])
    # It is shown as what it is; what looks like a template is not evaluated.
    assert HOSTILE in hostile.text
    assert "49" not in re.findall(r"`(\d+)<!--", hostile.text)


def test_the_page_needs_nothing_else_and_runs_its_own_scripts_only() -> None:
    elements = Elements(one_page())
    assert not [each for each in elements.attributes if each[1] in ("src", "srcset", "action")]
    assert all(value.startswith("#") for _, name, value in elements.attributes if name == "href")
    assert "@import" not in one_page()
    assert "url(" not in one_page()
    (policy,) = [
        value for tag, name, value in elements.attributes if tag == "meta" and "default-src" in value
    ]
    assert "default-src 'none'" in policy
    for kind, script in elements.scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert kind == "application/json" or f"'sha256-{digest}'" in policy


def test_each_chart_says_in_words_what_it_shows() -> None:
    elements = Elements(one_page())
    described = [
        value
        for tag, name, value in elements.attributes
        if tag == "figure" and name in ("aria-labelledby", "aria-describedby")
    ]
    assert len(described) >= 2 * 8
    assert set(described) <= elements.ids
    charts = orjson.loads(next(text for kind, text in elements.scripts if kind == "application/json"))
    assert all(chart["text"].endswith(".") for chart in charts)


def test_a_run_of_over_an_hour_makes_a_page_of_less_than_a_megabyte() -> None:
    analysis = analysed(made_log(Load(rate=1, seconds=3_700)))
    assert len(to_html([analysis], ["run"]).encode()) < 1_000_000


def test_several_runs_are_compared_with_the_first() -> None:
    slow = made_log(Load(rate=200), System(base_s=0.012))
    analyses = [analysed(made_log()), analysed(slow), analysed(made_log(Load(schedule_error_s=0.05)))]
    text = Elements(to_html(analyses, ["first", "slow", "bad"])).text
    assert "3 runs compared" in text
    assert re.search(r"× [23]\.\d", text)  # the median of the slow run
    assert "INVALID" in text


def test_an_invalid_run_is_marked_in_every_figure() -> None:
    html = to_html([analysed(made_log(Load(schedule_error_s=0.05)))], ["bad"])
    assert html.count(", not valid</p>") == html.count('class="basis"')
    assert "it says nothing about 200 messages a second" in html


def test_what_limits_a_run_stands_with_its_figures_and_the_change_to_try() -> None:
    slow = analysed(made_log(Load(rate=800), System(largest_batch=4)))
    assert slow.bottleneck is not None
    text = Elements(to_html([slow], ["slow"])).text
    assert f"What limits it: {slow.bottleneck.limit}" in text
    for fact in slow.bottleneck.because:
        assert fact.what in text
    assert slow.bottleneck.change.text in text
    assert slow.bottleneck.expected is not None
    assert slow.bottleneck.expected.formula in text
    assert "extrapolated" in text


def variables(css: str) -> dict[str, str]:
    return dict(re.findall(r"(--[a-z0-9-]+): (#[0-9a-f]{6})", css))


def luminance(color: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_and_lines_stand_out_from_what_is_behind_them(dark: bool) -> None:
    before, after = STYLE.split("@media (prefers-color-scheme: dark)")
    colors = variables(before) | (variables(after) if dark else {})
    for text, back in (
        ("--text", "--page"), ("--text", "--surface"), ("--quiet", "--page"), ("--quiet", "--surface"),
        ("--link", "--page"), ("--good", "--good-back"), ("--bad", "--bad-back"), ("--warn", "--warn-back"),
        ("--bad", "--surface"), ("--quiet", "--grid"),
    ):  # fmt: skip
        assert contrast(colors[text], colors[back]) >= 4.5, (text, back)
    for number in range(9):  # WCAG 2.2, 1.4.11: graphics
        assert contrast(colors[f"--c{number}"], colors["--surface"]) >= 3, number
