"""The device and precision that a model computes with, and what a device's failures mean."""

from __future__ import annotations

import gc
import threading
from dataclasses import dataclass

import torch

from pipeline.request.errors import ModelError

_DTYPES = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}

# The texts of a lack of memory that is a plain RuntimeError: from torch's allocator on the host, from CUDA's
# libraries, and from TorchScript, which keeps only the text of an error.
_OUT_OF_MEMORY = (
    "DefaultCPUAllocator",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "Triton Error [CUDA]: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)

# The CUDA runtime's errors after which, by its reference, the process must be restarted
# (https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__TYPES.html): uncorrectable ECC and NVLink
# errors, illegal address, time-out of a kernel, destroyed context, assert, the stack's, instruction's,
# alignment's, address space's and counter's faults, launch failure, leak of tensor memory, MPS server gone.
_LOST_CODES = frozenset({214, 220, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810})
# The frequent ones by their text, because of TorchScript.
_LOST_TEXTS = (
    "CUDA error: device-side assert triggered",
    "CUDA error: an illegal memory access was encountered",
    "CUDA error: an illegal instruction was encountered",
    "CUDA error: misaligned address",
    "CUDA error: unspecified launch failure",
    "CUDA error: the launch timed out and was terminated",
    "CUDA error: uncorrectable ECC error encountered",
)


# Held while a CUDA graph is captured, of which torch has one at a time. The device must not be synchronised
# meanwhile, nor its cached memory be freed: both would spoil the capture.
capturing = threading.RLock()


@dataclass(frozen=True, slots=True)
class Compute:
    """How a model is to compute, as the flags say it.

    Attributes:
        device: cpu, gpu, or auto: a GPU if there is one.
        precision: fp32, fp16 or bf16.
        compile: Whether to compile the model.
        cuda_graphs: Whether to capture CUDA graphs of its forward passes on a GPU, where it is not compiled.
    """

    device: str = "cpu"
    precision: str = "fp32"
    compile: bool = False
    cuda_graphs: bool = True

    @property
    def dtype(self) -> torch.dtype | None:
        """The type that weights and floating inputs are cast to; None: nothing is cast."""
        return _DTYPES[self.precision]

    def takes_graphs(self, device: torch.device, module: torch.nn.Module) -> bool:
        """Return whether CUDA graphs of `module` are to be captured; TorchScript makes kernels as it runs."""
        return self.cuda_graphs and device.type == "cuda" and not isinstance(module, torch.jit.ScriptModule)

    def choose_device(self) -> torch.device:
        """Return the CPU or the first GPU, and have cuDNN compute fp32 in full for --precision=fp32.

        Raises:
            ModelError: A GPU is asked for and cannot be used; the CPU never takes its place.
        """
        # cuDNN has TF32 on by default: 11 bits of each number in convolutions and RNNs, not the 24 asked for.
        # torch has matrix products in fp32 by default.
        torch.backends.cudnn.allow_tf32 = self.precision != "fp32"
        if self.device == "cpu" or (self.device == "auto" and not torch.cuda.is_available()):
            return torch.device("cpu")
        if not torch.backends.cuda.is_built():
            raise ModelError(
                f"--device={self.device}: torch {torch.__version__} is a build for the CPU only: install "
                "what requirements-gpu.txt names (the image of Dockerfile.gpu has it), or use --device=cpu"
            )
        try:
            torch.cuda.init()
        except RuntimeError as error:
            raise ModelError(
                f"--device={self.device}: no GPU can be used: {error}. Give the machine a GPU and its driver "
                "(on Dataflow, see docs/gpu.md), or use --device=cpu"
            ) from error
        return torch.device("cuda", 0)


def name_of(device: torch.device) -> str:
    """Return the device in words: `cpu`, or `cuda:0 (NVIDIA L4)`."""
    return f"{device} ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else str(device)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on the device or on the host: a smaller batch may fit."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OUT_OF_MEMORY)


def is_device_lost(error: BaseException) -> bool:
    """Return whether the device failed so that this process can compute nothing more on it."""
    if isinstance(error, torch.AcceleratorError) and getattr(error, "error_code", None) in _LOST_CODES:
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _LOST_TEXTS)


def is_device_gone() -> bool:
    """Return whether the GPU in use no longer answers.

    After one thread's failure, other threads see errors of all kinds.
    """
    if not torch.cuda.is_initialized():
        return False
    with capturing:
        try:
            torch.cuda.synchronize()
        except RuntimeError:
            return True
    return False


def release_cached_memory() -> None:
    """Give unused device memory back; do nothing if no GPU is in use."""
    if torch.cuda.is_initialized():
        with capturing:
            # A compiled model refers to itself, and is freed only by a collection.
            gc.collect()
            torch.cuda.empty_cache()
