"""The load: wrk (https://github.com/wg/wrk, Debian's package `wrk`), a closed loop of kept connections.

It is written in C. A client in Python would take more processor time for a call than the servers do, and
the figures would be its own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import orjson

from benchmarks.serving.bodies import Form
from benchmarks.serving.served_models import ServedModel

DIFFERENT_BODIES = 16
_CALL_WITHIN_S = 30
_SAYS = "MEASURED "

_SCRIPT = """\
local requests, turn = {}, 0

init = function(args)
  for number, path in ipairs(BODIES) do
    local file = assert(io.open(path, "rb"))
    requests[number] = wrk.format("POST", nil, HEADERS, file:read("*a"))
    file:close()
  end
end

request = function()
  turn = turn % #requests + 1
  return requests[turn]
end

done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'MEASURED {"calls": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, ' ..
      '"not_answered": %d, "refused": %d}\\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    e.connect + e.read + e.write + e.timeout, e.status))
end
"""


class LoadError(Exception):
    """wrk is not installed or failed; the message says what it said."""


@dataclass(frozen=True)
class Load:
    """What a run of wrk came to.

    Attributes:
        calls: That were answered, whatever the answer.
        seconds: That it took.
        p50_ms: Of the time of a call, milliseconds, as p99_ms.
        not_answered: Errors of connections, and calls that took too long.
        refused: Calls answered with another status than 2xx or 3xx.
    """

    calls: int
    seconds: float
    p50_ms: float
    p99_ms: float
    not_answered: int
    refused: int


def version() -> str:
    """Return what wrk calls itself.

    Raises:
        LoadError: It is not installed.
    """
    if shutil.which("wrk") is None:
        raise LoadError("wrk is not installed: it makes the load; on Debian, it is the package wrk")
    said = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2])


def write_script(form: Form, model: ServedModel, folder: Path) -> Path:
    """Write the script that sends the model's first 16 rows in turn, into an empty folder."""
    bodies = []
    for number in range(DIFFERENT_BODIES):
        body = folder / f"body-{number}"
        body.write_bytes(form.encode(model.rows[number]))
        bodies.append(str(body))
    script = folder / "calls.lua"
    # A string of JSON is one of Lua's, as long as it is ASCII.
    headers = [
        f"[{json.dumps(name)}] = {json.dumps(text)}" for name, text in form.headers(model.width).items()
    ]
    tables = [
        f"local BODIES = {{{', '.join(map(json.dumps, bodies))}}}",
        f"local HEADERS = {{{', '.join(headers)}}}",
    ]
    script.write_text("\n".join([*tables, _SCRIPT]))
    return script


def run(url: str, script: Path, at_once: int, seconds: float) -> Load:
    """Make calls for some seconds, whole ones: `at_once` connections, each with one call after the other.

    Raises:
        LoadError: wrk failed.
    """
    command = [
        *("wrk", "--threads=1", f"--connections={at_once}", f"--duration={max(1, round(seconds))}s"),
        *(f"--timeout={_CALL_WITHIN_S}s", f"--script={script}", url),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return _read(ended.stdout, ended.stderr)


def _read(said: str, errors: str) -> Load:
    """Return what the script's last line tells."""
    for line in said.splitlines():
        if line.startswith(_SAYS):
            return Load(**orjson.loads(line.removeprefix(_SAYS)))
    raise LoadError(f"wrk failed: {errors.strip() or said.strip()}")
