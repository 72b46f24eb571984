"""The command line of the serving benchmark, its bodies, its load and a short run of ours alone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import orjson
import pytest

from benchmarks.harness import cli
from benchmarks.serving import wrk
from benchmarks.serving.__main__ import parse, plan
from benchmarks.serving.bodies import KSERVE_BINARY, KSERVE_JSON, PREDICT, RAW
from benchmarks.serving.environments import InstallError, environment
from benchmarks.serving.measures import Plan, load_core, server_cores
from benchmarks.serving.served_models import ROWS, ServedModel, served_model
from benchmarks.serving.servers import OURS, SERVERS
from benchmarks.serving.wrk import LoadError
from tests.benchmarks.conftest import UsageError
from tests.waiting import LIMIT_S


def test_flags(tmp_path: Path) -> None:
    options = parse([])
    assert options.out == cli.FOLDER
    assert options.out.is_dir()
    assert plan(options) == Plan(tuple(SERVERS), ("json", "binary"), (1, 2), (1, 8, 64), 3, 2)
    options = parse(
        [
            f"--out={tmp_path}",
            "--servers=Triton,ours",
            "--models=mlp",
            "--bodies=binary",
            "--cores=2",
            "--rounds=5",
            "--seconds=4",
            "--add",
        ]
    )
    assert (options.out, options.models, options.add) == (tmp_path, ("mlp",), True)
    assert plan(options) == Plan(("ours", "Triton"), ("binary",), (2,), (1, 8, 64), 5, 4)
    assert plan(parse(["--quick"])).rounds == plan(parse(["--quick"])).seconds == 1


@pytest.mark.parametrize(
    "flag",
    [
        "--seconds=0",
        "--seconds=0.5",
        "--rounds=0",
        "--servers=TorchServe",
        "--models=",
        "--bodies=grpc",
        "--cores=3",
        "--out=/no/such/folder",
        "--round=3",
    ],
)
def test_wrong_flags_end_with_exit_code_2(flag: str, usage_error: UsageError) -> None:
    assert flag.split("=")[0] in usage_error(parse, flag)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ServedModel:
    return served_model("autoencoder", tmp_path_factory.mktemp("model"))


def test_every_row_has_an_answer_of_its_own(model: ServedModel) -> None:
    assert model.rows.shape == (ROWS, 30)
    assert model.is_right(3, model.answers[3:4])
    assert not model.is_right(3, model.answers[4:5])
    assert not model.is_right(3, np.full(1, np.nan, np.float32))
    assert not model.is_right(3, model.answers[3:5])


def test_a_row_travels_in_each_form() -> None:
    row = np.array([0.5, -1.25, 0.123457], np.float32)
    assert PREDICT.encode(row) == b'{"instances":[[0.5,-1.25,0.123457]]}'
    assert PREDICT.decode(b'{"predictions":[[1.5,2]]}', {}).tolist() == [1.5, 2]
    assert RAW.encode(row) == row.tobytes()
    assert RAW.decode(row.tobytes(), {}).tolist() == row.tolist()
    (tensor,) = orjson.loads(KSERVE_JSON.encode(row))["inputs"]
    assert tensor == {
        "name": "INPUT__0",
        "shape": [1, 3],
        "datatype": "FP32",
        "data": [0.5, -1.25, 0.123457],
    }
    head = int(KSERVE_BINARY.headers(3)["Inference-Header-Content-Length"])
    body = KSERVE_BINARY.encode(row)
    assert orjson.loads(body[:head])["inputs"][0]["parameters"] == {"binary_data_size": 12}
    assert body[head:] == row.tobytes()
    answer = b"{}" + row.tobytes()
    assert KSERVE_BINARY.decode(answer, {"Inference-Header-Content-Length": "2"}).tolist() == row.tolist()
    with pytest.raises(ValueError, match="not enough values"):
        PREDICT.decode(b'{"predictions":[]}', {})


def test_what_the_load_tells() -> None:
    said = """Running 2s test @ http://127.0.0.1:1/
  1 threads and 8 connections
MEASURED {"calls": 10, "seconds": 2.0, "p50_ms": 1.5, "p99_ms": 3, "not_answered": 1, "refused": 2}
"""
    load = wrk._read(said, "")
    assert (load.calls, load.p99_ms, load.not_answered, load.refused) == (10, 3, 1, 2)
    with pytest.raises(LoadError, match="unable to connect"):
        wrk._read("", "unable to connect to 127.0.0.1")


def test_more_cores_than_there_are() -> None:
    with pytest.raises(ValueError, match="1000 cores are wanted"):
        server_cores(1000)
    assert load_core(1000) not in server_cores(1) or len(server_cores(1)) == 1


def test_a_peer_that_cannot_be_installed_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.serving.environments._FOLDER", tmp_path)
    monkeypatch.setattr(
        "benchmarks.serving.environments._installer",
        lambda python: [sys.executable, "-c", "exit('no network')"],
    )
    with pytest.raises(InstallError, match=r"peer==1 cannot be installed: no network"):
        environment(("peer==1",))
    assert [path.name for path in tmp_path.iterdir()] == ["lock"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_a_short_run_of_ours(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.serving", f"--out={tmp_path}", f"--servers={OURS}"]
    for bodies in ("json", "binary"):
        run = subprocess.run(
            [*command, "--models=autoencoder", "--cores=1", f"--bodies={bodies}", "--quick", "--add"],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert run.returncode == 0, run.stderr
    figures = orjson.loads((tmp_path / "serving.json").read_bytes())
    assert [(cell["case"]["body"], cell["case"]["at_once"]) for cell in figures["cells"]] == [
        *(("json", 1), ("json", 8), ("json", 64)),
        *(("binary", 1), ("binary", 8), ("binary", 64)),
    ]
    for cell in figures["cells"]:
        assert cell["failure"] == ""
        ((name, value), *_) = cell["rounds"][0].items()
        assert (name, value > 0) == ("rate", True)
        assert cell["rounds"][0]["cpu_us"] > 0
    assert len(figures["forwards"]["autoencoder"]) == 2
    text = (tmp_path / "serving.txt").read_text()
    assert "wrk" in text
    assert str(tmp_path) not in text
