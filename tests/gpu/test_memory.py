"""Memory of the GPU: a batch that does not fit is halved, and loading leaves nothing behind."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.batching.batch_runner import BatchRunner, BundleInputs
from pipeline.model.active_model import ActiveModel
from pipeline.model.compute import Compute, release_cached_memory
from pipeline.model.gpu_memory import limit_to_share
from pipeline.model.load import load
from pipeline.model.model import Model
from pipeline.request.errors import TransientError
from pipeline.request.input_spec import InputSpec
from tests.gpu import needs_cuda
from tests.gpu.models import Wide
from tests.waiting import LIMIT_S

pytestmark = needs_cuda

SPEC = InputSpec.parse("1024")
MIB = 2**20


def wide(folder: Path) -> Model:
    torch.save(Wide().state_dict(), folder / "wide.pt")
    return load(
        str(folder / "wide.pt"),
        SPEC,
        model_class="tests.gpu.models:Wide",
        max_batch_size=8,
        compute=Compute("gpu"),
    )


@pytest.fixture
def little_memory() -> Iterator[None]:
    """Room for some 20 rows of `Wide`, each of which takes 4 MiB twice."""
    total = torch.cuda.get_device_properties(0).total_memory
    release_cached_memory()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 160 * MIB) / total)
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    release_cached_memory()


def test_a_batch_that_does_not_fit_is_halved_and_answered(tmp_path: Path, little_memory: None) -> None:
    runner = BatchRunner(ActiveModel(wide(tmp_path)), sleep=lambda seconds: None)
    bundles = [BundleInputs(np.full((16, 1024), number, np.float32), 16) for number in range(4)]
    for _ in range(2):
        slices = runner(bundles)
        passes = slices[0].passes
        assert all(each.failure is None for each in passes)
        found = np.concatenate([each.outputs.arrays[0] for each in passes if each.outputs is not None])
        assert found.tolist() == [float(number) for number in range(4) for _ in range(16)]
    sizes = [each.stop - each.first for each in passes]
    # Remembered: the second batch was cut before it was tried.
    assert len(set(sizes)) == 1
    assert 1 <= sizes[0] <= 16


def test_a_row_that_fits_nowhere_fails_alone(tmp_path: Path, little_memory: None) -> None:
    pauses: list[float] = []
    runner = BatchRunner(ActiveModel(wide(tmp_path)), sleep=pauses.append)
    held = torch.empty(150 * MIB, dtype=torch.uint8, device="cuda")
    ((slice_,),) = [runner([BundleInputs(np.ones((1, 1024), np.float32), 1)])]
    assert slice_.passes[0].failure is not None
    assert pauses == [0.1, 0.4, 1.6]
    del held
    ((slice_,),) = [runner([BundleInputs(np.ones((1, 1024), np.float32), 1)])]
    assert slice_.passes[0].failure is None


@contextmanager
def another_process(script: str) -> Iterator[subprocess.Popen[str]]:
    """Run it until it has printed a line, and let it hold what it has until the end of the block."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script) + "print('held', flush=True)\ninput()\n"],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.stdin.close()
        try:
            process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def test_a_row_whose_memory_another_process_holds_is_not_to_blame(tmp_path: Path) -> None:
    """It needs some 8 GiB: alone it is answered, beside a process that leaves 2 it is to be tried again."""
    torch.save(Wide().state_dict(), tmp_path / "wide.pt")
    columns = 2**20
    model = load(
        str(tmp_path / "wide.pt"),
        InputSpec.parse(str(columns)),
        model_class="tests.gpu.models:Wide",
        max_batch_size=1,
        compute=Compute("gpu"),
    )
    runner = BatchRunner(ActiveModel(model), sleep=lambda seconds: None)

    def failure() -> Exception | None:
        release_cached_memory()
        (slice_,) = runner([BundleInputs(np.ones((1, columns), np.float32), 1)])
        return slice_.passes[0].failure

    assert failure() is None
    release_cached_memory()
    holds = """
        import torch
        free = torch.cuda.mem_get_info()[0]
        held = torch.empty(free - 2 * 2**30, dtype=torch.uint8, device="cuda")
    """
    with another_process(holds):
        assert isinstance(failure(), TransientError)
    assert failure() is None


def test_a_process_that_is_one_of_two_leaves_the_other_its_share() -> None:
    takes_all = """
        import torch
        from pipeline.model.gpu_memory import limit_to_share
        limit_to_share(2)
        held = []
        try:
            while True:
                held.append(torch.empty(256 * 2**20, dtype=torch.uint8, device="cuda"))
        except torch.OutOfMemoryError:
            pass
    """
    release_cached_memory()
    with another_process(takes_all):
        limit_to_share(2)
        try:
            fraction = torch.cuda.get_per_process_memory_fraction(0)
            share = int(torch.cuda.get_device_properties(0).total_memory * fraction)
            held = torch.empty(share - 256 * MIB, dtype=torch.uint8, device="cuda")
            assert held.numel() > 0
            del held
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
            release_cached_memory()


class Large(torch.nn.Module):
    """256 MiB of weights in fp32, of which a row takes little."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1024, 65536)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).sum(dim=1)


def test_loading_in_half_precision_leaves_no_cached_memory(tmp_path: Path) -> None:
    program = torch.export.export(
        Large(), (torch.zeros(2, 1024),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(program, tmp_path / "large.pt2")
    del program
    release_cached_memory()
    before = torch.cuda.memory_reserved() - torch.cuda.memory_allocated()
    model = load(str(tmp_path / "large.pt2"), SPEC, max_batch_size=8, compute=Compute("gpu", "fp16"))
    assert torch.cuda.memory_reserved() - torch.cuda.memory_allocated() - before < 64 * MIB
    assert model.on_gpu
