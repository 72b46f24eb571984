"""The endpoint's command with a container of its own: its flags, and once a real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from lab.endpoint import endpoint_command, parse_endpoint
from tests.integration.conftest import EXAMPLE
from tests.waiting import LIMIT_S

ROOT = Path(__file__).parents[2]


def test_without_an_address_the_bundled_model_is_served_here() -> None:
    line = parse_endpoint(["--rows=1,4"])
    assert line.problems == []
    assert line.flags is not None
    assert line.flags.for_container() == (str(EXAMPLE), ["--model_file=model.pt2"])
    assert line.options is not None
    assert (line.options.rows, len(line.options.inputs[0])) == ((1, 4), 30)
    assert not line.names_out


def test_flags_after_the_dashes_go_to_the_container(tmp_path: Path) -> None:
    line = parse_endpoint([f"--out={tmp_path}", "--", "--max_batch_size=16", "--input_shape=30"])
    assert line.flags is not None
    _, arguments = line.flags.for_container()
    assert "--max_batch_size=16" in arguments
    assert line.options is not None
    assert line.names_out


def test_a_model_of_ones_own_gets_made_requests() -> None:
    line = parse_endpoint(["--", "--input_shape=3x2"])
    assert line.options is not None, line.problems
    (first, *_) = line.options.inputs
    assert getattr(first, "shape", None) == (3, 2)


def test_with_an_address_nothing_is_started(tmp_path: Path) -> None:
    line = parse_endpoint(["--endpoint-url=http://127.0.0.1:8080/predict", f"--out={tmp_path}"])
    assert line.flags is None
    assert line.options is not None
    assert line.options.target.address.url == "http://127.0.0.1:8080/predict"


def test_flags_from_a_file(tmp_path: Path) -> None:
    config = tmp_path / "flags.toml"
    config.write_text(f'rows = "1,2"\nout = "{tmp_path}"\njob = ["--max_batch_size=8"]\n')
    line = parse_endpoint([f"--config={config}"])
    assert line.options is not None, line.problems
    assert (line.options.rows, line.options.out, line.names_out) == ((1, 2), tmp_path, True)
    assert line.flags is not None
    assert "--max_batch_size=8" in line.flags.for_container()[1]


def test_a_file_of_flags_comes_before_the_defaults(tmp_path: Path) -> None:
    config = tmp_path / "flags.toml"
    config.write_text('rows = "2,3"\n')
    line = parse_endpoint([f"--config={config}", f"--out={tmp_path}"], ["--rows=1", "--connections=5"])
    assert line.options is not None, line.problems
    assert (line.options.rows, line.options.connections) == ((2, 3), (5,))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--rows=none"], "--rows: 'none' is not a whole number"),
        (["--input_shape=3"], "--input_shape: the container is started here: give it after --"),
        (["--endpoint_protocol=triton"], "does not speak triton: name a Triton by --endpoint_url"),
        (["--endpoint_url=http://h/p", "--", "--device=cpu"], "flags after -- are for a container"),
        (["--", "--endpoint_url=http://h/p"], "leave them out after --"),
        (["--", "--model_pointer=p"], "does not follow it: give --model_path"),
        (["--", "--max_batch_sise=3"], "max_batch_sise"),
        (["--", "--input_shape=x:"], "--input_shape"),
        (["--row=1"], "did you mean --rows"),
        (["--config=/none.toml"], "/none.toml cannot be read"),
    ],
)
def test_wrong_flags(arguments: list[str], problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert endpoint_command(arguments) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.slow
def test_a_container_is_started_loaded_and_stopped(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab", "endpoint", f"--out={tmp_path}", "--rate=20", "--duration=1"]
    done = subprocess.run(
        [*command, "--rows=1,3", "--", "--max_batch_size=2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
    )
    report = orjson.loads((tmp_path / "endpoint.json").read_bytes())
    assert report["healthy_after_s"] > 0, done.stderr
    assert report["first"]["attempts_before"] == 0
    served, too_large = (load["figures"] for load in report["loads"])
    assert served["served"] == 20
    assert too_large["failures"] == {"413": 20}  # the flag has reached the container
    assert "Started for this: healthy after " in done.stdout
    assert "draining" in (tmp_path / "serving.log").read_text()  # it was asked to end


@pytest.mark.slow
def test_a_container_that_does_not_start_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = tmp_path / "model.pt2"
    nothing.write_bytes(b"no model")
    arguments = [f"--out={tmp_path / 'out'}", "--", f"--model_path={nothing}", "--input_shape=2"]
    assert endpoint_command(arguments) != 0
    assert "model.pt2" in capsys.readouterr().err
