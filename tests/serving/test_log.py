"""The log as Cloud Logging reads it: each event one line, whatever it is."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.log import JsonFormatter, TextFormatter
from tests.serving.conftest import Start
from tests.serving.container import ROOT, puppet
from tests.serving.models import DIE, NO_MEMORY, PID
from tests.waiting import wait_until

SEVERITIES = {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
UTC_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


def entries(text: str) -> list[dict[str, Any]]:
    """Return the entries of a log, each of which must be a line."""
    found = [json.loads(line) for line in text.splitlines()]
    for entry in found:
        assert set(entry) - {"stack_trace"} == {"severity", "message", "time", "logger", "process"}
        assert entry["severity"] in SEVERITIES
        assert UTC_TIME.fullmatch(entry["time"])
    return found


def record(level: int, message: str, exc_info: Any = None) -> logging.LogRecord:
    return logging.LogRecord("serving.x", level, "x.py", 1, message, None, exc_info)


def test_an_exception_is_one_line_with_its_end() -> None:
    try:
        raise ValueError("first\nsecond" + "x" * 10_000 + "\nlast")
    except ValueError as error:
        text = JsonFormatter().format(record(logging.ERROR, "a\nb\ud800", (type(error), error, None)))
    (entry,) = entries(text)
    assert entry["message"] == "a\nb\ud800"
    assert entry["stack_trace"].endswith("\nlast")
    assert len(text) < 16 * 1024


def test_levels_are_severities() -> None:
    for name in SEVERITIES:
        level = getattr(logging, name)
        assert json.loads(JsonFormatter().format(record(level, "x")))["severity"] == name


def test_text_says_why_a_process_ends_and_nothing_else() -> None:
    assert TextFormatter().format(record(logging.CRITICAL, "serving: no model")) == "serving: no model"
    assert TextFormatter().format(record(logging.ERROR, "no")).endswith(" ERROR serving.x: no")


@pytest.mark.parametrize(
    "code",
    [
        "raise ValueError('one\\ntwo')",
        "import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
        "import warnings; warnings.warn('one\\ntwo')",
        "class A:\n    def __del__(self): 1 / 0\nA()",
    ],
    ids=["exception", "thread", "warning", "unraisable"],
)
def test_what_nobody_catches_is_one_entry(code: str) -> None:
    code = f"from serving.log import configure_logging\nconfigure_logging('json')\n{code}"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert len(entries(done.stderr)) == 1


@pytest.mark.slow
def test_all_that_a_container_logs_is_json(start: Start, tmp_path: Path) -> None:
    serving = start(*puppet(tmp_path), "--workers=1", AIP_MODE="PREDICTION").ready()
    worker = int(serving.predict([PID]).json["predictions"][0])
    assert serving.predict([NO_MEMORY]).status == 503
    with pytest.raises(OSError, match="."):
        serving.predict([DIE])
    wait_until(lambda: "replacing it" in serving.log)
    serving.process.terminate()
    assert serving.wait() == 0
    found = entries(serving.log)
    said = [(entry["process"], entry["severity"], entry["message"]) for entry in found]
    assert (worker, "WARNING", "/predict answered with 503 memory: out of memory: MemoryError") in said
    assert (serving.process.pid, "ERROR", "worker 0 ended by signal 9: replacing it in 0 s") in said


@pytest.mark.slow
def test_why_a_container_ends_is_one_critical_entry(start: Start, tmp_path: Path) -> None:
    serving = start(tmp_path / "none", "--workers=1", "--log_format=json")
    assert serving.wait() == 2
    (entry,) = [entry for entry in entries(serving.log) if entry["severity"] == "CRITICAL"]
    assert entry["message"].startswith("serving: AIP_STORAGE_URI: there is neither")


@pytest.mark.slow
def test_wrong_flags_are_one_critical_entry(start: Start) -> None:
    serving = start(ROOT, "--workers=none", "--drain_s=x", "--log_format=json")
    assert serving.wait() == 2
    (entry,) = entries(serving.log)
    assert entry["severity"] == "CRITICAL"
    assert len(entry["message"].splitlines()) == 2
