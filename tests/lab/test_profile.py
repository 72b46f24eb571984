"""The profile's command: its flags, and once with a real job and a real container."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lab.profile import profile_command
from lab.profile_words import profile_lines
from loadtest.profile.profile import read
from tests.loadtest.profile.made_profile import made_profile
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--seconds=1"], "--seconds=1 must be from 4 to 600"),
        (["--seconds=x"], "--seconds=x must be from 4"),
        (["--input_topic=t", "--project=p", "--output_subscription=s"], "leave it out"),
        (["--", "--max_batch_sise=3"], "max_batch_sise"),
        (["--second=1"], "did you mean --seconds"),
        (["--endpoint_url=http://h/p", "--rate=5"], "--rate: has no part in a profile"),
        (["--endpoint_url=http://h/p", "--budget", "5"], "--budget: has no part in a profile"),
        (["--endpoint_url=http://h/p", "--", "--device=cpu"], "flags after -- are for a container"),
    ],
)
def test_wrong_flags(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert profile_command(arguments) == 2
    assert problem in capsys.readouterr().err


def test_a_profile_in_words() -> None:
    lines = list(profile_lines(made_profile()))
    assert lines[0] == "measured on made, 2 cores, 2026-01-31T12:00:00+00:00"
    assert lines[1] == (
        "job: a call of the model takes 0.5 (0.45 to 0.55) ms + 0.01 ms a request (1 to 32; furthest off +0%)"
        "; the part of each request cannot be told from 0"
    )
    assert "  rest: too few calls" in lines


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["local", "endpoint"])
def test_a_real_job(mode: str, tmp_path: Path) -> None:
    """Batches of at most four, so that it is soon overloaded."""
    command = [sys.executable, "-m", "lab", "profile", f"--out={tmp_path}", "--seconds=4"]
    done = subprocess.run(
        [*command, "--", f"--inference_mode={mode}", "--max_batch_size=4"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=8 * LIMIT_S,
    )
    assert done.returncode == 0, done.stderr
    profile = read(tmp_path / "profile.json")
    job = profile.job
    assert job is not None
    assert job.mode == mode
    assert 1 <= job.service.smallest < job.service.largest <= 4
    assert [level.offered for level in job.levels] == sorted(level.offered for level in job.levels)
    assert not job.levels[-1].kept_up
    assert (job.decode is None) == (mode == "endpoint")
    assert {"job", "broker", "driver"} <= job.levels[0].processor_ms.keys()
    endpoint = profile.endpoint
    assert (endpoint is None) == (mode == "local")
    if endpoint is not None:
        assert endpoint.service.smallest == 1.0
        assert endpoint.processor is not None
        assert {one.at_once for one in endpoint.at_once} == {1, 2, 4, 8, 16}
