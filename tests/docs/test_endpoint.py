"""docs/endpoint.md says what the code does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launch.commands.table import command_named, parse
from launch.rules.rule import problems
from pipeline.inference.endpoint.body import MAX_ANSWER_BYTES, MAX_ERROR_BYTES
from pipeline.inference.endpoint.responses import HttpResponse, RefusedError, RetryError
from pipeline.options.job_options import FLAGS
from pipeline.pubsub.limits import MAX_ATTRIBUTE_VALUE_BYTES
from pipeline.request.errors import EndpointError
from pipeline.request.json_text import MAX_DEPTH

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/endpoint.md").read_text()
ENDPOINT_ONLY = {
    "endpoint",
    "endpoint_location",
    "endpoint_url",
    "endpoint_token_host",
}  # in the table of endpoints, without defaults


def section(title: str) -> str:
    return PAGE.split(f"\n## {title}")[1].split("\n## ")[0]


def test_flags_and_defaults() -> None:
    documented = dict(re.findall(r"^\| `--(\w+)` \| `(\w+)` \|", section("Flags"), re.MULTILINE))
    ours = {f.name: f.default for f in FLAGS if f.name.startswith("endpoint") and f.name not in ENDPOINT_ONLY}
    assert documented == ours
    assert set(re.findall(r"--(endpoint\w*)", section("Which endpoint"))) == ENDPOINT_ONLY


@pytest.mark.parametrize(
    ("first", "meaning"),
    [("400, 413, 422", RefusedError), ("429, 503, 504", RetryError), ("408, 500, 502", RetryError)],
)
def test_statuses(first: str, meaning: type[Exception]) -> None:
    assert f"\n| {first}" in section("What happens")
    for status in map(int, first.split(", ")):
        with pytest.raises(meaning) as caught:
            HttpResponse(status, {}, b"").check("http://127.0.0.1/predict")
        if isinstance(caught.value, RetryError):
            assert caught.value.congested is (status in (429, 503, 504))
    for status in (403, 404):
        with pytest.raises(EndpointError):
            HttpResponse(status, {}, b"").check("http://127.0.0.1/predict")


def test_limits_of_an_answer() -> None:
    told = section("What happens")
    assert f"more than {MAX_ANSWER_BYTES // 2**20} MiB" in told
    assert f"first {MAX_ERROR_BYTES // 2**10} KiB" in told
    assert f"nested more than {MAX_DEPTH} deep" in told
    assert f"the {MAX_ATTRIBUTE_VALUE_BYTES:,} bytes" in told


def test_launch_takes_the_commands_of_a_deployment() -> None:
    blocks = re.findall(r"^```\n(.*?)^```$", section("Deploy a model"), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    assert len(lines) == 4
    for words in map(shlex.split, lines):
        assert words[:2] == ["./launch.sh", "endpoint"]
        command = command_named(" ".join(words[1:3]))
        where = ["--project=my-project", "--region=us-central1"]
        settings = parse(command, [*where, *words[3:]], {}, ROOT / "no-launch.env")
        assert problems(command.rules, settings) == []


def test_flags_of_the_container() -> None:
    table = [row for row in section("The container").splitlines() if row.startswith("|")]
    documented = set(re.findall(r"`--(\w+)`", "".join(table)))
    shown = subprocess.run(
        [sys.executable, "-m", "serving", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    known = set(re.findall(r"^  --(\w+)", shown.stdout, re.MULTILINE))
    assert documented == known - {"help", "host"}
