"""The page of `plan predict --out`."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import orjson
import pytest

from planner.__main__ import main

LOAD = ("--workload=ramp 10 60000 5m", "--draws=5", "--max-workers=3")
HOSTILE = "<script>alert(1)</script>"


class Elements(HTMLParser):
    """The names of a page's elements, and where its links lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.leads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.leads += [value or "" for name, value in attributes if name in ("src", "href")]


def page(tmp_path: Path, *arguments: str) -> str:
    path = tmp_path / "plan.html"
    assert main(["predict", *LOAD, f"--out={path}", *arguments]) == 0
    return path.read_text()


def charts(text: str) -> list[dict[str, object]]:
    found = re.search(r'<script type="application/json" id="charts">(.*?)</script>', text, re.DOTALL)
    assert found
    read: list[dict[str, object]] = orjson.loads(found[1])
    return read


def test_it_has_the_charts_with_their_bands_and_needs_nothing_else(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert [chart["title"] for chart in charts(text)] == [
        "Workers",
        "Backlog",
        "Latency",
        "CPU of workers",
        "Cost of machines",
    ]
    for chart in charts(text):
        assert isinstance(chart["lines"], list)
        labels = [line["label"] for line in chart["lines"]]
        assert any("P10" in label for label in labels)
        assert any("P90" in label for label in labels)
    assert Elements(text).leads == []


def test_a_band_holds_the_central_draw(tmp_path: Path) -> None:
    for chart in charts(page(tmp_path)):
        if chart["title"] == "Latency":
            continue
        lines = {line["label"]: line["values"] for line in chart["lines"]}  # type: ignore[attr-defined]
        assert max(lines["P90"]) > 0
        for low, value, high in zip(lines["P10"], lines["defaults"], lines["P90"], strict=True):
            assert low <= value <= high


def test_an_endpoint_has_its_charts_too(tmp_path: Path) -> None:
    text = page(tmp_path, "--mode=endpoint", "--max-replicas=2")
    titles = [chart["title"] for chart in charts(text)]
    assert {"Replicas", "CPU of replicas"} <= set(titles)
    assert "./launch.sh endpoint deploy --max-replicas=2" in text


def test_a_hostile_profile_makes_no_script(tmp_path: Path) -> None:
    profile = Path(__file__).parents[2] / "planner/profiles/bundled.json"
    content = orjson.loads(profile.read_bytes())
    content["machine"]["cpu"] = HOSTILE
    mine = tmp_path / "mine.json"
    mine.write_bytes(orjson.dumps(content))
    text = page(tmp_path, f"--profile={mine}")
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(1)" in text
    plain = Elements(page(tmp_path)).names.count("script")
    assert Elements(text).names.count("script") == plain


def test_each_price_stands_with_its_date(tmp_path: Path) -> None:
    text = page(tmp_path)
    assert re.search(r"dataflow_vcpu</th><td>0.069</td><td>vCPU-hour</td><td>2026-08-20</td>", text)


def test_a_page_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", *LOAD, f"--out={tmp_path}/none/plan.html"]) == 1
    assert "--out: " in capsys.readouterr().err
