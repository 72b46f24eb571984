"""What is computed: an encoder as large as BERT base, or a small one in a rehearsal on the CPU."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.harness.models import DTYPES, Workload, encoder
from pipeline.model.compute import Compute
from pipeline.model.load import load
from pipeline.model.model import Model
from pipeline.request.input_spec import InputSpec


@dataclass(frozen=True)
class Scale:
    """How much is computed, and on what.

    Attributes:
        device: As the flag --device of the job: gpu, or cpu in a rehearsal.
        precisions: Of the comparison with stock.
        threads: Bundle threads of the comparison.
        bundles: Requests of a bundle.
        batches: Rows of the plain forward passes.
    """

    device: str
    precisions: tuple[str, ...] = ("fp16", "bf16")
    threads: tuple[int, ...] = (48, 12, 1)
    bundles: tuple[int, ...] = (1, 4)
    batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

    @property
    def torch_device(self) -> torch.device:
        """Where tensors lie."""
        return torch.device("cuda", 0) if self.device == "gpu" else torch.device("cpu")

    def workload(self, precision: str) -> Workload:
        """Return the encoder in a precision; on a CPU a small one in fp32, whatever is asked for."""
        if self.device == "gpu":
            return replace(encoder(), precision=precision)
        small = encoder(layers=2, width=64, heads=2, feed_forward=128, vocabulary=1000, length=16)
        return replace(small, precision="fp32")

    def synchronize(self) -> None:
        """Wait until the device has done all that it was given."""
        if self.device == "gpu":
            torch.cuda.synchronize()


FULL = Scale("gpu")
REHEARSAL = Scale("cpu", ("fp32",), (8, 1), (1, 4), (1, 2, 4, 8, 16))


def save_weights(workload: Workload, folder: Path) -> Path:
    """Write the workload's random weights, and return the file."""
    path = folder / "encoder.pt"
    if not path.exists():
        torch.save(workload.make().state_dict(), path)
    return path


def flags_of(workload: Workload, scale: Scale, weights: Path) -> dict[str, str]:
    """Return the job's flags that name the model, by name without dashes."""
    cls = workload.model_class
    return {
        "model_path": str(weights),
        "model_class": f"{cls.__module__}:{cls.__name__}",
        "model_params": json.dumps(dict(workload.model_params)),
        "input_shape": workload.input_shape,
        "precision": workload.precision,
        "device": scale.device,
    }


def load_model(
    workload: Workload,
    scale: Scale,
    weights: Path,
    *,
    max_batch_size: int = 128,
    cuda_graphs: bool = True,
) -> Model:
    """Load the model as the job does, by the half of it that needs no Beam."""
    cls = workload.model_class
    return load(
        str(weights),
        InputSpec.parse(workload.input_shape),
        model_class=f"{cls.__module__}:{cls.__name__}",
        model_params=workload.model_params,
        max_batch_size=max_batch_size,
        compute=Compute(scale.device, workload.precision, cuda_graphs=cuda_graphs),
    )


def plain_module(workload: Workload, scale: Scale) -> torch.nn.Module:
    """Return the module on the device in the workload's precision, with nothing around it."""
    return workload.make().to(scale.torch_device, DTYPES[workload.precision])


def resident_batch(workload: Workload, scale: Scale, rows: int) -> dict[str, torch.Tensor]:
    """Return a batch of so many requests that lies on the device already."""
    stacked = InputSpec.parse(workload.input_shape).stack(workload.inputs(rows))
    arrays = stacked if isinstance(stacked, dict) else {"features": stacked}
    return {name: torch.from_numpy(array).to(scale.torch_device) for name, array in arrays.items()}
