"""The two handlers that are compared, each made the way that its users make it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from apache_beam.ml.inference.base import ModelHandler
from apache_beam.ml.inference.pytorch_inference import (
    PytorchModelHandlerKeyedTensor,
    PytorchModelHandlerTensor,
)
from apache_beam.options.pipeline_options import PipelineOptions
from torch import nn

from benchmarks.harness.machine import Machine
from benchmarks.harness.models import Workload
from pipeline.job.command_line import job_options
from pipeline.job.handler import make_handler


class WrongAnswerError(Exception):
    """A side did not answer what it was asked, so its figures are worth nothing."""


def state_dict(workload: Workload, folder: Path) -> Path:
    """A new file with the weights that both handlers load."""
    path = folder / f"{workload.model_class.__name__}.pt"
    torch.save(workload.make().state_dict(), path)
    return path


def stock_handler(
    workload: Workload, weights: Path, machine: Machine, batch_size: int | None = None
) -> ModelHandler:
    """Stock's handler of tensors (of dicts of them for named inputs).

    Args:
        batch_size: the least and the greatest one; None leaves it to Beam.
    """
    cls = PytorchModelHandlerKeyedTensor if ":" in workload.input_shape else PytorchModelHandlerTensor
    make: Callable[..., nn.Module] = workload.model_class
    if workload.precision == "fp16":
        make = partial(_half, workload.model_class)  # stock has no setting for it
    return cls(
        state_dict_path=str(weights),
        model_class=make,
        model_params=dict(workload.model_params),
        device=machine.device.upper(),
        min_batch_size=batch_size,
        max_batch_size=batch_size,
    )


def our_handler(workload: Workload, weights: Path, machine: Machine) -> ModelHandler:
    """The handler of a job with these flags and all others at their defaults."""
    cls = workload.model_class
    options = PipelineOptions(
        [
            f"--model_path={weights}",
            f"--model_class={cls.__module__}:{cls.__name__}",
            f"--model_params={json.dumps(dict(workload.model_params))}",
            f"--input_shape={workload.input_shape}",
            f"--precision={workload.precision}",
            f"--device={machine.device}",
            f"--torch_threads={machine.torch_threads}",
        ]
    )
    return make_handler(job_options(options), options)


def _half(model_class: type[nn.Module], **params: Any) -> nn.Module:
    return model_class(**params).half()
