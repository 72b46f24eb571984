"""The memory of a GPU that several processes share: each one's part, and who is to blame for a lack of it."""

from __future__ import annotations

import re

import torch

# What a process has on the GPU besides torch's tensors: its CUDA context and the kernels that it has loaded.
# An estimate, on the safe side; docs/gpu.md says what is to be measured.
_BESIDES_TENSORS = 512 * 2**20

# torch tells by text only how much it wanted.
_WANTED = re.compile(r"Tried to allocate ([\d.]+) (bytes|KiB|MiB|GiB)")
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}


def limit_to_share(processes: int) -> None:
    """Keep this process to its part of the first GPU's memory, if it is one of several.

    torch keeps what it has once allocated, and gives it back only when its own process has no more. So
    without a limit, the process that was busy first leaves too little to the others.
    """
    if processes > 1:
        torch.cuda.set_per_process_memory_fraction(_share(processes), 0)


class Watch:
    """What a call of the model needs of the first GPU's memory, and finds there. Make one before the call."""

    def __init__(self) -> None:
        self._available = 0
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats(0)
            self._available = _available()

    def others_took_it(self, error: BaseException) -> bool:
        """Return whether the call failed only because other processes hold memory of this one's share.

        It is so if they left less than the share, before or after the call, and the share is enough for it.

        Args:
            error: What the call raised: memory ran out.
        """
        if not torch.cuda.is_initialized():
            return False
        total = torch.cuda.mem_get_info(0)[1]
        share = min(total * torch.cuda.get_per_process_memory_fraction(0), total - _BESIDES_TENSORS)
        wanted = _WANTED.search(str(error))
        needed = torch.cuda.max_memory_allocated(0)
        if wanted is not None:
            needed += float(wanted[1]) * _UNITS[wanted[2]]
        return needed <= share and min(self._available, _available()) < share


def _available() -> int:
    """Return the bytes that this process holds, used or not, and those that it could still get."""
    return torch.cuda.memory_reserved(0) + torch.cuda.mem_get_info(0)[0]


def _share(processes: int) -> float:
    total = torch.cuda.get_device_properties(0).total_memory
    # With very many processes, half of a share is better than nothing.
    return max(total / processes - _BESIDES_TENSORS, total / processes / 2) / total
