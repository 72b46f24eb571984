"""The one model of a process: loaded, batched, swapped."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from typing import NoReturn

import torch

from pipeline import metrics
from pipeline.batching.batch_runner import BatchRunner, BatchSlice, BundleInputs, DeviceLostError
from pipeline.batching.batcher import Batcher, Renew
from pipeline.batching.results import outcomes
from pipeline.inference.local.beam_files import BEAM_FILES
from pipeline.model import compute, golden, gpu_memory
from pipeline.model.active_model import ActiveModel
from pipeline.model.compute import Compute
from pipeline.model.graphs import capture_on_this_thread
from pipeline.model.model import Model
from pipeline.model.swapping.loading import load_stored
from pipeline.model.swapping.pointer import ModelPointer
from pipeline.model.swapping.watcher import ModelWatcher
from pipeline.options.job_options import JobOptions
from pipeline.options.workers import processes, torch_threads
from pipeline.process.exit import TRY_AGAIN, give_back_and_exit
from pipeline.request.errors import ModelError
from pipeline.request.messages import DeadLetter, Request, Result

_LOGGER = logging.getLogger(__name__)

# While one batch is computed, the next one is put together and copied.
_CONCURRENT_BATCHES_ON_GPU = 2


class ProcessModel:
    """The model that all bundle threads of a process share."""

    def __init__(self, options: JobOptions, on_dataflow: bool) -> None:
        """Load the model.

        Raises:
            ModelError: The model or the pointer to it cannot be used; the message names the flag and the
                file.
            TransientError: The storage that holds them cannot be read now.
        """
        self._options = options
        self._torch_threads = torch_threads(options, on_dataflow)
        self._compute = Compute(options.device, options.precision, options.compile, options.cuda_graphs)
        self._prepare_thread()
        # Modules and classes stay as long as the process. If the garbage collector has to visit those of Beam
        # and torch, each full collection stops all threads for some 280 ms. The model comes after: it may be
        # replaced.
        gc.collect()
        gc.freeze()
        if self._compute.choose_device().type == "cuda":
            gpu_memory.limit_to_share(processes(options, on_dataflow))
        self._watcher: ModelWatcher | None = None
        self._pointer: ModelPointer | None = None
        if options.model_pointer is None:
            assert options.model_path is not None
            self._active = ActiveModel(self._load(options.model_path, "--model_path"))
        else:
            self._pointer = pointer = ModelPointer(BEAM_FILES, options.model_pointer, options.model_root)
            path = pointer.path()
            self._active = ActiveModel(self._load_checked(path), path)
            self._watcher = ModelWatcher(self._active, pointer, self._load_checked, options.model_refresh_s)
            self._watcher.start()
        on_gpu = self._active.model.on_gpu
        self._batch_runner = BatchRunner(self._active)
        self._batcher: Batcher[BundleInputs, BatchSlice] = Batcher(
            self._run,
            max_batch_size=options.max_batch_size,
            max_wait_s=options.max_batch_wait_ms / 1000,
            timeout_s=options.inference_timeout_s,
            concurrent_batches=_CONCURRENT_BATCHES_ON_GPU if on_gpu else 1,
            prepare_thread=self._prepare_worker,
            # On a GPU a thread's first batch allocates its buffers and handles, for which no request should
            # wait.
            warm_up=self._warm_up if on_gpu else lambda _: None,
            on_hopeless=self._end_hung_process,
        )

    def __str__(self) -> str:
        return str(self._active.model)

    def submit(self, requests: Sequence[Request]) -> list[Result | DeadLetter]:
        """Return one outcome for each request of a bundle, in the same order. Call it on a bundle thread.

        Raises:
            TransientError: The model took longer than --inference_timeout_s, other processes hold this one's
                share of the GPU, or the process is stopping.
        """
        # As much as possible is done here rather than on the batcher's worker thread. All bundles wait for
        # that one, and each object would have to travel to its core: one `BundleInputs` goes there, one slice
        # comes back.
        inputs = self._options.input_shape.stack([request.inputs for request in requests])
        batch_slice = self._batcher.submit(BundleInputs(inputs, len(requests)), len(requests))
        metrics.count_models(*self._active.take_counts())
        return outcomes(requests, batch_slice, allow_nan=self._options.allow_nan)

    def close(self) -> None:
        """Stop watching the pointer, and fail what is queued or running."""
        if self._watcher is not None:
            self._watcher.close()
        self._batcher.close()

    def _run(self, bundles: list[BundleInputs], renew: Renew) -> list[BatchSlice]:
        try:
            return self._batch_runner(bundles, renew)
        except DeviceLostError as error:
            _end_process(error)

    def _load(self, path: str, flag: str, *, golden_set: str | None = None) -> Model:
        options = self._options
        return load_stored(
            BEAM_FILES,
            path,
            options.input_shape,
            label=f"{flag}: {path}",
            golden_set=golden_set,
            model_class=options.model_class,
            model_params=options.model_params,
            max_batch_size=options.max_batch_size,
            compute=self._compute,
        )

    def _load_checked(self, path: str) -> Model:
        self._prepare_thread()
        try:
            assert self._pointer is not None
            golden_set = self._pointer.beside(path, golden.SUFFIX)
            return self._load(path, "--model_pointer", golden_set=golden_set)
        except ModelError as error:
            if error.__cause__ is not None and compute.is_device_lost(error.__cause__):
                _end_process(error)
            raise

    def _prepare_worker(self) -> None:
        self._prepare_thread()
        capture_on_this_thread()

    def _warm_up(self, renew: Renew) -> None:
        self._active.model.warm_up(renew)

    def _end_hung_process(self) -> None:
        _LOGGER.critical(
            "calls of the model take longer than %g s (--inference_timeout_s), also on the threads that took "
            "the place of the first ones. Only a new process can help: this one ends; what was not answered "
            "comes again",
            self._options.inference_timeout_s,
        )
        give_back_and_exit(TRY_AGAIN)

    def _prepare_thread(self) -> None:
        # Needed on each thread that computes. On a thread that never set torch's number of threads, the
        # libraries below torch use one for every core, whatever another thread set (2 cores, a batch of 12:
        # 47 ms instead of 4.5).
        torch.set_num_threads(self._torch_threads)


def _end_process(error: Exception) -> NoReturn:
    _LOGGER.critical(
        "%s. Only a new process can use the GPU again: this one ends; what was not answered comes again",
        error,
    )
    give_back_and_exit(TRY_AGAIN)
