"""The page in a real browser, from the disk."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from loadtest.report.picture import PictureError, find_browser, take_picture
from tests.loadtest.report.test_page import hostile_page, one_page
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
    command = [
        browser, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path}/profile", "--dump-dom", "--window-size=390,800", file.as_uri(),
    ]  # fmt: skip
    if os.geteuid() == 0:
        command.append("--no-sandbox")
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert not re.findall(r"^.*CONSOLE.*$", done.stderr, re.MULTILINE)
    figures = done.stdout.count("<figure")
    assert figures >= 8
    assert f'data-drawn="{figures}"' in done.stdout
    assert done.stdout.count("<canvas") == figures
    # No text of a run has become an element.
    assert "<img" not in done.stdout


def test_a_picture_shows_the_whole_page(browser: str, tmp_path: Path) -> None:
    file, picture = tmp_path / "report.html", tmp_path / "report.png"
    file.write_text(one_page())
    take_picture(browser, file, picture)
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = int.from_bytes(content[16:20]), int.from_bytes(content[20:24])
    assert width == 1280
    assert height > 2_000
