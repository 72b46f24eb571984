"""The ways to call one exported model that `benchmarks.model_calls` compares."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from unittest.mock import patch

import torch

from benchmarks.harness.models import Workload, WrongAnswerError
from pipeline.model.comparing import TOLERANCE
from pipeline.model.files.model_files import drop_input_checks
from pipeline.model.graph_function import graph_function
from pipeline.model.operator_functions import FUNCTIONS
from pipeline.request.input_spec import InputSpec

EAGER = "the module that was exported"
TORCH = "torch.export's module"
UNGUARDED = "without guards and input checks"
BY_OPS = "function, all operators by torch.ops"
OURS = "function of its operators (ours)"
TRACED = "TorchScript, traced and frozen"
OPTIMISED = "the same, optimize_for_inference"
TRACES = (TRACED, OPTIMISED)

_MAKINGS = 5

Forward = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Side:
    """One way to call a model.

    Attributes:
        title: Its row in the table.
        forward: Calls it.
        making_ms: Processor time to make it, the median of some; of the module without guards, where it is
            made of that.
    """

    title: str
    forward: Forward
    making_ms: float


def batch_of(workload: Workload, rows: int) -> torch.Tensor:
    """Return a batch of the workload's one input."""
    batch = InputSpec.parse(workload.input_shape).stack(workload.inputs(rows))
    (array,) = batch.values() if isinstance(batch, dict) else (batch,)
    return torch.from_numpy(array)


def sides(workload: Workload) -> list[Side]:
    """Return all ways to call a workload's model, in the order of the table."""
    eager = workload.make()
    example = batch_of(workload, 2)
    if workload.exported is not None:
        program = torch.export.load(workload.exported)
    else:
        batch = torch.export.Dim("batch")
        program = torch.export.export(eager, (example,), dynamic_shapes=({0: batch},))

    def unguarded() -> torch.nn.Module:
        module = program.module(check_guards=False)
        drop_input_checks(module)
        return module

    module = unguarded()

    def by_ops() -> Forward:
        with patch.dict(FUNCTIONS, clear=True):
            return graph_function(module)

    def traced() -> torch.jit.ScriptModule:
        # What torch.jit says of itself at each use.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.jit.trace(module, example, check_trace=False).eval()

    makers: dict[str, Callable[[], Forward]] = {
        EAGER: lambda: eager,
        TORCH: program.module,
        UNGUARDED: unguarded,
        BY_OPS: by_ops,
        OURS: lambda: graph_function(module),
        TRACED: lambda: _quietly(torch.jit.freeze, traced()),
        OPTIMISED: lambda: _quietly(torch.jit.optimize_for_inference, traced()),
    }
    return [_made(title, make) for title, make in makers.items()]


def check(all_sides: list[Side], batch: torch.Tensor) -> list[Side]:
    """Hold the sides against the first, and return those that answer alike.

    A trace may have the size of its example written into it. Then it does not answer other sizes.

    Raises:
        WrongAnswerError: A side that is no trace answers otherwise.
    """
    with torch.inference_mode():
        wanted = all_sides[0].forward(batch.clone())
        good = []
        for side in all_sides:
            try:
                got = side.forward(batch.clone())
            except RuntimeError:
                if side.title not in TRACES:
                    raise
                continue
            if got.dtype == wanted.dtype and torch.allclose(got, wanted, rtol=TOLERANCE, atol=TOLERANCE):
                good.append(side)
            elif side.title not in TRACES:
                raise WrongAnswerError(f"{side.title} answers {len(batch)} rows otherwise")
    return good


def _made(title: str, make: Callable[[], Forward]) -> Side:
    forward = make()  # what torch does once in a process
    taken_ms = []
    for _ in range(_MAKINGS):
        begun = time.thread_time()
        forward = make()
        taken_ms.append((time.thread_time() - begun) * 1e3)
    # One of them may meet a garbage collection, which takes 200 ms.
    return Side(title, forward, statistics.median(taken_ms))


def _quietly(
    function: Callable[[torch.jit.ScriptModule], Forward], module: torch.jit.ScriptModule
) -> Forward:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(module)
