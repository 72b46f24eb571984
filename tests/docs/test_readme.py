"""README.md: its commands are run, its flags exist."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.command_line import new_parser
from lab.search_flags import add_search_flags
from loadtest.options import make_parser as loadtest_parser
from local.command import make_parser as local_parser
from local.send import make_parser as send_parser
from pipeline.options.job_options import FLAGS
from tests.docs.test_your_own_model import BLOCKS as MODELS
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "README.md").read_text()


def block(title: str, number: int = 1) -> str:
    """Return a section's block of that number."""
    return PAGE.split(f"\n### {title}\n")[1].split("```\n")[2 * number - 1].split("\n```")[0]


def commands(title: str, number: int = 1) -> list[str]:
    """Return the commands of a section's block, each as one line for bash, by this very Python."""
    lines = block(title, number).replace("\\\n", " ").splitlines()
    modules = {"./launch.sh send": "python -m local.send", "python": shlex.quote(sys.executable)}
    for written, run in modules.items():
        lines = [line.replace(f"{written} ", f"{run} ") for line in lines]
    return lines


def test_job_flags_exist() -> None:
    search_parser = new_parser("search", "")
    add_search_flags(search_parser, tiers="several")
    parsers = (local_parser(), send_parser(), loadtest_parser(), search_parser)
    known = {option for parser in parsers for option in re.findall(r"--\w+", parser.format_help())}
    known |= {f"--{flag.name}" for flag in FLAGS} | {"--runner", "--help_beam"}
    named = set(re.findall(r"--[a-z]+_\w+", PAGE))
    assert len(named) > 20
    assert named <= known


@contextmanager
def started(command: str, says: str, folder: Path, environment: dict[str, str]) -> Iterator[str]:
    """Start a command, wait for a line that has `says`, yield that line, and end it."""
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command}"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield next(line for line in process.stdout if says in line)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 0, output


@pytest.mark.slow
def test_a_local_pubsub_the_job_alone_a_request_and_load(tmp_path: Path) -> None:
    """The commands as they stand, but for the port, and less load."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package/models.py").write_text(MODELS["my_package/models.py"])
    (tmp_path / "make_model.py").write_text(MODELS["model.pt2"])
    (tmp_path / "requests.jsonl").write_text('{"features": [1, 2, 3]}\n{"features": [4, 5, 6]}\n')
    (tmp_path / "make_topics.py").write_text(*re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.M))

    def run(command: str, *, may_be_late: bool = False) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        # On a busy machine the driver may miss its schedule by a few milliseconds, which is no matter here.
        late = may_be_late and "the driver missed its schedule" in done.stderr
        assert done.returncode == late, done.stdout + done.stderr
        return done.stdout

    python = shlex.quote(sys.executable)
    run(f"{python} make_model.py")
    (start_broker,) = commands("Develop against a local Pub/Sub")
    broker, _, export = start_broker.replace("--port 8085", "--port 0").partition(" & ")
    with started(broker, "broker listening on ", tmp_path, environment) as line:
        name, _ = export.removeprefix("export ").split("=")
        environment[name] = line.split()[-1]
        run(f"{python} make_topics.py")
        (job,) = commands("Run the job alone")
        with started(job, "reading projects/my-project", tmp_path, environment):
            *_, send = commands("Send one request by hand")
            assert json.loads(run(send))["prediction"]
            (load,) = commands("How much does it carry?", number=2)
            run(load.replace("--rate 500 --duration 60", "--rate 20 --duration 1"), may_be_late=True)
    summary = json.loads((tmp_path / "runs/load/summary.json").read_text())
    assert summary["received"] == summary["sent"] > 0
