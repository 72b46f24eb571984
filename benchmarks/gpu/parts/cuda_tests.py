"""The tests that need a CUDA device, from a checkout in which nothing is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson

from benchmarks.gpu import pytest_rows
from benchmarks.gpu.context import Context, NotAvailableError, Row

ROOT = Path(__file__).parents[3]
TESTS = ROOT / "tests" / "gpu"

# pytest's exit codes where all tests ran: all passed, or some failed.
_RAN = (0, 1)


def measure(context: Context) -> Iterator[Row]:
    """Yield each test's outcome: passed, failed or skipped, and why.

    Raises:
        NotAvailableError: There is no pytest.
        RuntimeError: pytest did not come to its end. The tests before that have their rows.
    """
    if importlib.util.find_spec("pytest") is None:
        raise NotAvailableError("pytest is not installed")
    yield from run_tests(TESTS, context)


def run_tests(tests: Path, context: Context) -> Iterator[Row]:
    """Yield a row for each test of a folder.

    Raises:
        RuntimeError: pytest did not come to its end, or found no tests.
    """
    rows, settings = context.folder / "tests.jsonl", context.folder / "pytest.ini"
    rows.touch()
    # Neither the checkout's settings, whose plugins may be missing, nor its conftest, which wants a broker.
    settings.write_text("[pytest]\n")
    command = [
        *(sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", pytest_rows.__name__),
        *(f"--config-file={settings}", f"--rootdir={tests}", f"--confcutdir={tests}", str(tests)),
    ]
    problem = ""
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            env={
                **os.environ,
                # Plugins that happen to be installed may want another pytest.
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                pytest_rows.FILE_VARIABLE: str(rows),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=max(1.0, context.left()),
            check=False,
        )
        output = ended.stdout
        if ended.returncode not in _RAN:
            problem = f"pytest ended with {ended.returncode}"
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        problem = "the tests took too long"
    for line in rows.read_bytes().splitlines():
        yield orjson.loads(line)
    if problem:
        raise RuntimeError(f"{problem}: {output.decode(errors='replace')[-1000:]}")
