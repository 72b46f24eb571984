"""The page in a real browser, from the disk."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtest.analysis.analyse import analyse
from loadtest.analysis.settings import Settings
from loadtest.report.limit_section import limit_section
from loadtest.report.page import to_html
from loadtest.report.picture import PictureError, find_browser, take_picture
from loadtest.report.search_section import Searched
from loadtest.report.sweep_section import sweep_section
from tests.lab.test_combined import BOTH
from tests.lab.test_sweep_table import outcome
from tests.loadtest.analysis.test_scaling import scaled
from tests.loadtest.made_log import Load, System, made_log
from tests.loadtest.report.test_page import hostile_page, one_page
from tests.loadtest.report.test_search_section import searched
from tests.waiting import LIMIT_S

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> str:
    try:
        return find_browser()
    except PictureError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("make", [one_page, hostile_page])
def test_all_charts_are_drawn_and_the_console_stays_silent(
    browser: str, tmp_path: Path, make: object
) -> None:
    file = tmp_path / "report.html"
    file.write_text(make())  # type: ignore[operator]
    dom = dumped(browser, file, tmp_path)
    figures = dom.count("<figure")
    assert figures >= 8
    assert f'data-drawn="{figures}"' in dom
    assert dom.count("<canvas") == figures
    # No text of a run has become an element.
    assert "<img" not in dom


def dumped(browser: str, file: Path, tmp_path: Path, *flags: str) -> str:
    """Return a page's elements after its scripts have run, and assert that they said nothing."""
    command = [
        browser, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
        "--hide-scrollbars", f"--user-data-dir={tmp_path}/profile", "--dump-dom", "--window-size=390,800",
        *flags, file.as_uri(),
    ]  # fmt: skip
    if os.geteuid() == 0:
        command.append("--no-sandbox")
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert not re.findall(r"^.*CONSOLE.*$", done.stderr, re.MULTILINE)
    return done.stdout


def search_page() -> str:
    """Return the page of a search with two of its runs."""
    slow = analyse(made_log(Load(rate=600), System(largest_batch=4)), Settings())
    assert slow.bottleneck is not None
    limit = limit_section(slow.bottleneck, "at 600/s")
    runs = {"898.4/s, confirmed": analyse(made_log(), Settings()), "943.3/s, fails": slow}
    return to_html([], [], [Searched(searched(), limit=limit, runs=runs)])


def sweep_page() -> str:
    """Return the page of a sweep of two flags."""
    outcomes = [outcome(size, 100.0 * size, 10.0 * size, 1_000.0) for size in (1, 8, 32)]
    section = sweep_section(outcomes, "p99<100ms", "sweep of max_batch_size and max_batch_wait_ms", [])
    return to_html([], [], [Searched(searched(), "max_batch_size=8")], sweeps=[section])


def scaling_page() -> str:
    """Return the page of a run with metrics of the cloud."""
    return to_html([scaled()], ["runs/cloud"])


def together_page() -> str:
    """Return the page of job and endpoint together."""
    return to_html([], [], [Searched(searched())], leads=[BOTH.section()])


@pytest.mark.parametrize("make", [one_page, search_page, sweep_page, scaling_page, together_page])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(browser: str, tmp_path: Path, make: Callable[[], str], scheme: str) -> None:
    """Nothing reaches beyond 390 pixels, articles keep apart, and text stands out from what is behind it.

    A window of Chromium is no narrower than 500, a frame may be.
    """
    file = tmp_path / "frame.html"
    source = html.escape(make())
    script = (Path(__file__).parent / "measure_frame.js").read_text()
    file.write_text(
        f'<body><iframe srcdoc="{source}" style="width:390px;height:800px;border:0"></iframe>'
        f"<script>{script}</script></body>"
    )
    dom = dumped(browser, file, tmp_path, f"--blink-settings=preferredColorScheme={int(scheme == 'light')}")
    found = re.search(r'data-found="([^"]*)"', dom)
    assert found is not None
    seen = json.loads(html.unescape(found[1]))
    assert seen["dark"] == (scheme == "dark")
    assert seen["width"] == 390
    assert seen["drawn"] == make().count("<figure ")
    assert all(gap >= 40 for gap in seen["gaps"]), seen["gaps"]
    # WCAG 2.2, success criterion 1.4.3: 4.5 for text of this size.
    assert {text: ratio for text, ratio in seen["contrasts"] if ratio < 4.5} == {}


def test_a_picture_shows_the_whole_page(browser: str, tmp_path: Path) -> None:
    file, picture = tmp_path / "report.html", tmp_path / "report.png"
    file.write_text(one_page())
    take_picture(browser, file, picture)
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    assert width == 1280
    assert height > 2_000
