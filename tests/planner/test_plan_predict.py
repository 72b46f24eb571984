"""`./launch.sh plan predict`, run in this process but for one."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from launch.__main__ import main as launch
from planner.__main__ import main
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[2]
# Without a network: nothing may be asked of one.
_NO_NETWORK = (
    "import runpy, socket, sys\n"
    "def refuse(*_): raise OSError('the network was asked')\n"
    "socket.socket.connect = refuse\n"
    "socket.getaddrinfo = refuse\n"
    "sys.argv = ['planner', 'predict', '--workload=constant 500', '--json']\n"
    "runpy.run_module('planner', run_name='__main__')\n"
)


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["predict", "--json", "--draws=5", *arguments]) == 0
    found: dict[str, object] = orjson.loads(capsys.readouterr().out)
    return found


def value(found: dict[str, object], name: str, which: str = "value") -> float:
    figures = found["figures"]
    assert isinstance(figures, list)
    return next(float(figure[which]) for figure in figures if figure["name"] == name)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["predict", "--draws=5", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["predict", *arguments])
    captured = capsys.readouterr()
    assert captured.out == ""
    return code, captured.err


def test_it_answers_in_a_fresh_process_without_a_network() -> None:
    ran = subprocess.run(
        [sys.executable, "-P", "-c", _NO_NETWORK],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert ran.returncode == 0, ran.stderr
    found = orjson.loads(ran.stdout)
    assert found["headline"].startswith("It keeps up with constant 500")
    assert "bundled.json" in found["profile"]


def test_the_same_seed_gives_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for seed in (1, 1, 2):
        assert main(["predict", "--json", "--draws=5", "--workload=ramp 10 5000 5m", f"--seed={seed}"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert texts[0].replace('"seed": 1', "") != texts[2].replace('"seed": 2', "")


def test_too_few_workers_do_not_keep_up_and_more_do(capsys: pytest.CaptureFixture[str]) -> None:
    load = "--workload=constant 100000 10m"
    few = plan(capsys, load, "--min-workers=1", "--max-workers=1")
    many = plan(capsys, load, "--min-workers=12", "--max-workers=12")
    assert str(few["headline"]).startswith("It does not keep up")
    assert any("the workers hold messages back" in str(line) for line in few["sentences"])  # type: ignore[attr-defined]
    assert str(many["headline"]).startswith("It keeps up")
    assert value(few, "latency p99") > 20 * value(many, "latency p99")
    assert value(few, "answered by the end") < 60


def test_a_launch_begins_with_a_backlog(capsys: pytest.CaptureFixture[str]) -> None:
    load = "--workload=constant 500 20m"
    running, launched = plan(capsys, load), plan(capsys, load, "--start=launch")
    assert value(running, "backlog, most") < 500 < value(launched, "backlog, most")
    assert any("caught up at" in str(line) for line in launched["sentences"])  # type: ignore[attr-defined]


def test_a_slower_model_of_ones_own_does_less(capsys: pytest.CaptureFixture[str]) -> None:
    load = ("--workload=constant 500 5m", "--max-workers=1", "--", "--max_batch_size=16")
    fast = plan(capsys, "--service-ms=1+0.01", *load)
    slow = plan(capsys, "--service-ms=100+10", *load)
    assert value(fast, "answered by the end") == pytest.approx(100, abs=0.5)
    assert value(slow, "answered by the end") < 50
    grounds = slow["grounds"]
    assert isinstance(grounds, list)
    law = next(each for each in grounds if each["what"] == "a call of the model")
    assert law["basis"] == "assumed"


def test_replicas_that_are_too_few_are_found_before_the_launch(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(
        capsys,
        *("--workload=constant 20000 10m", "--mode=endpoint", "--service-ms=50+5", "--max-replicas=1"),
        *("--num-workers=4", "--", "--max_active_bundles_per_worker=24"),
    )
    assert str(found["headline"]).startswith("It does not keep up")
    assert any("the endpoint hold" in str(line) for line in found["sentences"])  # type: ignore[attr-defined]
    mistakes = found["mistakes"]
    assert isinstance(mistakes, list)
    assert any("--max-replicas=" in line for line in mistakes)


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (["--workload=const 5"], "choose one of constant"),
        (["--workload=constant 5", "--min-wrkers=3"], "did you mean --min-workers?"),
        (["--workload=constant 5", "--min-workers=5", "--max-workers=2"], "--max-workers"),
        (["--workload=constant 5", "--min-replicas=2"], "add --mode=endpoint"),
        (
            ["--workload=constant 5", "--gpu=nvidia-l4:1", "--machine-type=n1-standard-4"],
            "take g2-standard-4",
        ),
        (["--workload=constant 5", "--service-ms=2"], "as in 2+0.05"),
        (["--workload=constant 5", "--known=core=1"], "core_factor"),
        (["--workload=constant 5", "--committed=2"], "1 and of 3 years"),
        (["--workload=constant 5", "--", "--max_batch_size=0"], "--max_batch_size"),
        (["--workload=constant 5", "--", "--max_batch_siz=1"], "did you mean max_batch_size?"),
        ([], "--workload: missing"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_flag_is_refused_with_its_fix(
    arguments: list[str], fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = refused(capsys, *arguments)
    assert code == 2
    assert fix in told


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (["--gpu=nvidia-l4:1"], "--service-ms=FIXED+EACH"),
        (["--profile=nowhere.json"], "./launch.sh loadtest profile"),
        (["--machine-type=m7-weird-4"], "m7-weird-4"),
    ],
)
def test_what_cannot_be_predicted_says_what_is_missing(
    arguments: list[str], fix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = refused(capsys, "--workload=constant 5", *arguments)
    assert code == 1
    assert fix in told


@pytest.mark.parametrize("width", [60, 120])
def test_nothing_is_cropped(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    text = shown(capsys, "--workload=constant 500", "--grounds")
    assert "…" not in text.replace("./launch.sh …", "")
    boxes = [line for line in text.splitlines() if line[:1] in "┏┃┡│└" and line]
    assert boxes
    assert max(map(len, boxes)) <= width


def test_measured_published_and_assumed_are_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "--workload=constant 500")
    for basis in ("measured: ", "published: ", "assumed: "):
        assert any(line.startswith(basis) for line in text.splitlines())
    assert text.count("prices of 2026-") == 3


def test_the_lines_are_ones_that_launch_takes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = plan(
        capsys,
        *("--workload=constant 500", "--min-workers=2", "--max-workers=20", "--machine-type=n1-standard-4"),
        *("--utilization-hint=0.6", "--", "--max_batch_size=64"),
    )
    lines = found["launch"]
    assert isinstance(lines, list)
    settings = {
        "LAUNCH_PROJECT": "my-project", "LAUNCH_REGION": "us-central1", "LAUNCH_BUCKET": "gs://my-bucket",
        "LAUNCH_IMAGE": "us-central1-docker.pkg.dev/my-project/r/job", "LAUNCH_TAG": "1",
        "LAUNCH_MODEL_PATH": "gs://my-bucket/m.pt2",
    }  # fmt: skip
    topics = {
        "input_subscription": "projects/my-project/subscriptions/requests",
        "output_topic": "projects/my-project/topics/results",
        "dead_letter_topic": "projects/my-project/topics/dead-letters",
    }
    words = [*shlex.split(lines[-1])[1:], *(f"--{name}={text}" for name, text in topics.items())]
    words.insert(1, "--dry-run")
    assert launch(words, settings, tmp_path / "launch.env") == 0
    printed = capsys.readouterr().out
    assert "max_batch_size=64" in printed
    assert "20" in printed


def test_the_limit_that_a_rate_breaks_first_is_named_with_how_to_shard_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    workers = ("--min-workers=40", "--max-workers=40")
    large = plan(capsys, "--workload=constant 1000000 5m", *workers)
    small = plan(capsys, "--workload=constant 1000 5m", *workers)
    sentences = [str(line) for line in large["sentences"]]  # type: ignore[attr-defined]
    told = next(line for line in sentences if "parts:" in line)
    assert told.startswith("publishing in a large region")
    assert not any("parts:" in str(line) for line in small["sentences"])  # type: ignore[attr-defined]


def test_a_profile_whose_driver_was_late_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = orjson.loads((ROOT / "planner/profiles/bundled.json").read_bytes())
    for valid, told in ((True, False), (False, True)):
        for level in content["job"]["levels"]:
            level["valid"] = valid
        mine = tmp_path / f"{valid}.json"
        mine.write_bytes(orjson.dumps(content))
        found = plan(capsys, "--workload=constant 5 5m", f"--profile={mine}")
        assert ("driver that was late at" in str(found["profile"])) is told


def test_the_peaks_need_of_workers_and_replicas(capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(
        capsys,
        *("--workload=constant 2000 5m", "--mode=endpoint", "--service-ms=5+2", "--min-replicas=9"),
        *("--max-replicas=9", "--machine-type=n1-standard-4"),
    )
    told = next(str(line) for line in found["sentences"] if "needs" in str(line))  # type: ignore[attr-defined]
    assert "the peak of 2,000 messages/s needs 1 workers and " in told


def test_a_value_that_is_known_is_not_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    load = "--workload=constant 20000 5m"
    slow, fast = plan(capsys, load, "--known=core_factor=2"), plan(capsys, load, "--known=core_factor=1")
    assert value(fast, "CPU of workers, mean") < 0.8 * value(slow, "CPU of workers, mean")


def test_commands_that_do_not_exist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["what-if"]) == 2
    assert "what-if" not in capsys.readouterr().err.replace("plan what-if", "")
    assert main(["--help"]) == 0
    assert "predict" in capsys.readouterr().out
    assert main(["predict", "--help"]) == 0
    assert "--workload" in capsys.readouterr().out
