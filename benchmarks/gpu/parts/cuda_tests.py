"""The tests that need a CUDA device, from a checkout in which nothing is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.context import Context, NotAvailableError, Row

ROOT = Path(__file__).parents[3]
TESTS = ROOT / "tests" / "gpu"


def measure(context: Context) -> Iterator[Row]:
    """Yield each test's outcome: passed, failed or skipped, and why.

    Raises:
        NotAvailableError: There is no pytest, or it found no tests.
    """
    if importlib.util.find_spec("pytest") is None:
        raise NotAvailableError("pytest is not installed")
    report, settings = context.folder / "tests.xml", context.folder / "pytest.ini"
    # Neither the checkout's settings, whose plugins may be missing, nor its conftest, which wants a broker.
    settings.write_text("[pytest]\n")
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}"),
        *(f"--config-file={settings}", f"--rootdir={TESTS}", f"--confcutdir={TESTS}", str(TESTS)),
    ]
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            # Plugins that happen to be installed may want another pytest.
            env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            capture_output=True,
            text=True,
            timeout=max(1.0, context.left()),
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        so_far = error.stdout.decode() if isinstance(error.stdout, bytes) else str(error.stdout)
        raise NotAvailableError(f"the tests took too long; so far: {so_far[-2000:]}") from error
    if not report.exists():
        raise NotAvailableError(
            f"pytest ended with {ended.returncode}: {(ended.stdout + ended.stderr)[-500:]}"
        )
    for case in ET.parse(report).iter("testcase"):
        outcome, reason = "passed", ""
        for kind in ("failure", "error", "skipped"):
            found = case.find(kind)
            if found is not None:
                outcome = {"failure": "failed", "error": "failed", "skipped": "skipped"}[kind]
                reason = " ".join((found.get("message") or found.text or "").split())[:1000]
        yield {
            "test": f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}",
            "outcome": outcome,
            "reason": reason,
            "seconds": float(case.get("time", "0")),
        }
