"""A real Triton on an exported repository, but for its backend.

The Triton that runs here, out of a wheel, has the Python backend alone. So the config is that of the export
with `backend` and `platform` exchanged, and model.pt is run by torch in that backend. What Triton makes of
the rest of the config is its own: names, shapes, the reshape of scalars, batching, queue, instances, warm-up.
"""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch

from export.model_config import CPU, TORCHSCRIPT, Serving
from export.triton import TritonExport, export
from tests.export.models import save_named
from tests.integration.conftest import MODEL
from tests.triton import running_triton

# Runs in Triton's Python backend.
_IN_LIBTORCHS_PLACE = """
import json, pathlib
import numpy as np
import torch
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        config = json.loads(args["model_config"])
        self._inputs = [each["name"] for each in config["input"]]
        self._outputs = [each["name"] for each in config["output"]]
        folder = pathlib.Path(args["model_repository"]) / args["model_version"]
        self._model = torch.jit.load(str(folder / "model.pt"))

    def execute(self, requests):
        responses = []
        for request in requests:
            arrays = [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for name in self._inputs]
            with torch.inference_mode():
                output = self._model(*(torch.from_numpy(np.array(array)) for array in arrays))
            found = output if isinstance(output, tuple) else (output,)
            arrays = [each.numpy() for each in found]
            tensors = [pb_utils.Tensor(*pair) for pair in zip(self._outputs, arrays)]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
"""


def export_for_python(model: Path, repository: Path, name: str) -> None:
    """Export a model, and exchange the backend."""
    serving = Serving(max_batch_size=8, max_queue_size=16, instances=1, device=CPU, threads=1)
    exported = export(
        TritonExport(
            model_path=str(model),
            input_shape=None,
            repository=repository,
            model_name=name,
            version=None,
            format=TORCHSCRIPT,
            serving=serving,
        )
    )
    (exported.folder / "model.py").write_text(_IN_LIBTORCHS_PLACE)
    config = exported.folder.parent / "config.pbtxt"
    text = config.read_text()
    assert text.count('backend: "pytorch"\nplatform: "pytorch_libtorch"\n') == 1
    config.write_text(
        text.replace('backend: "pytorch"\nplatform: "pytorch_libtorch"\n', 'backend: "python"\n')
    )


def ask(address: str, model: str, inputs: dict[str, torch.Tensor]) -> tuple[int, Any]:
    types = {torch.float32: "FP32", torch.int64: "INT64"}
    body = {
        "inputs": [
            {
                "name": name,
                "shape": list(value.shape),
                "datatype": types[value.dtype],
                "data": value.ravel().tolist(),
            }
            for name, value in inputs.items()
        ]
    }
    with closing(http.client.HTTPConnection(address)) as connection:
        headers = {"Accept-Encoding": "identity"}
        connection.request("POST", f"/v2/models/{model}/infer", json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


@pytest.mark.slow
def test_triton_takes_the_config_with_its_python_backend_in_libtorchs_place(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    named = save_named(tmp_path / "named.pt2")
    export_for_python(MODEL, repository, "autoencoder")
    export_for_python(named, repository, "named")
    features = torch.randn(5, 30)
    inputs = {"ids": torch.randint(0, 2, (3, 4)), "scale": torch.randn(3, 6)}
    with running_triton(repository, tmp_path / "log") as triton:
        status, answer = ask(triton.http, "autoencoder", {"INPUT__0": features})
        too_many, _ = ask(triton.http, "autoencoder", {"INPUT__0": torch.zeros(9, 30)})
        # By name, in any order.
        named_status, by_name = ask(triton.http, "named", dict(reversed(inputs.items())))
    with torch.inference_mode():
        expected = torch.export.load(MODEL).module()(features)
        expected_by_name = torch.export.load(named).module()(**inputs)
    assert (status, too_many, named_status) == (200, 400, 200)
    (output,) = answer["outputs"]
    assert (output["name"], output["shape"]) == ("OUTPUT__0", [5, 1])
    assert output["data"] == pytest.approx(expected.tolist(), abs=1e-5)
    found = {each["name"]: each for each in by_name["outputs"]}
    assert {name: each["shape"] for name, each in found.items()} == {"total": [3, 1], "rows": [3, 6]}
    for name, each in found.items():
        assert each["data"] == pytest.approx(expected_by_name[name].ravel().tolist(), abs=1e-5)
