from __future__ import annotations

import pytest
import torch

from pipeline.model.compute import Compute, is_device_lost, is_out_of_memory, name_of, release_cached_memory
from pipeline.request.errors import ModelError


def accelerator_error(code: int, text: str) -> torch.AcceleratorError:
    """As torch's C++ makes them."""
    error = torch.AcceleratorError(text)
    error.error_code = code
    return error


def scripted(failure: str) -> RuntimeError:
    """How TorchScript passes a failure on."""
    return RuntimeError(
        f"The following operation failed in the TorchScript interpreter.\nRuntimeError: {failure}\n"
    )


class TestDevice:
    @pytest.mark.parametrize("device", ["cpu", "auto"])
    def test_without_a_gpu(self, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert str(Compute(device).choose_device()) == "cpu"
        assert name_of(Compute(device).choose_device()) == "cpu"

    @pytest.mark.parametrize(("precision", "tf32"), [("fp32", False), ("fp16", True), ("bf16", True)])
    def test_fp32_is_fp32(self, precision: str, tf32: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not tf32)
        Compute("cpu", precision).choose_device()
        assert torch.backends.cudnn.allow_tf32 is tf32

    def test_auto_takes_the_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "init", lambda: None)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA L4")
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
        assert name_of(Compute("auto").choose_device()) == "cuda:0 (NVIDIA L4)"
        assert str(Compute("cpu").choose_device()) == "cpu"

    def test_torch_built_for_the_cpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: False)
        with pytest.raises(ModelError, match=r"--device=gpu: torch .* CPU only: .*requirements-gpu\.txt"):
            Compute("gpu").choose_device()

    @pytest.mark.parametrize("device", ["gpu", "auto"])
    def test_no_gpu_of_use_is_told_in_torchs_words(
        self, device: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def init() -> None:
            raise RuntimeError("The NVIDIA driver on your system is too old")

        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "init", init)
        with pytest.raises(ModelError, match=f"--device={device}: .*driver on your system is too old.*docs"):
            Compute(device).choose_device()


def test_precision() -> None:
    assert Compute().dtype is None
    assert Compute(precision="fp16").dtype == torch.float16
    assert Compute(precision="bf16").dtype == torch.bfloat16


class TestOutOfMemory:
    @pytest.mark.parametrize(
        "error",
        [
            MemoryError(),
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
            accelerator_error(2, "CUDA error: out of memory"),
            RuntimeError("CUDA driver error: out of memory"),
            RuntimeError("Triton Error [CUDA]: out of memory"),
            scripted("CUDA out of memory. Tried to allocate 2.00 GiB."),
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        ],
    )
    def test_is(self, error: Exception) -> None:
        assert is_out_of_memory(error)
        assert not is_device_lost(error)

    def test_of_the_host(self) -> None:
        with pytest.raises(RuntimeError) as caught:
            torch.empty(2**60)
        assert is_out_of_memory(caught.value)

    def test_of_the_host_within_torchscript(self) -> None:
        program = torch.jit.CompilationUnit("def forward(x: Tensor):\n  return torch.empty([1 << 60])\n")
        with pytest.raises(RuntimeError) as caught:
            program.forward(torch.zeros(1))
        assert is_out_of_memory(caught.value)

    @pytest.mark.parametrize("error", [ValueError("CUDA out of memory"), RuntimeError("shapes differ")])
    def test_is_not(self, error: Exception) -> None:
        assert not is_out_of_memory(error)


class TestDeviceLost:
    @pytest.mark.parametrize(
        "error",
        [
            accelerator_error(710, "CUDA error: device-side assert triggered"),
            accelerator_error(700, "CUDA error: an illegal memory access was encountered"),
            accelerator_error(719, "CUDA error: unspecified launch failure"),
            accelerator_error(810, "CUDA error: any text"),
            scripted("CUDA error: device-side assert triggered"),
        ],
    )
    def test_is(self, error: Exception) -> None:
        assert is_device_lost(error)
        assert not is_out_of_memory(error)

    @pytest.mark.parametrize(
        "error",
        [
            accelerator_error(9, "CUDA error: invalid configuration argument"),
            torch.AcceleratorError("made by hand, without a code"),
            ValueError("CUDA error: device-side assert triggered"),
            RuntimeError("shapes differ"),
        ],
    )
    def test_is_not(self, error: Exception) -> None:
        assert not is_device_lost(error)


def test_nothing_to_release_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    release_cached_memory()
    assert not emptied
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    release_cached_memory()
    assert emptied
