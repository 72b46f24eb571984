"""A model repository for Triton's Python backend: a folder for each model, its config and its code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from export.model_config import Tensor

_JOB_MODEL = Path(__file__).with_name("job_model.py")
EXPORTED_MODEL = Path(__file__).with_name("exported_model.py")
"""Code of a model that a torch.export file, `model.pt2` beside it, is."""


def add_model(
    repository: Path,
    name: str,
    code: Path,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    version: int = 1,
    max_batch_size: int = 64,
    instances: int = 1,
    settings: str = "dynamic_batching { }",
    files: Mapping[str, Path] = {},
) -> None:
    """Write a model into a repository.

    Args:
        repository: Made if it is not there.
        name: Of the model.
        code: Its model.py, which holds a TritonPythonModel.
        inputs: In the order of the model's arguments.
        outputs: In the order of what it returns.
        version: Of the model.
        max_batch_size: Most rows of a request, and of a batch that is formed of several.
        instances: Processes that each compute batches of it.
        settings: More of the config, such as `dynamic_batching`.
        files: What its code reads, by the name beside it.
    """
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    (folder / "model.py").write_bytes(code.read_bytes())
    for file, source in files.items():
        (folder / file).write_bytes(source.read_bytes())
    lines = [
        f'name: "{name}"',
        'backend: "python"',
        f"max_batch_size: {max_batch_size}",
        *(f"input {tensor.text()}" for tensor in inputs),
        *(f"output {tensor.text()}" for tensor in outputs),
        f"instance_group [ {{ kind: KIND_CPU count: {instances} }} ]",
        f"version_policy {{ specific {{ versions: [ {version} ] }} }}",
        settings,
    ]
    (folder.parent / "config.pbtxt").write_text("\n".join(lines) + "\n")


def add_job_model(
    repository: Path, name: str, model_path: Path, input_shape: str, *, max_batch_size: int = 64
) -> None:
    """Write a model into a repository that is computed by the job's own code, in local mode's way.

    Args:
        repository: Made if it is not there.
        name: Of the model; one that is there is replaced.
        model_path: A torch.export file or TorchScript; read where it is.
        input_shape: Its inputs, as --input_shape has them.
        max_batch_size: Most rows of a request, and of a batch that is formed of several.
    """
    folder = repository / name / "1"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.py").write_bytes(_JOB_MODEL.read_bytes())
    told = {
        "model_path": str(model_path.resolve()),
        "input_shape": input_shape,
        "max_batch_size": str(max_batch_size),
    }
    lines = [
        f'name: "{name}"',
        'backend: "python"',
        "instance_group [ { kind: KIND_CPU count: 1 } ]",
        # JSON's strings are those of this format.
        *(
            f'parameters {{ key: "{key}" value: {{ string_value: {json.dumps(text)} }} }}'
            for key, text in told.items()
        ),
    ]
    (folder.parent / "config.pbtxt").write_text("\n".join(lines) + "\n")
