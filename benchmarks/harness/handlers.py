"""The two handlers that are compared, each built the way that its users build it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from apache_beam.ml.inference.base import ModelHandler
from apache_beam.ml.inference.pytorch_inference import (
    PytorchModelHandlerKeyedTensor,
    PytorchModelHandlerTensor,
)
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.harness.machine import Machine
from benchmarks.harness.models import Workload
from pipeline.job.command_line import job_options
from pipeline.job.handler import make_handler


def state_dict(workload: Workload, folder: Path) -> Path:
    """Write the weights that both handlers load into a new file, and return it."""
    path = folder / f"{workload.model_class.__name__}.pt"
    torch.save(workload.make().state_dict(), path)
    return path


def stock_handler(
    workload: Workload, weights: Path, machine: Machine, batch_size: int | None = None
) -> ModelHandler:
    """Return stock's handler of tensors (of dicts of tensors for named inputs).

    Args:
        workload: The model and its inputs.
        weights: A state_dict.
        machine: What the handler computes on.
        batch_size: The least and the greatest one; None leaves it to Beam.
    """
    cls = PytorchModelHandlerKeyedTensor if ":" in workload.input_shape else PytorchModelHandlerTensor
    return cls(
        state_dict_path=str(weights),
        model_class=workload.stock_class,
        model_params=dict(workload.model_params),
        device=machine.device.upper(),
        min_batch_size=batch_size,
        max_batch_size=batch_size,
    )


def our_handler(workload: Workload, weights: Path, machine: Machine) -> ModelHandler:
    """Return the handler of a job with these flags, and all others at their defaults."""
    options = PipelineOptions(
        [
            *model_flags(workload, weights),
            f"--device={machine.device}",
            f"--torch_threads={machine.torch_threads}",
        ]
    )
    return make_handler(job_options(options), options)


def model_flags(workload: Workload, weights: Path) -> list[str]:
    """Return a job's flags for a model whose weights are a state_dict, and for its inputs."""
    cls = workload.model_class
    return [
        f"--model_path={weights}",
        f"--model_class={cls.__module__}:{cls.__name__}",
        f"--model_params={json.dumps(dict(workload.model_params))}",
        f"--input_shape={workload.input_shape}",
        f"--precision={workload.precision}",
    ]
