"""A picture of the page, taken by a browser without a window."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from loadtest.run_folder import replace_file

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

_WIDTH = 1280
# Chromium's software renderer draws no taller surface.
_MOST_HEIGHT = 16_000
_LIMIT_S = 60
# What the page's script notes once all charts are drawn.
_NOTED_HEIGHT = re.compile(r'data-height="(\d+)"')


class PictureError(Exception):
    """There is no picture; the message says why, and what to do."""


def find_browser() -> str:
    """Return the path of a browser that can draw the page.

    Raises:
        PictureError: There is none.
    """
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise PictureError(
        "--png needs a browser, and there is none of "
        f"{', '.join(BROWSERS)}: install one (on Debian: apt-get install chromium), or open the HTML file "
        "elsewhere"
    )


def take_picture(browser: str, page: Path, picture: Path) -> None:
    """Draw a page as a PNG of 1,280 pixels width and its whole height, up to 16,000 pixels.

    Args:
        browser: As `find_browser` returns it.
        page: HTML file.
        picture: PNG file; replaced if it is there.

    Raises:
        PictureError: The browser failed or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="picture-") as folder:
        content = _run(browser, folder, page, "--dump-dom", f"--window-size={_WIDTH},1000")
        noted = _NOTED_HEIGHT.search(content)
        if noted is None:
            raise PictureError(f"{browser} did not draw the charts of {page}: open it in another browser")
        height = min(int(noted[1]), _MOST_HEIGHT)
        drawn = Path(folder) / "page.png"
        _run(browser, folder, page, f"--screenshot={drawn}", f"--window-size={_WIDTH},{height}")
        try:
            replace_file(picture, drawn.read_bytes())
        except FileNotFoundError as error:
            raise PictureError(f"{browser} wrote no picture of {page}: open it in another browser") from error
        except OSError as error:
            raise PictureError(
                f"{picture} cannot be written ({error.strerror}): give another --png"
            ) from error


def _run(browser: str, folder: str, page: Path, *flags: str) -> str:
    command = [
        browser, "--headless", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
        f"--user-data-dir={folder}/profile", *flags,
    ]  # fmt: skip
    if os.geteuid() == 0:
        command.append("--no-sandbox")  # as root, Chromium refuses to start with it
    try:
        done = subprocess.run(
            [*command, page.resolve().as_uri()], capture_output=True, text=True, timeout=_LIMIT_S, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise PictureError(f"{browser} took over {_LIMIT_S} s to draw {page}: try again") from error
    except (OSError, subprocess.CalledProcessError) as error:
        raise PictureError(
            f"{browser} could not draw {page} ({error}): open it in another browser"
        ) from error
    return done.stdout
