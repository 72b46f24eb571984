"""The device that is chosen, and what its failures look like: out of memory, and lost for good."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from pipeline.model.compute import Compute, is_device_lost, is_out_of_memory, name_of, release_cached_memory
from tests.gpu import needs_cuda
from tests.waiting import LIMIT_S

pytestmark = needs_cuda

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("device", ["gpu", "auto"])
def test_the_gpu_is_chosen(device: str) -> None:
    assert re.fullmatch(r"cuda:0 \(.+\)", name_of(Compute(device).choose_device()))


def test_out_of_memory() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, device="cuda")
    assert is_out_of_memory(caught.value)
    assert not is_device_lost(caught.value)
    release_cached_memory()
    assert torch.ones(1, device="cuda").item() == 1


def in_a_process(script: str) -> subprocess.CompletedProcess[str]:
    """Run it where it may lose the device for good."""
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


# An index outside a table: the kernel's assert takes the CUDA context with it.
FATAL = "torch.zeros(4, device='cuda')[torch.tensor([10**6], device='cuda')]"


def test_a_lost_device_is_told_from_other_failures() -> None:
    ended = in_a_process(f"""
        import torch
        from pipeline.model.compute import is_device_gone, is_device_lost

        torch.ones(1, device="cuda").item()
        print(is_device_gone())
        try:
            {FATAL}
            torch.cuda.synchronize()
        except RuntimeError as error:
            print(is_device_lost(error), is_device_gone())
    """)
    assert ended.stdout.split() == ["False", "True", "True"], ended.stderr


LOST = """
    import logging, threading, torch
    from pipeline.batching.batch_runner import BatchRunner, BundleInputs, DeviceLostError
    from pipeline.batching.batcher import Batcher
    from pipeline.model.active_model import ActiveModel
    from pipeline.model.compute import Compute
    from pipeline.model.load import load
    from pipeline.request.input_spec import InputSpec
    from tests.gpu.models import Lookup

    spec = InputSpec.parse("ids:int64:2")
    torch.save(Lookup().state_dict(), PATH)
    model = load(PATH, spec, model_class="tests.gpu.models:Lookup", max_batch_size=8, compute=Compute("gpu"))
    runner = BatchRunner(ActiveModel(model))

    def bundle(value):
        return BundleInputs({"ids": torch.full((2, 2), value).numpy()}, 2)

    (good,) = runner([bundle(3)])
    print(good.passes[0].outputs.predictions(0, 1))
    try:
        runner([bundle(1), bundle(10**6)])
    except DeviceLostError as error:
        print("lost:", str(error).splitlines()[0])
"""


def test_a_lost_device_makes_no_dead_letter(tmp_path: Path) -> None:
    """Halving stops at once: the healthy requests of the batch are not to blame."""
    ended = in_a_process(LOST.replace("PATH", repr(str(tmp_path / "lookup.pt"))))
    first, second = ended.stdout.splitlines()
    assert first == "[array([3., 3.], dtype=float32)]"
    assert second.startswith("lost: the GPU failed: CUDA error: device-side assert triggered")


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="needs Apache Beam")
def test_a_lost_device_ends_the_process_with_3(tmp_path: Path) -> None:
    """As a worker's: what is registered gives its messages back first."""
    ended = in_a_process(f"""
        import threading, numpy as np, torch
        from benchmarks.gpu.options import job_options
        from pipeline.inference.local.handler import LocalModelHandler
        from pipeline.process import registry
        from pipeline.request.messages import Request, Timeline
        from tests.gpu.models import Lookup

        class Subscription:
            def close(self):
                print("given back", flush=True)

        path = {str(tmp_path / "lookup.pt")!r}
        torch.save(Lookup().state_dict(), path)
        flags = {{
            "model_path": path,
            "model_class": "tests.gpu.models:Lookup",
            "input_shape": "ids:int64:2",
            "device": "gpu",
        }}
        handler = LocalModelHandler(job_options(flags), on_dataflow=False)
        model = handler.load_model()
        registry.shared("subscription", Subscription)

        def request(value):
            return Request("1", {{"ids": np.full(2, value)}}, b"", {{}}, b"{{}}", Timeline(0.0, 0.0))

        print(handler.run_inference([request(2)], model)[0].prediction.tolist(), flush=True)
        # On a bundle thread: the main one must not end first.
        threading.Thread(target=handler.run_inference, args=([request(10**6)], model), daemon=True).start()
        threading.Event().wait()
    """)
    assert ended.stdout.splitlines() == ["[2.0, 2.0]", "given back"], ended.stderr
    assert ended.returncode == 3


def test_fp32_convolutions_are_those_of_the_cpu() -> None:
    device = Compute("gpu").choose_device()
    torch.manual_seed(0)
    images, kernels = torch.randn(2, 256, 16, 16), torch.randn(256, 256, 3, 3)
    ours = torch.nn.functional.conv2d(images.to(device), kernels.to(device)).cpu()
    right = torch.nn.functional.conv2d(images.double(), kernels.double())
    # Sums of 2,304 products, some 48 in size: fp32 is off by about 1e-4, TF32 by 1e-2.
    assert (ours - right).abs().max() < 2e-3
