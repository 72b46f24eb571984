from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.model_config import Tensor
from local.children import ChildError
from local.triton import installation
from local.triton.installation import TritonError, install
from local.triton.repository import EXPORTED_MODEL, add_job_model, add_model
from local.triton.server import Triton
from tests.integration.conftest import MODEL
from tests.pipeline.model.files.test_input_shape import export_named
from tests.triton import running_triton


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    add_model(
        folder,
        "autoencoder",
        EXPORTED_MODEL,
        [Tensor("INPUT__0", "FP32", (30,))],
        [Tensor("OUTPUT__0", "FP32", ())],
        version=3,
        files={"model.pt2": MODEL},
    )
    return folder


def post(address: str, path: str, content: object) -> tuple[int, dict[str, Any]]:
    with closing(http.client.HTTPConnection(address)) as connection:
        connection.request("POST", path, json.dumps(content), {"Accept-Encoding": "identity"})
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.slow
def test_both_front_ends_serve_the_model_on_loopback_alone(repository: Path, tmp_path: Path) -> None:
    rows = np.zeros((2, 30), np.float32)
    inputs = {"name": "INPUT__0", "shape": [2, 30], "datatype": "FP32", "data": rows.ravel().tolist()}
    with running_triton(repository, tmp_path / "log", vertex=True) as triton:
        assert triton.vertex is not None
        direct = post(triton.http, "/v2/models/autoencoder/infer", {"inputs": [inputs]})
        assert direct == post(triton.vertex, "/predict", {"inputs": [inputs]})
        # It listens on every address of its own namespace; of this one, the relay does.
        ports = {int(address.split(":")[1]) for address in (triton.http, triton.vertex)}
        listening = {int(port, 16): address for address, port in _listening()}
        assert {listening[port] for port in ports} == {"0100007F"}
        assert 8080 not in ports
    status, answer = direct
    assert (status, answer["model_name"], answer["model_version"]) == (200, "autoencoder", "3")
    (output,) = answer["outputs"]
    assert (output["name"], output["shape"], len(set(output["data"]))) == ("OUTPUT__0", [2, 1], 1)


def _listening() -> list[list[str]]:
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [fields[1].split(":") for fields in lines if fields[3] == "0A"]


@pytest.mark.slow
def test_a_model_of_the_job_tells_its_inputs_and_outputs(tmp_path: Path) -> None:
    export_named(tmp_path / "named.pt2")
    folder = tmp_path / "repository"
    add_job_model(folder, "named", tmp_path / "named.pt2", "ids:int64:4,scale:float32:3", max_batch_size=8)
    # Not in the order of --input_shape.
    inputs = [
        {"name": "scale", "shape": [2, 3], "datatype": "FP32", "data": [0.5, 0, 0, 1, 1, 1]},
        {"name": "ids", "shape": [2, 4], "datatype": "INT64", "data": [1, 2, 3, 4, 1, 1, 1, 1]},
    ]
    with running_triton(folder, tmp_path / "log") as triton:
        status, answer = post(triton.http, "/v2/models/named/infer", {"inputs": inputs})
        nine, too_many = post(triton.http, "/v2/models/named/infer", {"inputs": _nine_rows(inputs)})
    assert status == 200
    assert answer["outputs"] == [
        {"name": "OUTPUT__0", "datatype": "FP32", "shape": [2, 1], "data": [5.0, 12.0]}
    ]
    assert (nine, "batch-size must be <= 8" in too_many["error"]) == (400, True)


def _nine_rows(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        each | {"shape": [9, each["shape"][1]], "data": each["data"][: each["shape"][1]] * 9}
        for each in inputs
    ]


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_is_told_with_the_end_of_the_log(
    repository: Path, tmp_path: Path
) -> None:
    (repository / "autoencoder/3/model.pt2").unlink()
    with (
        pytest.raises(
            ChildError, match="(?s)Triton ended by itself with exit code 1; the end of .*failed to load"
        ),
        running_triton(repository, tmp_path / "log"),
    ):
        pytest.fail("it is ready without a model")


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(installation, "BINARY", tmp_path / "none")
    with pytest.raises(TritonError, match="not installed here: .*python -m local.triton.installation"):
        Triton(tmp_path, tmp_path / "log", on_failure=lambda reason: None)


def test_another_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.system", lambda: "Linux")
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(TritonError, match="Linux on x86-64, this is Linux riscv64"):
        install()
