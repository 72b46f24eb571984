"""Stock's way and ours: by Beam's RunInference where Beam is installed, else the same steps without it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.options import job_options
from benchmarks.gpu.workload import Scale, flags_of, load_model
from benchmarks.harness.models import DTYPES, Workload, WrongAnswerError
from pipeline.batching.batch_runner import BatchRunner, BatchSlice, BundleInputs
from pipeline.batching.batcher import Batcher
from pipeline.batching.results import outcomes
from pipeline.model.active_model import ActiveModel
from pipeline.request.input_spec import Inputs, InputSpec
from pipeline.request.messages import DeadLetter, Request, Result, Timeline

STOCK = "stock"
OURS = "ours"

# As the job has it on a GPU: while one batch is computed, the next is put together and copied.
CONCURRENT_BATCHES = 2


@dataclass(frozen=True)
class Answered:
    """What became of one bundle: predictions on the host, and the batch that each was computed in."""

    predictions: list[np.ndarray]
    batch_sizes: list[int]


Send = Callable[[], Answered]


@dataclass(frozen=True)
class Side:
    """One of the two ways.

    Attributes:
        title: Stock or ours.
        bundle_thread: For a thread's inputs, what sends them as one bundle and waits for the answers; entered
            on that thread.
        close: Ends what the side holds.
    """

    title: str
    bundle_thread: Callable[[Sequence[Inputs]], AbstractContextManager[Send]]
    close: Callable[[], None]


def sides(workload: Workload, scale: Scale, weights: Path, *, with_beam: bool) -> list[Side]:
    """Return stock and ours, with the weights loaded."""
    if with_beam:
        return [_stock_of_beam(workload, scale, weights), _ours_in_beam(workload, scale, weights)]
    return [_stock_steps(workload, scale, weights), our_core(workload, scale, weights)]


def check(both: Sequence[Side], inputs: Sequence[Inputs]) -> None:
    """Send one bundle each way.

    Raises:
        WrongAnswerError: The ways do not answer alike.
    """
    found = []
    for side in both:
        with side.bundle_thread(inputs) as send:
            found.append(np.array(send().predictions, np.float32))
    stock, ours = found
    # Loose, as bfloat16 is: the ways may add up in another order.
    if stock.shape != ours.shape or not np.allclose(stock, ours, 5e-2, 5e-2):
        raise WrongAnswerError("ours: other predictions than stock's")


def _requests(inputs: Sequence[Inputs]) -> list[Request]:
    now = time.time()
    return [
        Request(str(number), each, b"", {}, b"{}", Timeline(now, now)) for number, each in enumerate(inputs)
    ]


def _answered(found: Sequence[Result | DeadLetter]) -> Answered:
    results = []
    for each in found:
        if not isinstance(each, Result):
            raise WrongAnswerError(f"ours: {each.error_message}")
        results.append(each)
    return Answered([each.prediction for each in results], [each.batch_size for each in results])


def _tensors(each: Inputs) -> Any:
    if isinstance(each, dict):
        return {name: torch.from_numpy(array) for name, array in each.items()}
    return torch.from_numpy(each)


def _stock_of_beam(workload: Workload, scale: Scale, weights: Path) -> Side:
    from apache_beam.ml.inference.pytorch_inference import PytorchModelHandlerKeyedTensor

    from benchmarks.harness.beam_thread import Expanded, counted_metrics

    handler = PytorchModelHandlerKeyedTensor(
        state_dict_path=str(weights),
        model_class=workload.stock_class,
        model_params=dict(workload.model_params),
        device=scale.device.upper(),
    )
    expanded = Expanded.of(handler)
    expanded.set_up()

    @contextmanager
    def bundle_thread(inputs: Sequence[Inputs]) -> Iterator[Send]:
        steps = expanded.set_up()
        bundle = [_tensors(each) for each in inputs]

        def send() -> Answered:
            found = steps.infer(bundle)
            return Answered(
                [each.inference.float().cpu().numpy() for each in found], [len(bundle)] * len(bundle)
            )

        with counted_metrics():
            yield send

    return Side(STOCK, bundle_thread, lambda: None)


def _ours_in_beam(workload: Workload, scale: Scale, weights: Path) -> Side:
    from benchmarks.harness.beam_thread import Expanded, counted_metrics
    from pipeline.inference.local.handler import LocalModelHandler
    from pipeline.process import registry

    options = job_options(flags_of(workload, scale, weights))
    expanded = Expanded.of(LocalModelHandler(options, on_dataflow=False))
    expanded.set_up()

    @contextmanager
    def bundle_thread(inputs: Sequence[Inputs]) -> Iterator[Send]:
        steps = expanded.set_up()
        with counted_metrics():
            yield lambda: _answered(steps.infer(_requests(inputs)))

    return Side(OURS, bundle_thread, registry.close_all)


def _stock_steps(workload: Workload, scale: Scale, weights: Path) -> Side:
    """Do what stock's PyTorch handler does with a batch: stack, move, call the model, deal out its rows."""
    module = workload.make()
    module.load_state_dict(torch.load(weights, weights_only=True))
    module = module.to(scale.torch_device, DTYPES[workload.precision]).eval()

    @contextmanager
    def bundle_thread(inputs: Sequence[Inputs]) -> Iterator[Send]:
        bundle = [_tensors(each) for each in inputs]

        def send() -> Answered:
            with torch.no_grad():
                batch = {
                    name: torch.stack([each[name] for each in bundle]).to(scale.torch_device)
                    for name in bundle[0]
                }
                rows = list(module(**batch))
            return Answered([row.float().cpu().numpy() for row in rows], [len(bundle)] * len(bundle))

        yield send

    return Side(STOCK, bundle_thread, lambda: None)


def our_core(workload: Workload, scale: Scale, weights: Path) -> Side:
    """Return the batcher and what is beneath it, put together as `ProcessModel` does."""
    spec = InputSpec.parse(workload.input_shape)
    options = job_options(flags_of(workload, scale, weights))
    model = load_model(workload, scale, weights, max_batch_size=options.max_batch_size)
    batcher: Batcher[BundleInputs, BatchSlice] = Batcher(
        BatchRunner(ActiveModel(model)),
        max_batch_size=options.max_batch_size,
        max_wait_s=options.max_batch_wait_ms / 1000,
        timeout_s=options.inference_timeout_s,
        concurrent_batches=CONCURRENT_BATCHES if scale.device == "gpu" else 1,
        warm_up=model.warm_up,
    )

    @contextmanager
    def bundle_thread(inputs: Sequence[Inputs]) -> Iterator[Send]:
        def send() -> Answered:
            requests = _requests(inputs)
            bundle = BundleInputs(spec.stack([request.inputs for request in requests]), len(requests))
            return _answered(outcomes(requests, batcher.submit(bundle, len(requests)), allow_nan=False))

        yield send

    return Side(OURS, bundle_thread, batcher.close)
