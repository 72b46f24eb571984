"""Tests that need a CUDA device. Of the locked packages they import torch, numpy and orjson only.

`python -m benchmarks.gpu` runs them, from a checkout in which nothing is installed.
"""

import pytest
import torch

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="needs a CUDA device; where there is one, `python -m benchmarks.gpu` runs this",
)
